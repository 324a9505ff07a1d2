"""What the settings make of the parts that know users and passwords."""

from __future__ import annotations

from typing import Any

import pytest
from login_site import Counters, Threads
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from user_server import Server

from ksproxyd.authn.accounts import Accounts, manager_mode
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.settings import Settings, load_text
from ksproxyd.state.election import Alone
from ksproxyd.state.store import Store


def settings(text: str) -> Settings:
    return load_text(text, "settings", {}).settings


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "auto"),
        ("multicluster: {clusterRole: host}", "auto"),
        ("multicluster: {clusterRole: member}", False),
        ("multicluster: {clusterRole: member}\nksproxyd: {iam: {manageUsers: true}}", True),
        ("ksproxyd: {iam: {manageUsers: false}}", False),
    ],
)
def test_who_looks_after_users(text: str, mode: Any) -> None:
    assert manager_mode(settings(text)) == mode


def test_limits() -> None:
    text = """
    authentication: {authenticateRateLimiterMaxTries: 2, authenticateRateLimiterDuration: 90s}
    ksproxyd: {credentials: {passwordThreads: 3, passwordQueue: 4}, iam: {manageUsers: true}}
    """
    clock, threads = Clock(), Threads()
    server = Server(clock)
    client: Any = server
    bindings = Store("GroupBinding", clock)
    bindings.mark_synced()

    class Reactor(Clock):
        """Time, and the way back from a thread."""

        callFromThread = staticmethod(threads.callFromThread)

    reactor = Reactor()
    accounts = Accounts(
        reactor,
        lambda: 0.0,
        settings(text),
        client,
        server.users,
        Directory(server.users, bindings),
        Counters(clock),
        Alone(),
        pool=threads,
    )
    accounts.start()
    results: list[Any] = []
    for n in range(8):
        attempt = accounts.login.by_password(f"user-{n}", "wrong", Attempt("192.0.2.7"))
        Deferred.fromCoroutine(attempt).addErrback(results.append)
    assert threads.most == 3 and [failure.value.kind for failure in results] == ["busy"]
    while threads.work():
        reactor.advance(0)
    for _ in range(3):
        attempt = accounts.login.by_password("x", "wrong", Attempt("192.0.2.7"))
        Deferred.fromCoroutine(attempt).addErrback(results.append)
        while threads.work():
            reactor.advance(0)
    refused = results[-1].value
    assert isinstance(refused, LoginRefused) and (refused.kind, refused.retry_after) == ("limited", 90)
    done: list[Any] = []
    Deferred.fromCoroutine(accounts.stop()).addBoth(done.append)
    assert done == [None] and not reactor.getDelayedCalls()
