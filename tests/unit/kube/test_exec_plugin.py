"""Credential plugins."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from thread_reactor import ThreadReactor, end
from twisted.internet.defer import CancelledError, Deferred

from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.exec_plugin import MAX_OUTPUT, ExecCredential, PluginCall, read_credential, run_plugin

V1 = "client.authentication.k8s.io/v1"
CALL = PluginCall(V1, "sh")


@pytest.fixture
def reactor() -> ThreadReactor:
    return ThreadReactor()


def answer(**status: Any) -> bytes:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status}).encode()


def result(done: Deferred[ExecCredential]) -> Any:
    results: list[Any] = []
    done.addCallbacks(results.append, lambda failure: results.append(failure.value))
    assert len(results) == 1, "the plugin has not ended"
    return results[0]


def problem(done: Deferred[ExecCredential]) -> str:
    error = result(done)
    assert isinstance(error, AccessError)
    assert "\n" not in str(error)
    return str(error)


def hanging(reactor: ThreadReactor, call: PluginCall = CALL) -> Deferred[ExecCredential]:
    """A plugin that runs until the test ends it."""
    reactor.hang = True
    return run_plugin(call, reactor, {"PATH": "/bin:/usr/bin"}, 60)


@pytest.mark.parametrize(
    ("status", "credential"),
    [
        ({"token": "t"}, ExecCredential("t")),
        ({"clientCertificateData": "C", "clientKeyData": "K"}, ExecCredential(None, b"C", b"K")),
        ({"token": "t", "clientCertificateData": "C", "clientKeyData": "K"}, ExecCredential("t", b"C", b"K")),
        ({"token": "t", "expirationTimestamp": "1970-01-02T00:00:00Z"}, ExecCredential("t", expires=86400.0)),
        ({"token": "t", "expirationTimestamp": "1970-01-02T01:00:00+01:00"}, ExecCredential("t", expires=86400.0)),
        ({"token": "t", "expirationTimestamp": "1970-01-02T00:00:00.5Z"}, ExecCredential("t", expires=86400.5)),
        ({"token": "t", "expirationTimestamp": "1970-01-02T00:00:00"}, ExecCredential("t", expires=86400.0)),
        ({"token": "t", "expirationTimestamp": None}, ExecCredential("t")),
    ],
)
def test_credentials(status: dict[str, Any], credential: ExecCredential) -> None:
    assert read_credential(answer(**status), CALL) == credential


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b"", "not JSON"),
        (b"token", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an ExecCredential"),
        (b'{"kind":"Secret"}', "not an ExecCredential"),
        (answer(token="t").replace(b"/v1", b"/v1beta1"), "wanted 'client.authentication.k8s.io/v1'"),
        (b'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}', "without status"),
        (answer(), "neither a token nor a client certificate"),
        (answer(token=""), "neither a token nor a client certificate"),
        (answer(token=5), "not text"),
        (answer(clientKeyData="K"), "only one of"),
        (answer(token="t", expirationTimestamp="soon"), "no RFC 3339 time"),
        (answer(token="t", expirationTimestamp=5), "no RFC 3339 time"),
    ],
)
def test_what_is_no_credential(output: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_credential(output, CALL)


def test_a_plugin_is_run(reactor: ThreadReactor, tmp_path: Path) -> None:
    """A real command, with what it is told and where it is found."""
    plugin = tmp_path / "bin" / "plugin"
    plugin.parent.mkdir()
    plugin.write_text(
        "#!/bin/sh\n"
        'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",\'\n'
        'printf \'"status":{"token":"%s-%s-%s"}}\' "$1" "$EXTRA" "$(cat | wc -c)"\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    call = PluginCall(V1, "./bin/plugin", ("arg",), (("EXTRA", "env"),), folder=str(tmp_path))
    assert result(run_plugin(call, reactor, {"PATH": "/bin:/usr/bin"}, 60)) == ExecCredential("arg-env-0")
    assert reactor.children[0].stdin_closed
    assert reactor.getDelayedCalls() == []


def test_what_a_plugin_is_told(reactor: ThreadReactor) -> None:
    call = PluginCall(V1, "sh", ("-c", "x"), (("A", "ours"),), cluster={"server": "https://h", "config": None})
    reactor.hang = True
    run_plugin(call, reactor, {"PATH": "/bin", "A": "theirs", "HOME": "/root"}, 60).addErrback(lambda _: None)
    ((_, executable, args, env),) = reactor.spawned
    assert (executable, args) == ("/bin/sh", ["sh", "-c", "x"])
    assert (env["A"], env["HOME"]) == ("ours", "/root")
    assert json.loads(env["KUBERNETES_EXEC_INFO"]) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": "https://h", "config": None}},
    }


def test_a_plugin_that_fails(reactor: ThreadReactor) -> None:
    done = hanging(reactor)
    end(reactor.spawned[0][0], reactor.children[0], b"", b"first\n\n  not logged in  \n\n", 3)
    assert problem(done) == "credential plugin 'sh' exited with status 3 (not logged in)"
    assert reactor.getDelayedCalls() == []


def test_a_plugin_that_is_ended_by_a_signal(reactor: ThreadReactor) -> None:
    done = hanging(reactor)
    end(reactor.spawned[0][0], reactor.children[0], code=-9)
    assert problem(done) == "credential plugin 'sh' was ended by signal 9"


def test_a_plugin_that_prints_nonsense(reactor: ThreadReactor) -> None:
    done = hanging(reactor)
    end(reactor.spawned[0][0], reactor.children[0], b"hello")
    assert problem(done) == "credential plugin 'sh' printed something that is not JSON"


def test_a_plugin_that_takes_too_long_is_killed(reactor: ThreadReactor) -> None:
    done = hanging(reactor)
    reactor.advance(60)
    assert problem(done) == "credential plugin 'sh' did not finish within 60 s"
    assert reactor.children[0].signals == ["KILL"]
    end(reactor.spawned[0][0], reactor.children[0], answer(token="late"), code=-9)


@pytest.mark.parametrize("stream", ["outReceived", "errReceived"])
def test_a_plugin_that_prints_without_end_is_killed(reactor: ThreadReactor, stream: str) -> None:
    done = hanging(reactor)
    protocol = reactor.spawned[0][0]
    for _ in range(20):
        getattr(protocol, stream)(b"x" * (MAX_OUTPUT // 10))
    assert "printed more than" in problem(done)
    assert reactor.children[0].signals == ["KILL"]
    assert protocol.size <= MAX_OUTPUT * 1.2


def test_cancelling_kills_it(reactor: ThreadReactor) -> None:
    done = hanging(reactor)
    done.cancel()
    assert isinstance(result(done), CancelledError)
    assert reactor.children[0].signals == ["KILL"]
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    "call",
    [
        PluginCall(V1, "no-such-plugin", install_hint="Get it\nfrom  example.com."),
        PluginCall(V1, "./plugin", install_hint="Get it from example.com.", folder="/nonexistent"),
    ],
)
def test_a_plugin_that_is_not_there(reactor: ThreadReactor, call: PluginCall) -> None:
    text = problem(run_plugin(call, reactor, {"PATH": "/bin"}, 60))
    assert text == f"credential plugin {call.command!r} is not an executable file. Get it from example.com."
    assert (reactor.spawned, reactor.getDelayedCalls()) == ([], [])


def test_a_plugin_that_cannot_be_started(reactor: ThreadReactor) -> None:
    reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
    assert "could not be started: Resource temporarily unavailable" in problem(
        run_plugin(CALL, reactor, {"PATH": "/bin"}, 60)
    )
    assert reactor.getDelayedCalls() == []


def test_nothing_secret_is_shown() -> None:
    call = PluginCall(V1, "plugin", ("--password=hunter2",), (("TOKEN", "hunter2"),))
    assert "hunter2" not in repr(call) + repr(ExecCredential("hunter2", b"hunter2", b"hunter2"))
