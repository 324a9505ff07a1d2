"""Roles change, kube-apiserver is killed for a minute and comes back: nobody is let in who may not be.

A thread gives and takes one right of each user, straight at kube-apiserver, and keeps a book about it; every answer of
the gateway is held against the book afterwards. The first changes after the return are made before the gateway can
have heard of it.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pytest

from .binaries import Binaries
from .client import ApiClient, ApiError
from .cluster import Cluster
from .conftest import Measured
from .gateway_process import Gateway
from .people import Asked, Asker, apply_user, log_in, reader_binding
from .rights_site import SETTINGS, bindings, maps, rights_cluster

NAMESPACE = "outage"
MAPS, BINDINGS = maps(NAMESPACE), bindings(NAMESPACE)
USERS = [f"user-{number}" for number in range(8)]

OUTAGE = 60.0
"""Seconds that kube-apiserver stays dead."""

RIGHT = 5.0
"""Seconds after its return from which every answer must be right."""

GRACE = 1.0
"""Seconds that a change may take to be known, as everywhere."""


@pytest.fixture(scope="module")
def cluster(binaries: Binaries, folder: Path) -> Iterator[Cluster]:
    with rights_cluster(binaries, folder / "rights-outage", NAMESPACE) as cluster:
        yield cluster


class Book:
    """What each user might do when: changes as (before, after, what holds then), in monotonic seconds."""

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[float, float, bool]]] = {name: [(0.0, 0.0, False)] for name in USERS}

    def note(self, name: str, begun: float, ended: float, bound: bool) -> None:
        self._changes[name].append((begun, ended, bound))

    def states(self, name: str, asked: Asked, grace: float) -> set[bool]:
        """What may have held for a request: the state it began in, and whatever came by its end."""
        found = set()
        changes = self._changes[name]
        for index, (begun, _, bound) in enumerate(changes):
            # It may go on to count until the next change has been known for long enough.
            until = changes[index + 1][1] + grace if index + 1 < len(changes) else float("inf")
            if begun <= asked.answered and asked.sent <= until:
                found.add(bound)
        return found


class Changer:
    """Gives and takes, one user after the other, while kube-apiserver answers. Use with ``with``."""

    def __init__(self, api: ApiClient, book: Book) -> None:
        self._api = api
        self._book = book
        self._bound = dict.fromkeys(USERS, False)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run)
        self.changes = 0

    def __enter__(self) -> Changer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def all_of_them(self) -> None:
        """Turn everybody's right over, now."""
        for name in USERS:
            self.turn(name)

    def turn(self, name: str) -> bool:
        """Whether it was done."""
        with self._lock:
            wanted = not self._bound[name]
            begun = time.monotonic()
            try:
                if wanted:
                    self._api.create(BINDINGS, reader_binding(NAMESPACE, name))
                else:
                    self._api.delete(f"{BINDINGS}/{name}")
            except ApiError as error:
                if error.code not in (404, 409):
                    return False
                # An attempt whose answer was lost has been done already.
            except (OSError, http.client.HTTPException):
                return False
            self._bound[name] = wanted
            self._book.note(name, begun, time.monotonic(), wanted)
            self.changes += 1
            return True

    def _run(self) -> None:
        turn = 0
        while not self._ended.wait(0.3):
            if self.turn(USERS[turn % len(USERS)]):
                turn += 1


def test_nobody_is_let_in_who_may_not_be(cluster: Cluster, folder: Path, measured: Measured) -> None:
    book = Book()
    for name in USERS:
        apply_user(cluster.api, name)
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(folder / "rights-outage-gateway", cluster.kubeconfig, SETTINGS))
        askers = {
            name: stack.enter_context(Asker(gateway.url, f"{MAPS}/app", log_in(gateway.url, name))) for name in USERS
        }
        changer = stack.enter_context(Changer(cluster.api, book))
        time.sleep(8.0)
        before = changer.changes
        cluster.apiserver.kill()
        killed = time.monotonic()
        time.sleep(OUTAGE)
        cluster.start_apiserver()
        returned = time.monotonic()
        changer.all_of_them()
        time.sleep(RIGHT + 10.0)
    assert before >= 10 and changer.changes > before + 10
    allowed, refused, wrong = 0, 0, []
    late = [0.0]
    for name, asker in askers.items():
        for asked in asker.asked:
            states = book.states(name, asked, GRACE)
            if asked.status == 200:
                allowed += 1
                if True not in states:
                    if returned - GRACE <= asked.sent <= returned + RIGHT:
                        late.append(asked.sent - returned)
                    else:
                        wrong.append((name, "let in", asked.sent - killed))
            elif asked.status == 403:
                refused += 1
                if False not in states and not killed - GRACE <= asked.sent <= returned + RIGHT:
                    wrong.append((name, "refused", asked.sent - killed))
            elif not killed - GRACE <= asked.sent <= returned + RIGHT:
                wrong.append((name, str(asked.status), asked.sent - killed))
    measured(
        f"rights in an outage of {OUTAGE:.0f} s: {allowed} let in, {refused} refused, {len(wrong)} wrongly; right "
        f"again {max(late):.1f} s after the return, until when {len(late) - 1} were let in by what was known before"
    )
    assert allowed > 100 and refused > 100
    assert not wrong, wrong[:10]
    during = [asked for asker in askers.values() for asked in asker.asked if killed + 1 < asked.sent < returned - 15]
    assert during and all(asked.status != 200 for asked in during)
