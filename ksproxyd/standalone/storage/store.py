"""Objects and their history on SQLite.

Every write makes one *revision*: a row that says what an object was from one resourceVersion on, until the one that
replaced it. So one table is the present (``until`` is null), any snapshot of the recent past (pages of one list all
see the same state) and the log that watches are served from. History is bounded; older revisions are forgotten and
asking for them is answered with 410.

A store has one thread. Its statements are small: a look-up or a write costs tens of microseconds, and a transaction
never waits for the disk (WAL, ``synchronous=NORMAL``); moving the WAL into the database does, so :func:`checkpoint`
is for another thread.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

ADDED = "ADDED"
MODIFIED = "MODIFIED"
DELETED = "DELETED"

#: So many revisions that are not the present are kept.
HISTORY = 10_000

#: History is trimmed after so many writes, and so many rows are forgotten at once.
_TRIM_EVERY = 64
_TRIM_ROWS = 256

#: After an unclean end (power loss) the last transactions may be missing; resourceVersions that clients have seen
#: must not be given out again.
_LEAP = 100_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS revisions (
    rv INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    until INTEGER,
    previous INTEGER,
    deleted INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS present ON revisions (topic, namespace, name) WHERE until IS NULL;
CREATE INDEX IF NOT EXISTS history ON revisions (topic, namespace, name, rv, until, deleted);
CREATE INDEX IF NOT EXISTS log ON revisions (topic, rv);
CREATE INDEX IF NOT EXISTS past ON revisions (until) WHERE until IS NOT NULL;
CREATE TABLE IF NOT EXISTS owners (
    uid TEXT NOT NULL,
    topic TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (uid, topic, namespace, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owned ON owners (topic, namespace, name);
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class StoreError(Exception):
    """The database cannot be opened; the message says why and what to do."""


class Key(msgspec.Struct, frozen=True, order=True):
    """Which object: kind (``GROUP/PLURAL``), namespace (empty for cluster-scoped kinds) and name."""

    topic: str
    namespace: str
    name: str


class Event:
    """One write. ``body`` is the object after it (for a delete: its last state with the delete's resourceVersion)."""

    __slots__ = ("_object", "_previous", "body", "key", "previous_body", "rv", "type")

    def __init__(self, rv: int, type_: str, key: Key, body: bytes, previous_body: bytes | None) -> None:
        self.rv = rv
        self.type = type_
        self.key = key
        self.body = body
        self.previous_body = previous_body
        self._object: dict[str, Any] | None = None
        self._previous: dict[str, Any] | None = None

    @property
    def object(self) -> dict[str, Any]:
        """The object after the write, decoded; not to be changed."""
        if self._object is None:
            self._object = msgspec.json.decode(self.body, type=dict[str, Any])
        return self._object

    @property
    def previous(self) -> dict[str, Any] | None:
        """The object before the write, decoded; None if there was none."""
        if self._previous is None and self.previous_body is not None:
            self._previous = msgspec.json.decode(self.previous_body)
        return self._previous

    def __repr__(self) -> str:
        return f"<Event {self.rv} {self.type} {self.key}>"


class Row(msgspec.Struct, frozen=True):
    """One object of a list."""

    namespace: str
    name: str
    rv: int
    body: bytes


class Store:
    """The objects in ``path`` (a file that is made, readable for its owner only), or in memory if that is empty.

    ``history`` bounds how many past revisions are kept. Raises :class:`StoreError` if the file cannot be used.
    """

    def __init__(self, path: str = "", history: int = HISTORY) -> None:
        self.path = path
        self._history = history
        self._lock = _locked(path) if path else None
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, cached_statements=256)
            self._run = self._db.execute
            if path:
                self._run("PRAGMA journal_mode=WAL")
                self._run("PRAGMA synchronous=NORMAL")
                self._run("PRAGMA wal_autocheckpoint=0")
            self._db.executescript(_SCHEMA)
            self._open()
        except sqlite3.Error as error:
            self._unlock()
            raise StoreError(f"{path}: cannot be used as the database ({error}); move it away or repair it") from None
        self._pins: Counter[int] = Counter()
        self._writes = 0
        #: Called with every write after it is committed.
        self.on_event: Callable[[Event], None] = _ignore

    def _open(self) -> None:
        last = self._run("SELECT max(rv) FROM revisions").fetchone()[0] or 0
        numbers = dict(self._run("SELECT name, value FROM numbers").fetchall())
        #: The newest resourceVersion.
        self.revision: int = max(last, numbers.get("revision", 0), 1)
        #: The oldest resourceVersion that can still be listed at or watched from.
        self.floor: int = numbers.get("floor", 0)
        self._past: int = self._run("SELECT count(*) FROM revisions WHERE until IS NOT NULL").fetchone()[0]
        if numbers.get("open"):
            self.revision += _LEAP
            self._forget(self.revision)
        self._number("open", 1)

    # -- reading -------------------------------------------------------------------------------------------

    def get(self, key: Key) -> bytes | None:
        """The present body of an object."""
        row = self._run(
            "SELECT body FROM revisions WHERE topic = ? AND namespace = ? AND name = ? AND until IS NULL",
            (key.topic, key.namespace, key.name),
        ).fetchone()
        return None if row is None else row[0]

    def page(
        self,
        topic: str,
        namespace: str | None,
        after: tuple[str, str] | None,
        limit: int,
        at: int | None = None,
        name: str | None = None,
    ) -> list[Row]:
        """Up to ``limit`` objects in order of namespace and name, those behind ``after``.

        ``namespace`` None means all, ``name`` just that one; ``at`` asks for the state at an older resourceVersion (not
        below :attr:`floor`).
        """
        rest, values = self._range(topic, namespace, after, at, name)
        rows = self._run(f"SELECT namespace, name, rv, body {rest} ORDER BY namespace, name LIMIT ?", (*values, limit))
        return [Row(*row) for row in rows]

    def count(
        self, topic: str, namespace: str | None, after: tuple[str, str] | None = None, at: int | None = None
    ) -> int:
        """How many objects :meth:`page` would give without a limit."""
        rest, values = self._range(topic, namespace, after, at, None)
        found: int = self._run(f"SELECT count(*) {rest}", values).fetchone()[0]
        return found

    def _range(
        self, topic: str, namespace: str | None, after: tuple[str, str] | None, at: int | None, name: str | None
    ) -> tuple[str, list[Any]]:
        where = ["topic = ?"]
        values: list[Any] = [topic]
        if namespace is not None:
            where.append("namespace = ?")
            values.append(namespace)
        if name is not None:
            where.append("name = ?")
            values.append(name)
        if after is not None:
            where.append("(namespace, name) > (?, ?)")
            values += after
        # Left to itself SQLite may take an index that leads to reading every row.
        if at is None or at >= self.revision:
            index = "present"
            where.append("until IS NULL")
        else:
            index = "history"
            where.append("deleted = 0 AND rv <= ? AND (until IS NULL OR until > ?)")
            values += (at, at)
        return f"FROM revisions INDEXED BY {index} WHERE {' AND '.join(where)}", values

    def events(self, topic: str, after: int, limit: int) -> list[Event]:
        """Up to ``limit`` writes of a kind behind the resourceVersion ``after`` (not below :attr:`floor`), in order."""
        rows = self._run(
            "SELECT e.rv, e.namespace, e.name, e.deleted, e.body, p.body FROM revisions e"
            " LEFT JOIN revisions p ON p.rv = e.previous WHERE e.topic = ? AND e.rv > ? ORDER BY e.rv LIMIT ?",
            (topic, after, limit),
        )
        found = []
        for rv, namespace, name, deleted, body, previous in rows:
            type_ = DELETED if deleted else ADDED if previous is None else MODIFIED
            found.append(Event(rv, type_, Key(topic, namespace, name), body, previous))
        return found

    def dependents(self, uid: str, limit: int, after: Key | None = None) -> list[Key]:
        """Up to ``limit`` objects that name ``uid`` as an owner, in order behind ``after``."""
        behind = ("", "", "") if after is None else (after.topic, after.namespace, after.name)
        rows = self._run(
            "SELECT topic, namespace, name FROM owners WHERE uid = ? AND (topic, namespace, name) > (?, ?, ?)"
            " ORDER BY topic, namespace, name LIMIT ?",
            (uid, *behind, limit),
        )
        return [Key(*row) for row in rows]

    # -- writing -------------------------------------------------------------------------------------------

    def write(self, key: Key, value: dict[str, Any]) -> Event:
        """Make ``value`` the present state of an object; its resourceVersion is set on it."""
        return self._write(key, value, deleted=False)

    def delete(self, key: Key, value: dict[str, Any]) -> Event:
        """Remove an object whose last state is ``value``; the resourceVersion of the removal is set on it."""
        return self._write(key, value, deleted=True)

    def _write(self, key: Key, value: dict[str, Any], deleted: bool) -> Event:
        rv = self.revision + 1
        metadata = value["metadata"]
        metadata["resourceVersion"] = str(rv)
        body = msgspec.json.encode(value)
        where = (key.topic, key.namespace, key.name)
        with self._transaction():
            old = self._run(
                "SELECT rv, body FROM revisions WHERE topic = ? AND namespace = ? AND name = ? AND until IS NULL", where
            ).fetchone()
            previous, previous_body = (None, None) if old is None else old
            if previous is not None:
                self._run("UPDATE revisions SET until = ? WHERE rv = ?", (rv, previous))
            self._run(
                "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (rv, *where, rv if deleted else None, previous, int(deleted), body),
            )
            self._own(key, metadata, deleted, previous_body)
        self.revision = rv
        self._writes += 1
        self._past += (previous is not None) + deleted
        if self._writes % _TRIM_EVERY == 0:
            self._trim()
        type_ = DELETED if deleted else ADDED if previous is None else MODIFIED
        event = Event(rv, type_, key, body, previous_body)
        self.on_event(event)
        return event

    def _own(self, key: Key, metadata: dict[str, Any], deleted: bool, previous_body: bytes | None) -> None:
        where = (key.topic, key.namespace, key.name)
        if previous_body is not None and b'"ownerReferences"' in previous_body:
            self._run("DELETE FROM owners WHERE topic = ? AND namespace = ? AND name = ?", where)
        if not deleted:
            uids = {reference["uid"] for reference in metadata.get("ownerReferences") or ()}
            for uid in sorted(uids):
                self._run("INSERT INTO owners VALUES (?, ?, ?, ?)", (uid, *where))

    # -- history -------------------------------------------------------------------------------------------

    def pin(self, rv: int) -> None:
        """Keep the state at ``rv`` until :meth:`unpin`, however much is written (a long list is being sent)."""
        self._pins[rv] += 1

    def unpin(self, rv: int) -> None:
        """Undo one :meth:`pin`."""
        self._pins[rv] -= 1
        if not self._pins[rv]:
            del self._pins[rv]

    def compact(self, rv: int) -> None:
        """Forget history: nothing older than ``rv`` can be listed at or watched from any more."""
        rv = min([rv, self.revision, *self._pins])
        if rv > self.floor:
            self._forget(rv)

    def _trim(self) -> None:
        surplus = min(self._past - self._history, _TRIM_ROWS)
        if surplus > 0:
            rv = self._run(
                "SELECT until FROM revisions WHERE until IS NOT NULL ORDER BY until LIMIT 1 OFFSET ?", (surplus - 1,)
            ).fetchone()[0]
            self.compact(rv)

    def _forget(self, rv: int) -> None:
        with self._transaction():
            forgotten = self._run("DELETE FROM revisions WHERE until <= ?", (rv,)).rowcount
            self._number("floor", rv)
            self._number("revision", self.revision)
        self._past -= forgotten
        self.floor = rv

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            # A full disk ends the transaction by itself.
            if self._db.in_transaction:
                self._run("ROLLBACK")
            raise

    def _number(self, name: str, value: int) -> None:
        self._run("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Put everything into the database file and let it go."""
        self._number("revision", self.revision)
        self._number("open", 0)
        if self.path:
            self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def checkpoint(path: str) -> None:
    """Move what is in the WAL of the database at ``path`` into it. Waits for the disk; for a thread of its own."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        db.close()


def _locked(path: str) -> int:
    """A lock that says this process has the database; the file itself is made for its owner only."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreError(f"{path}: another process uses this database; stop it or choose another file") from None
    return lock


def _ignore(_: Event) -> None:
    """Nobody wants to know yet."""
