"""Where the API server is, and credentials that stay fresh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pem import key_pair
from thread_reactor import ThreadReactor, end
from twisted.internet.defer import Deferred

from ksproxyd.kube.access import ClusterAccess, load_access
from ksproxyd.kube.errors import AccessError
from ksproxyd.upstream.target import Target

V1 = "client.authentication.k8s.io/v1"
CA, CA_KEY = key_pair("ca")
OTHER_CA = key_pair("other ca")[0]


class Options:
    def __init__(self, kubeconfig: str = "", master: str = "") -> None:
        self.kubeconfig = kubeconfig
        self.master = master


class Place:
    """A machine with a home, a service account's folder and a reactor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reactor = ThreadReactor()
        self.account = path / "serviceaccount"
        self.account.mkdir()
        self.environ = {"HOME": str(path / "home"), "PATH": "/bin:/usr/bin"}

    def load(self, kubeconfig: str = "", master: str = "") -> Deferred[ClusterAccess]:
        coroutine = load_access(
            Options(kubeconfig, master),
            self.reactor,
            environ=self.environ,
            folder=self.account,
            now=lambda: self.reactor.seconds() + 1000.0,
        )
        return Deferred.fromCoroutine(coroutine)

    def access(self, kubeconfig: str = "", master: str = "") -> ClusterAccess:
        found = outcome(self.load(kubeconfig, master))
        assert isinstance(found, ClusterAccess), found
        return found

    def problem(self, kubeconfig: str = "", master: str = "") -> str:
        error = outcome(self.load(kubeconfig, master))
        assert isinstance(error, AccessError)
        assert self.reactor.getDelayedCalls() == []
        return str(error)

    def write(self, user: dict[str, Any], name: str = "config", **cluster: Any) -> str:
        content = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/k8s", **cluster}}],
            "users": [{"name": "u", "user": user}],
        }
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content))
        return str(file)

    def be_a_pod(self) -> None:
        self.environ |= {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        (self.account / "token").write_text("first")
        (self.account / "ca.crt").write_bytes(CA)


def outcome(done: Deferred[Any]) -> Any:
    results: list[Any] = []
    done.addCallbacks(results.append, lambda failure: results.append(failure.value))
    assert len(results) == 1, "still waiting"
    return results[0]


def bearer(access: ClusterAccess) -> bytes:
    ((name, value),) = access.headers()
    assert name == b"Authorization"
    return value.removeprefix(b"Bearer ")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestWhichConfiguration:
    def test_a_kubeconfig(self, place: Place) -> None:
        access = place.access(place.write({"token": "t"}))
        assert access.target.host == "10.0.0.1"
        assert access.path_prefix == b"/k8s"
        assert bearer(access) == b"t"
        assert access.origin.endswith("config, context here")

    def test_master_replaces_its_server(self, place: Place) -> None:
        access = place.access(place.write({"token": "t"}), "http://127.0.0.1:8001/x")
        assert (access.target, access.path_prefix) == (Target("http", "127.0.0.1", 8001), b"/x")
        assert bearer(access) == b"t"

    def test_master_alone_has_no_credentials(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access(master="127.0.0.1:8001")
        assert (access.target.scheme, access.target.port, access.headers()) == ("https", 8001, ())

    def test_the_one_at_home(self, place: Place) -> None:
        place.be_a_pod()
        place.write({"token": "home"}, "home/.kube/config")
        assert bearer(place.access()) == b"home"

    def test_the_pods_service_account(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access()
        assert (access.target.host, bearer(access)) == ("10.96.0.1", b"first")
        assert access.target.trust is not None
        assert access.target.trust.ca_pem == CA

    def test_none(self, place: Place) -> None:
        text = place.problem()
        assert "no cluster is configured" in text
        assert "\n" not in text

    @pytest.mark.parametrize(
        ("kubeconfig", "master", "said"),
        [("/nonexistent/config", "", "No such file"), ("", "ftp://x", "kubernetes.master: server 'ftp://x'")],
    )
    def test_an_unusable_one(self, place: Place, kubeconfig: str, master: str, said: str) -> None:
        assert said in place.problem(kubeconfig, master)

    def test_a_pod_without_a_token(self, place: Place) -> None:
        place.be_a_pod()
        (place.account / "token").unlink()
        assert "the pod's service account: token" in place.problem()


def test_nothing_blocks_the_reactor(place: Place) -> None:
    """Every file is read in a thread."""
    place.reactor.slow_threads = True
    done = place.load(place.write({"tokenFile": "token"}))
    (place.path / "token").write_text("t")
    for _ in range(2):
        assert not done.called
        place.reactor.run_threads()
    assert bearer(outcome(done)) == b"t"


class TestFiles:
    """Files are looked at once a minute."""

    def test_a_new_token(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access()
        (place.account / "token").write_text("second")
        place.reactor.advance(59)
        assert bearer(access) == b"first"
        place.reactor.advance(1)
        assert bearer(access) == b"second"

    def test_a_new_authority_makes_a_new_target(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access()
        changes: list[tuple[Target, Target]] = []
        unsubscribe = access.subscribe(lambda old, new: changes.append((old, new)))
        before = access.target
        place.reactor.advance(60)
        assert changes == []
        (place.account / "ca.crt").write_bytes(OTHER_CA)
        place.reactor.advance(60)
        assert changes == [(before, access.target)]
        assert before != access.target
        unsubscribe()
        unsubscribe()
        (place.account / "ca.crt").write_bytes(CA)
        place.reactor.advance(60)
        assert len(changes) == 1

    def test_a_subscriber_that_fails_disturbs_nobody(self, place: Place, logged_errors: Any) -> None:
        place.be_a_pod()
        access = place.access()
        changes: list[Target] = []

        def broken(old: Target, new: Target) -> None:
            raise RuntimeError("broken")

        access.subscribe(broken)
        access.subscribe(lambda old, new: changes.append(new))
        (place.account / "ca.crt").write_bytes(OTHER_CA)
        place.reactor.advance(60)
        assert changes == [access.target]
        assert len(logged_errors.take()) == 1

    @pytest.mark.parametrize("content", [b"", b"two words", None])
    def test_a_bad_token_leaves_the_last_good_one(self, place: Place, content: bytes | None) -> None:
        place.be_a_pod()
        access = place.access()
        token = place.account / "token"
        if content is None:
            token.unlink()
        else:
            token.write_bytes(content)
        place.reactor.advance(60)
        assert bearer(access) == b"first"
        assert "token" in access.problem
        token.write_text("second")
        place.reactor.advance(60)
        assert (bearer(access), access.problem) == (b"second", "")

    def test_a_certificate_that_does_not_fit_its_key_waits_for_the_other_file(self, place: Place) -> None:
        """The two files cannot be replaced at the same moment."""
        cert, key = key_pair("one")
        new_cert, new_key = key_pair("two")
        (place.path / "cert").write_bytes(cert)
        (place.path / "key").write_bytes(key)
        access = place.access(place.write({"client-certificate": "cert", "client-key": "key"}))
        (place.path / "cert").write_bytes(new_cert)
        place.reactor.advance(60)
        assert access.target.trust is not None
        assert access.target.trust.client_cert_pem == cert
        (place.path / "key").write_bytes(new_key)
        place.reactor.advance(60)
        assert access.target.trust.client_cert_pem == new_cert
        assert access.target.trust.client_key_pem == new_key

    def test_without_files_nothing_is_looked_at(self, place: Place) -> None:
        place.access(place.write({"token": "t"}))
        (call,) = place.reactor.getDelayedCalls()
        assert call.getTime() >= 86400

    def test_being_refused_changes_nothing(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access()
        access.refused()
        (call,) = place.reactor.getDelayedCalls()
        assert call.getTime() == 60

    def test_after_stop_nothing_is_looked_at(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access()
        access.stop()
        access.stop()
        access.refused()
        assert place.reactor.getDelayedCalls() == []
        assert bearer(access) == b"first"

    def test_stopped_while_looking(self, place: Place) -> None:
        place.be_a_pod()
        access = place.access()
        place.reactor.slow_threads = True
        place.reactor.advance(60)
        access.stop()
        place.reactor.run_threads()
        assert place.reactor.getDelayedCalls() == []


class Plugin:
    """A credential plugin in the hands of a test. ``now`` is 1000 at the clock's zero."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.reactor = place.reactor
        self.reactor.hang = True
        user = {"exec": {"apiVersion": V1, "command": "sh"}}
        self.loading = place.load(place.write(user))

    @property
    def runs(self) -> int:
        return len(self.reactor.spawned)

    def gives(self, token: str, expires: float | None = None) -> None:
        status: dict[str, Any] = {"token": token}
        if expires is not None:
            minutes, seconds = divmod(int(expires), 60)
            hours, minutes = divmod(minutes, 60)
            status["expirationTimestamp"] = f"1970-01-01T{hours:02}:{minutes:02}:{seconds:02}Z"
        self.prints(json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status}).encode())

    def prints(self, output: bytes, code: int = 0) -> None:
        end(self.reactor.spawned[-1][0], self.reactor.children[-1], output, code=code)

    def access(self) -> ClusterAccess:
        found = outcome(self.loading)
        assert isinstance(found, ClusterAccess)
        return found


@pytest.fixture
def plugin(place: Place) -> Plugin:
    return Plugin(place)


class TestPlugins:
    def test_renewed_before_it_expires(self, plugin: Plugin) -> None:
        plugin.gives("first", 2000)
        access = plugin.access()
        plugin.reactor.advance(799)
        assert plugin.runs == 1
        plugin.reactor.advance(1)
        assert plugin.runs == 2
        assert bearer(access) == b"first"
        plugin.gives("second", 2800)
        assert bearer(access) == b"second"
        plugin.reactor.advance(799)
        assert plugin.runs == 2
        plugin.reactor.advance(1)
        assert plugin.runs == 3

    def test_never_in_a_tight_loop(self, plugin: Plugin) -> None:
        plugin.gives("old", 10)
        plugin.access()
        plugin.reactor.advance(59)
        assert plugin.runs == 1
        plugin.reactor.advance(1)
        assert plugin.runs == 2

    def test_without_expiry_only_after_a_refusal(self, plugin: Plugin) -> None:
        plugin.gives("first")
        access = plugin.access()
        plugin.reactor.advance(3600)
        assert plugin.runs == 1
        access.refused()
        access.refused()
        plugin.reactor.advance(1)
        assert plugin.runs == 2
        plugin.gives("second")
        assert bearer(access) == b"second"
        access.refused()
        plugin.reactor.advance(58)
        assert plugin.runs == 2
        plugin.reactor.advance(2)
        assert plugin.runs == 3

    def test_failing_at_start_is_said(self, plugin: Plugin) -> None:
        plugin.prints(b"", 1)
        error = outcome(plugin.loading)
        assert isinstance(error, AccessError)
        assert str(error) == "credential plugin 'sh' exited with status 1"

    def test_failing_later_keeps_what_is_there(self, plugin: Plugin) -> None:
        plugin.gives("first", 2000)
        access = plugin.access()
        plugin.reactor.advance(800)
        plugin.prints(b"", 1)
        assert (bearer(access), access.problem) == (b"first", "credential plugin 'sh' exited with status 1")
        plugin.reactor.advance(160)
        assert plugin.runs == 3
        plugin.gives("second", 9000)
        assert (bearer(access), access.problem) == (b"second", "")

    def test_tried_again_long_after_expiry(self, plugin: Plugin) -> None:
        plugin.gives("first", 1100)
        access = plugin.access()
        for _ in range(600):
            plugin.reactor.advance(10)
            if not plugin.reactor.children[-1].exited:
                plugin.prints(b"", 1)
        assert 90 <= plugin.runs <= 101
        assert bearer(access) == b"first"

    def test_a_certificate_makes_a_new_target(self, plugin: Plugin) -> None:
        cert, key = key_pair("client")
        status = {"clientCertificateData": cert.decode(), "clientKeyData": key.decode()}
        plugin.prints(json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status}).encode())
        access = plugin.access()
        assert access.target.trust is not None
        assert access.target.trust.client_cert_pem == cert
        assert access.headers() == ()

    def test_stopped_while_it_runs(self, plugin: Plugin) -> None:
        plugin.gives("first", 2000)
        access = plugin.access()
        plugin.reactor.advance(800)
        access.stop()
        assert plugin.reactor.children[-1].signals == ["KILL"]
        assert plugin.reactor.getDelayedCalls() == []


def test_a_bug_while_renewing_is_logged_and_tried_again(place: Place, logged_errors: Any) -> None:
    place.be_a_pod()
    access = place.access()
    pool = place.reactor.getThreadPool()
    call = pool.callInThreadWithCallback

    def broken(on_result: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("broken")

    pool.callInThreadWithCallback = broken  # type: ignore[method-assign]
    place.reactor.advance(60)
    assert access.problem == "broken"
    assert len(logged_errors.take()) == 1
    pool.callInThreadWithCallback = call  # type: ignore[method-assign]
    (place.account / "token").write_text("second")
    place.reactor.advance(60)
    assert (bearer(access), access.problem) == (b"second", "")


def test_before_anything_was_read_there_is_nothing_to_show(place: Place) -> None:
    from ksproxyd.kube.address import ServerAddress
    from ksproxyd.kube.connection import Connection

    access = ClusterAccess(
        Connection(origin="test", address=ServerAddress("https", "h", 443)), place.reactor, {}, lambda: 0.0
    )
    with pytest.raises(AccessError, match="have not been read"):
        access.headers()
