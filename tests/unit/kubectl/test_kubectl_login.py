"""How kubectl gets a token: what is kept, what is renewed, and when somebody has to sign in."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ksproxyd.kubectl.commands import exec_credential
from ksproxyd.kubectl.endpoint import Reply, Unusable, check_server
from ksproxyd.kubectl.kubeconfig import kubeconfig
from ksproxyd.kubectl.login import DEVICE_CODE, Failed, Login, plain, subject
from ksproxyd.kubectl.token_cache import Kept, TokenCache, Unsafe, default_folder

SERVER = "https://ks.test"
BEGUN = {
    "device_code": "d-1",
    "user_code": "BCDF-GHJK",
    "verification_uri": f"{SERVER}/oauth/device",
    "verification_uri_complete": f"{SERVER}/oauth/device?user_code=BCDF-GHJK",
    "expires_in": 600,
    "interval": 5,
}


def token(sub: str = "alice") -> str:
    said = base64.urlsafe_b64encode(json.dumps({"sub": sub}).encode()).rstrip(b"=").decode()
    return f"e30.{said}.sig"


def tokens(sub: str = "alice", refresh: str = "r-2", **more: Any) -> Reply:
    body = {"access_token": token(sub), "refresh_token": refresh, "token_type": "Bearer", "expires_in": 7200}
    return Reply(200, {**body, **more})


def error(name: str, status: int = 400) -> Reply:
    return Reply(status, {"error": name, "error_description": f"it is {name}"})


class World:
    """A server that answers what is expected, in order, and a person who reads."""

    def __init__(self, folder: Path) -> None:
        self.server = SERVER
        self.now = 1_700_000_000.0
        self.cache = TokenCache(folder / "cache", SERVER, "cli", "alice")
        self.plays: list[tuple[str, Reply | Exception]] = []
        self.sent: list[dict[str, str]] = []
        self.said: list[str] = []
        self.slept: list[float] = []

    def expect(self, path: str, reply: Reply | Exception) -> None:
        self.plays.append((path, reply))

    def _play(self, path: str) -> Reply:
        assert self.plays, f"{path} is not expected"
        expected, reply = self.plays.pop(0)
        assert path == expected
        if isinstance(reply, Exception):
            raise reply
        return reply

    def post(self, path: str, fields: dict[str, str]) -> Reply:
        self.sent.append(fields)
        return self._play(path)

    def get(self, path: str, token: str) -> Reply:
        return self._play(path)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def login(self, user: str = "alice", *, interactive: bool = True) -> Login:
        return Login(
            self,
            self.cache,
            now=lambda: self.now,
            sleep=self.sleep,
            say=self.said.append,
            client="cli",
            user=user,
            interactive=interactive,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    assert world.plays == [], "not asked for"


def test_somebody_signs_in(world: World) -> None:
    world.expect("/oauth/device_authorization", Reply(200, BEGUN))
    for name in ("authorization_pending", "slow_down", "authorization_pending"):
        world.expect("/oauth/token", error(name))
    world.expect("/oauth/token", tokens())
    kept = world.login().token()
    assert (kept.access_token, kept.refresh_token) == (token(), "r-2")
    assert kept.expires == world.now + 7200
    assert world.slept == [5, 5, 10, 10]
    said = "\n".join(world.said)
    assert "user_code=BCDF-GHJK" in said and "BCDF-GHJK" in said.rpartition("\n")[2]
    assert world.sent[1] == {"grant_type": DEVICE_CODE, "device_code": "d-1", "client_id": "cli"}
    assert world.cache.load() == kept


def test_what_is_kept_is_used_as_long_as_it_is_good(world: World) -> None:
    world.cache.save(Kept(token(), "r-1", world.now + 3600))
    world.expect("/oauth/userinfo", Reply(200, {}))
    assert world.login().token().access_token == token()
    # A gateway that cannot be asked is no reason to log in.
    world.expect("/oauth/userinfo", Unusable("away"))
    assert world.login().token().access_token == token()
    assert world.said == [] and world.sent == []


@pytest.mark.parametrize("left", [-1, 0.5, 29])
def test_what_has_ended_is_renewed(world: World, left: float) -> None:
    world.cache.save(Kept("old", "r-1", world.now + left))
    world.expect("/oauth/token", tokens())
    assert world.login().token().access_token == token()
    assert world.sent == [{"grant_type": "refresh_token", "refresh_token": "r-1", "client_id": "cli"}]
    found = world.cache.load()
    assert found is not None and found.refresh_token == "r-2"


def test_what_was_revoked_is_renewed(world: World) -> None:
    world.cache.save(Kept("old", "r-1", 0))
    world.expect("/oauth/userinfo", error("invalid_token", 401))
    world.expect("/oauth/token", tokens())
    assert world.login().token().access_token == token()


def test_a_login_that_has_ended_begins_anew(world: World) -> None:
    world.cache.save(Kept("old", "r-1", world.now))
    world.expect("/oauth/token", error("invalid_grant"))
    world.expect("/oauth/device_authorization", Reply(200, BEGUN))
    world.expect("/oauth/token", tokens())
    assert world.login().token().refresh_token == "r-2"


def test_an_outage_does_not_end_a_login(world: World) -> None:
    kept = Kept("old", "r-1", world.now)
    world.cache.save(kept)
    world.expect("/oauth/token", error("temporarily_unavailable", 503))
    with pytest.raises(Failed, match=r"answers 503: it is temporarily_unavailable"):
        world.login().token()
    world.expect("/oauth/token", Unusable("away"))
    with pytest.raises(Unusable):
        world.login().token()
    assert world.cache.load() == kept


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (error("access_denied"), "not allowed"),
        (error("expired_token"), "in time"),
        (error("invalid_client", 401), "invalid_client"),
        (tokens(token_type="mac"), "no token"),
        (tokens(access_token=7), "no token"),
    ],
)
def test_nobody_is_logged_in(world: World, reply: Reply, why: str) -> None:
    world.expect("/oauth/device_authorization", Reply(200, BEGUN))
    world.expect("/oauth/token", reply)
    with pytest.raises(Failed, match=why):
        world.login().token()
    assert world.cache.load() is None


def test_nobody_signs_in(world: World) -> None:
    world.expect("/oauth/device_authorization", Reply(200, {**BEGUN, "expires_in": 12}))
    world.expect("/oauth/token", Unusable("shaky"))
    with pytest.raises(Failed, match="in time"):
        world.login().token()
    assert world.slept == [5, 10]


def test_somebody_else_signs_in(world: World) -> None:
    world.expect("/oauth/device_authorization", Reply(200, BEGUN))
    world.expect("/oauth/token", tokens("mallory"))
    world.expect("/oauth/revoke", Reply(200, {}))
    with pytest.raises(Failed, match="signed in as mallory, but this is for alice"):
        world.login().token()
    assert world.cache.load() is None


def test_nobody_is_there(world: World) -> None:
    with pytest.raises(Failed, match=r"ksproxyd login --server https://ks\.test"):
        world.login(interactive=False).token()


def test_logging_out(world: World) -> None:
    assert not world.login().out()
    world.cache.save(Kept("a", "r-1", 0))
    world.expect("/oauth/revoke", Reply(200, {}))
    assert world.login().out()
    assert world.sent == [{"client_id": "cli", "token": "r-1"}]
    assert world.cache.load() is None
    world.cache.save(Kept("a", "r-1", 0))
    world.expect("/oauth/revoke", Reply(503, {}))
    with pytest.raises(Failed, match="forgotten here"):
        world.login().out()
    assert world.cache.load() is None


def test_a_server_does_not_write_to_the_terminal(world: World) -> None:
    evil = {**BEGUN, "user_code": "\x1b[2JX", "verification_uri_complete": "https://x\n\x07"}
    world.expect("/oauth/device_authorization", Reply(200, evil))
    world.expect("/oauth/token", tokens())
    world.login().token()
    assert all(line.isprintable() for line in world.said)
    assert plain("a\x1b[31m\u202eb") == "a?[31m?b"


# -- the cache -------------------------------------------------------------------------------------------------


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    cache = TokenCache(folder, SERVER, "cli", "alice")
    cache.save(Kept("a", "r", 1.0))
    with cache.locked():
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert not any(path.name.startswith(".new") for path in folder.iterdir())
    assert TokenCache(folder, SERVER, "cli", "bob").load() is None
    assert TokenCache(folder, "https://other", "cli", "alice").load() is None
    assert TokenCache(folder, SERVER, "cli", "alice").load() == Kept("a", "r", 1.0)


def _spoil(change: Callable[[Path], object], folder: Path) -> Kept | None:
    cache = TokenCache(folder, SERVER, "cli", "")
    cache.save(Kept("a", "r", 1.0))
    (path,) = folder.glob("*.json")
    change(path)
    return cache.load()


def test_what_others_could_have_read_or_written_is_not_used(tmp_path: Path) -> None:
    assert _spoil(lambda path: path.chmod(0o644), tmp_path / "1") is None
    assert _spoil(lambda path: path.write_text("{"), tmp_path / "2") is None
    assert (
        _spoil(lambda path: path.write_text('{"access_token": 1, "refresh_token": "", "expires": 0}'), tmp_path / "3")
        is None
    )

    def link(path: Path) -> None:
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))

    assert _spoil(link, tmp_path / "4") is None
    assert _spoil(lambda path: None, tmp_path / "5") == Kept("a", "r", 1.0)


def test_a_folder_that_others_write_to(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Unsafe, match="others may write"):
        TokenCache(folder, SERVER, "cli", "").save(Kept("a", "r", 1.0))
    (tmp_path / "file").write_text("")
    with pytest.raises(Unsafe, match="cannot be kept"):
        TokenCache(tmp_path / "file" / "x", SERVER, "cli", "").save(Kept("a", "r", 1.0))


def test_one_at_a_time(tmp_path: Path) -> None:
    one, two = (TokenCache(tmp_path / "c", SERVER, "cli", "") for _ in range(2))
    with one.locked():
        # Another process would wait: ask without waiting.
        import fcntl

        handle = os.open(two._lock, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
    with two.locked():
        pass


def test_where_it_is() -> None:
    assert default_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/ksproxyd")
    assert default_folder({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/ksproxyd")


# -- what kubectl reads ----------------------------------------------------------------------------------------


def test_the_plugin_answers_in_the_version_that_was_asked() -> None:
    kept = Kept("a", "r", 1_700_000_000.0)
    found = exec_credential(kept, "")
    assert found["apiVersion"] == "client.authentication.k8s.io/v1"
    assert found["status"] == {"token": "a", "expirationTimestamp": "2023-11-14T22:13:20Z"}
    beta = '{"apiVersion": "client.authentication.k8s.io/v1beta1"}'
    assert exec_credential(kept, beta)["apiVersion"] == "client.authentication.k8s.io/v1beta1"
    for odd in ("{", "[]", '{"apiVersion": "evil/v1"}', "7"):
        assert exec_credential(Kept("a", "r", 0.0), odd) == {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {"token": "a"},
        }


def test_a_kubeconfig() -> None:
    found = kubeconfig("alice", "https://ks.test:8443/x", ca=b"PEM", ca_file="/etc/ca.pem", client="mine")
    assert found["clusters"][0]["cluster"] == {
        "server": "https://ks.test:8443/x",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    (entry,) = found["users"]
    assert entry["name"] == found["contexts"][0]["context"]["user"] == "alice@ks.test:8443"
    assert entry["user"]["exec"]["args"] == [
        *("credential", "--server", "https://ks.test:8443/x", "--user", "alice"),
        *("--ca", "/etc/ca.pem", "--client-id", "mine"),
    ]


@pytest.mark.parametrize(
    "server",
    [
        *("", "ks.test", "ftp://ks.test", "http://ks.test", "https://", "https://a:b@ks.test", "https://ks.test?x"),
        *("https://ks.test#x", "https://ks.test:x", "https://[::1", "http://127.0.0.1.evil.test"),
    ],
)
def test_where_tokens_are_not_sent(server: str) -> None:
    with pytest.raises(Unusable):
        check_server(server)


@pytest.mark.parametrize(
    "server", ["https://ks.test/", "https://ks.test/base/", "http://127.0.0.1:9090", "http://[::1]:1"]
)
def test_where_they_are(server: str) -> None:
    assert check_server(server) == server.rstrip("/")


@pytest.mark.parametrize("text", ["", "a.b", "a.!.c", "a.e30.c", "a.W10.c", "a.eyJzdWIiOjd9.c", "a.b.c.d"])
def test_tokens_that_say_nothing(text: str) -> None:
    assert subject(text) == ""
