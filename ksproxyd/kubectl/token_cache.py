"""Tokens of logins in files that nobody else may read, one for each gateway, client and user."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Unsafe(Exception):
    """Tokens cannot be kept: the folder is somebody else's, or others may write there. The text is for a person."""


class Kept(NamedTuple):
    """The tokens of a login. ``expires`` is when the access token ends, in Unix time; 0 is never."""

    access_token: str
    refresh_token: str
    expires: float

    def __repr__(self) -> str:
        return f"Kept(expires={self.expires})"


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where caches are (the XDG base directory specification)."""
    base = environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if base.startswith("/") else Path(environ.get("HOME") or os.path.expanduser("~")) / ".cache"
    return home / "ksproxyd"


class TokenCache:
    """The file for one login, in ``folder``."""

    def __init__(self, folder: Path, server: str, client: str, user: str) -> None:
        self._folder = folder
        name = hashlib.sha256("\n".join((server, client, user)).encode()).hexdigest()[:32]
        self._path = folder / f"{name}.json"
        self._lock = folder / f"{name}.lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time uses and renews these tokens: a refresh token is good once. Raises :class:`Unsafe`."""
        self._prepare()
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def load(self) -> Kept | None:
        """What is there; None if there is nothing, or it is not ours alone, or damaged."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
                return None
            try:
                value: Any = json.loads(file.read(1024 * 1024))
                kept = Kept(value["access_token"], value["refresh_token"], float(value["expires"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                return None
        if not isinstance(kept.access_token, str) or not isinstance(kept.refresh_token, str):
            return None
        return kept

    def save(self, kept: Kept) -> None:
        """Put ``kept`` in the place of what is there, whole or not at all."""
        self._prepare()
        # Made with mode 0600.
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept._asdict(), file)
            os.replace(name, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def drop(self) -> None:
        """Forget it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _prepare(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._folder.stat()
        except OSError as error:
            raise Unsafe(f"tokens cannot be kept in {self._folder}: {error.strerror}") from None
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise Unsafe(f"tokens are not kept in {self._folder}: it is not yours, or others may write there")
