"""The first user of the embedded API: made once, with everything that belongs to an administrator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_oauth import SETTINGS, oauth_client

from ksproxyd.authn.password_policy import problem_of
from ksproxyd.settings.secret_file import SecretFileError
from ksproxyd.standalone.logins import make_admin, new_password
from ksproxyd.testing import MemoryGateway

IAM = "/apis/iam.kubesphere.io/v1beta1"
TEXT = SETTINGS % {"issuer": "https://ks.test", "multiple": "true", "mode": "AlwaysAllow", "more": ""}


class First:
    def __init__(self) -> None:
        self.gateway = MemoryGateway(TEXT, embedded=True)
        self.gateway.wait(100.0)
        self.inner: Any = self.gateway.gateway

    def make(self, password_file: str = "") -> str | None:
        hashed = self.inner.logins.passwords.hash
        made: str | None = self.gateway.run(make_admin(self.inner.kube_client, hashed, password_file))
        self.gateway.reactor.settle()
        return made

    def log_in(self, password: str) -> int:
        body = f"grant_type=password&username=admin&password={password}&client_id=kubesphere&client_secret=kubesphere"
        form = [(b"Content-Type", b"application/x-www-form-urlencoded")]
        return self.gateway.request("POST", "/oauth/token", form, body.encode()).status

    def everything(self) -> dict[str, Any]:
        plurals = ("users", "globalroles", "globalrolebindings")
        return {plural: self.gateway.embedded.call("GET", f"{IAM}/{plural}")["items"] for plural in plurals}


@pytest.fixture
def first() -> Iterator[First]:
    found = First()
    found.gateway.apply(oauth_client("kubesphere", secret="kubesphere", trusted=True))
    yield found
    found.gateway.close()


def test_made_once(first: First) -> None:
    password = first.make()
    assert password is not None and first.log_in(password) == 200
    made = first.everything()
    ((user,), (role,), (binding,)) = (made[each] for each in ("users", "globalroles", "globalrolebindings"))
    assert password not in repr(made)
    assert user["metadata"]["name"] == "admin" and user["status"]["state"] == "Active"
    assert role["rules"][0] == {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    assert (
        binding["metadata"]["name"] == "admin-platform-admin" and binding["roleRef"]["name"] == role["metadata"]["name"]
    )
    # The second start has nothing to say and nothing to do.
    assert first.make() is None
    assert first.everything() == made


def test_somebody_is_there_already(first: First) -> None:
    somebody = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "User",
        "metadata": {"name": "zoe"},
        "spec": {"email": ""},
    }
    first.gateway.apply(somebody)
    assert first.make() is None
    assert first.everything()["globalrolebindings"] == []


def test_a_start_that_broke_off_is_finished(first: First) -> None:
    assert first.make()
    first.gateway.embedded.call("DELETE", f"{IAM}/users/admin")
    first.gateway.wait(5.0)
    password = first.make()
    assert password is not None and first.log_in(password) == 200


def test_a_password_of_ones_own(first: First, tmp_path: Path) -> None:
    path = tmp_path / "password"
    for content in (None, "", "weak-password", "Aa1" + "é" * 60):
        if content is not None:
            path.write_text(content)
        with pytest.raises(SecretFileError) as caught:
            first.make(str(path))
        assert str(path) in str(caught.value) and "weak" not in str(caught.value)
    assert first.everything()["users"] == []
    path.write_text("Passw0rdX\n")
    path.chmod(0o600)
    assert first.make(str(path)) is None, "it is known, and not to be shown"
    assert first.log_in("Passw0rdX") == 200


def test_passwords_that_are_made_up() -> None:
    made = {new_password() for _ in range(200)}
    assert len(made) == 200
    assert not [password for password in made if problem_of(password, "admin")]
    assert not [password for password in made if set(password) & set("0O1lI")]
    # The first ones that are chosen here have no digit.
    letters = iter("abcdefghijABCDEFGHJK" + "abcdefghijABCDEFGH23")
    assert new_password(lambda _: next(letters)) == "abcdefghijABCDEFGH23"
