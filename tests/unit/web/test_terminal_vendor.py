"""What comes from npm for the terminal's page: checked, and told plainly when it cannot be had."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from ksproxyd.web import terminal
from ksproxyd.web.terminal import Package, vendor


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def package(content: bytes) -> Package:
    return Package("1.2.3", digest(content), {"lib/a.mjs": "a.mjs", "LICENSE": "a.license.txt"})


GOOD = archive({"package/lib/a.mjs": b"export{}", "package/LICENSE": b"MIT", "package/evil.js": b"no"})


class Npm:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, spec: str, folder: Path) -> Path:
        self.asked.append(spec)
        path = folder / "a-1.2.3.tgz"
        path.write_bytes(self.content)
        return path


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    npm = Npm(GOOD)
    vendor.get("@x/a", package(GOOD), tmp_path / "vendor", npm)
    assert npm.asked == ["@x/a@1.2.3"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "vendor").iterdir()} == {
        "a.mjs": b"export{}",
        "a.license.txt": b"MIT",
    }


@pytest.mark.parametrize(
    ("sent", "wanted", "said"),
    [
        (GOOD + b"\0", package(GOOD), "is not what it should be"),
        (GOOD, Package("1.2.3", "sha1-" + "a" * 28, {"LICENSE": "l"}), "is not what it should be"),
        (GOOD, Package("1.2.3", digest(GOOD), {"LICENSE": "l", "lib/b.mjs": "b"}), "has no lib/b.mjs"),
    ],
)
def test_anything_else_is_not_taken(tmp_path: Path, sent: bytes, wanted: Package, said: str) -> None:
    with pytest.raises(vendor.NotGot, match=said):
        vendor.get("@x/a", wanted, tmp_path / "vendor", Npm(sent))
    assert not (tmp_path / "vendor").exists()


def test_npm_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(vendor.NotGot, match=r"npm cannot get @x/a@1: npm error code E404"):
        vendor.npm_pack("@x/a@1", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(vendor.NotGot, match="npm is not installed"):
        vendor.npm_pack("@x/a@1", tmp_path)


def test_what_is_pinned_has_digests_and_licences() -> None:
    found = terminal.packages()
    assert "@xterm/xterm" in found
    for name, each in found.items():
        assert each.integrity.startswith("sha512-") and len(each.integrity) == len(digest(b"")), name
        assert "LICENSE" in each.files, name


def test_without_it_the_page_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vendor.json",):
        (tmp_path / name).write_bytes(terminal._folder().joinpath(name).read_bytes())
    monkeypatch.setattr(terminal, "_folder", lambda: tmp_path)
    assert terminal.missing() == [f"{name} {each.version}" for name, each in terminal.packages().items()]
    (tmp_path / "vendor").mkdir()
    for each in terminal.packages().values():
        for name in each.files.values():
            (tmp_path / "vendor" / name).write_bytes(b"")
    # The files of another version are not those of this one.
    (tmp_path / "vendor/versions.json").write_text('{"@xterm/xterm": "5.5.0"}')
    assert "@xterm/xterm 6.0.0" in terminal.missing()
