from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
import yaml

from ksproxyd.model.message import Fields
from ksproxyd.standalone.access import Access, admin_token, write_admin_kubeconfig
from ksproxyd.standalone.wire.request import Request


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_token_is_made_once(tmp_path: Path) -> None:
    token = admin_token(str(tmp_path))
    assert len(token) >= 40
    assert admin_token(str(tmp_path)) == token
    assert mode(tmp_path / "admin.token") == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["admin.token"]


def test_empty_token_file_is_not_a_token(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("\n")
    assert admin_token(str(tmp_path))


def test_token_without_a_folder_is_new_each_time() -> None:
    assert admin_token("") != admin_token("")


@pytest.mark.parametrize(
    ("sent", "admitted"),
    [
        (b"Bearer secret", True),
        (b"bearer  secret ", True),
        (b"Bearer wrong", False),
        (b"Bearer secret2", False),
        (b"Bearer", False),
        (b"Basic secret", False),
        (b"secret", False),
        (b"Bearer \xff", False),
        (None, False),
    ],
)
def test_admission(sent: bytes | None, admitted: bool) -> None:
    fields = Fields([] if sent is None else [(b"Authorization", sent)])
    assert Access("secret").admits(Request.of("GET", b"/", fields=fields)) is admitted


def test_kubeconfig(tmp_path: Path) -> None:
    path = tmp_path / "admin.kubeconfig"
    path.write_text("old")
    path.chmod(0o644)
    write_admin_kubeconfig(str(path), "https://127.0.0.1:6444", "secret", b"PEM")
    assert mode(path) == 0o600
    config = yaml.safe_load(path.read_text())
    assert config["current-context"] == config["contexts"][0]["name"]
    assert config["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:6444",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    assert config["users"][0]["user"] == {"token": "secret"}
    assert [each.name for each in tmp_path.iterdir()] == ["admin.kubeconfig"]


def test_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError, match="taken"):
        write_admin_kubeconfig(str(path), "https://127.0.0.1:6444", "secret")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]
