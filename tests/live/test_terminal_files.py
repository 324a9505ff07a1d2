"""Files in and out, with the tar, tail and stat of this machine: names and paths of every kind, and limits."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor, task
from twisted.internet.threads import deferToThread

from ksproxyd.model.multipart import Reader
from ksproxyd.terminal.channels import V4, V5
from ksproxyd.terminal.exit_status import EXITED, NOT_STARTED
from ksproxyd.terminal.files.download import Download, packing, reading, sizing
from ksproxyd.terminal.files.names import BadName, container_path
from ksproxyd.terminal.files.passed import Passed
from ksproxyd.terminal.files.spool import Duplicate, Full, Room, Spool, TooLarge
from ksproxyd.terminal.files.upload import Upload
from live.local_exec import LocalExecutions

WHERE = ("demo", "web-0", "app")

#: Paths that would do something if a shell, or a careless tar, saw them.
HOSTILE = [
    "hosts;id", "a && id", "a | id", "$(id)", "`id`", "a\nid", "a'b", 'a"b', "a b", "*", "?", "[a]", "~root", "-rf",
    "--checkpoint=1", "--checkpoint-action=exec=id", "--to-command=id", "-C", "--help", "a\\nb", "a$IFS", "${PATH}",
    ">out", "<in", "&", "a;rm -rf x", "\u20ac", "\u202egpj.exe", "%2e%2e", "..a", "a..", "a:b", "C:\\x", "!!", "#a",
    "a\tb", "(a)", "{a,b}", "=a", "@a", "+a", "a,b",
]  # fmt: skip


def spool(limit: int = 1 << 20, room: int = 1 << 30) -> Spool:
    return Spool(deferToThread, limit, Room(room))


def fill(target: Spool, **files: bytes) -> None:
    for name, content in files.items():
        target.part(name, name)
        target.content(content)
        target.part_end()


async def upload(
    folder: Path, target: Spool, protocol: str = V5, passed: Passed | None = None
) -> tuple[Any, str, LocalExecutions]:
    executions = LocalExecutions(str(folder), protocol)
    await target.write_out()
    result, said = await Upload(executions, *WHERE, str(folder)).send(target, passed)  # type: ignore[arg-type]
    await target.close()
    while executions.open:
        # The one that was let go is on its way out.
        await task.deferLater(reactor, 0.01)
    return result, said, executions


@pytest.mark.parametrize("protocol", [V5, V4])
@pytest_twisted.ensureDeferred
async def test_files_arrive_as_they_are(tmp_path: Path, protocol: str) -> None:
    target = spool(8 << 20)
    contents = {"a.bin": os.urandom(3 << 20), "empty": b"", "odd": b"x" * 513}
    for name, content in contents.items():
        target.part("field", name)
        for at in range(0, len(content), 100_000):
            target.content(content[at : at + 100_000])
            if target.full:
                await target.write_out()
        target.part_end()
    passed = Passed()
    result, said, executions = await upload(tmp_path, target, protocol, passed)
    assert (result.kind, result.code, said) == (EXITED, 0, "")
    # That it is all there is for whoever has asked for it to say.
    assert not passed.complete and passed.said()["partial-sha256"].split() == [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in contents
    ]
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in contents)
    assert executions.commands[0] == ("tar", "-xmf", "-", "-C", str(tmp_path))
    assert len(executions.commands) == (1 if protocol == V5 else 2)


@pytest.mark.parametrize("name", HOSTILE)
@pytest_twisted.ensureDeferred
async def test_names_that_would_do_something_are_names(tmp_path: Path, name: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    target = spool()
    try:
        target.part("f", name)
    except BadName:
        assert any(character < " " for character in name)
        return
    target.content(b"content")
    target.part_end()
    result, said, _ = await upload(inside, target)
    assert (result.code, said) == (0, "")
    assert os.listdir(inside) == [name]
    assert (inside / name).read_bytes() == b"content"
    assert os.listdir(outside) == []


class Taken:
    """What a download has brought."""

    def __init__(self) -> None:
        self.began = False
        self.content = b""

    def begin(self) -> None:
        self.began = True

    def take(self, data: bytes) -> None:
        assert self.began
        self.content += data


async def download(folder: Path, command: tuple[str, ...], **options: Any) -> tuple[Download, Taken, Any]:
    executions = LocalExecutions(str(folder))
    taken = Taken()
    made = Download(taken, **options)
    made.start(executions, *WHERE, command)  # type: ignore[arg-type]
    result = await made.over
    return made, taken, result


@pytest.mark.parametrize("name", HOSTILE)
@pytest_twisted.ensureDeferred
async def test_paths_that_would_do_something_are_paths(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"not this one")
    (tmp_path / name).write_bytes(b"this one")
    path = container_path(f"{tmp_path}/{name}")
    _, taken, result = await download(tmp_path, packing(path))
    assert result.code == 0
    with tarfile.open(fileobj=io.BytesIO(taken.content)) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [name]
        reader = archive.extractfile(members[0])
        assert reader is not None
        assert reader.read() == b"this one"
    _, taken, result = await download(tmp_path, reading(path, 5), first=1)
    assert (result.code, taken.content) == (0, b"one")
    assert sorted(os.listdir(tmp_path)) == sorted(["secret", name])


@pytest.mark.parametrize("name", HOSTILE)
@pytest_twisted.ensureDeferred
async def test_folders_that_would_do_something_are_folders(tmp_path: Path, name: str) -> None:
    inside = tmp_path / name
    inside.mkdir()
    (inside / "f").write_bytes(b"1")
    _, taken, result = await download(tmp_path, packing(container_path(f"{inside}/f")))
    assert result.code == 0
    with tarfile.open(fileobj=io.BytesIO(taken.content)) as archive:
        assert archive.getnames() == ["f"]
    for protocol in (V5, V4):
        target = spool()
        fill(target, g=b"2")
        result, said, _ = await upload(inside, target, protocol)
        assert (result.code, said) == (0, "")
    assert sorted(os.listdir(inside)) == ["f", "g"]
    assert os.listdir(tmp_path) == [name]


@pytest_twisted.ensureDeferred
async def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_bytes(b"1" * 100_000)
    _, taken, result = await download(tmp_path, packing(container_path(f"{tmp_path}/d/../d/.")))
    assert result.code == 0
    with tarfile.open(fileobj=io.BytesIO(taken.content)) as archive:
        assert archive.getnames() == ["d", "d/e", "d/e/f"]


@pytest_twisted.ensureDeferred
async def test_what_is_not_there_is_said_before_anything_is_promised(tmp_path: Path) -> None:
    made, taken, result = await download(tmp_path, packing(f"{tmp_path}/missing"))
    # An empty archive may have come all the same.
    assert result.code != 0
    assert "missing" in made.said()
    made, taken, result = await download(tmp_path, ("no-such-program", "x"))
    assert (result.kind, taken.began) == (NOT_STARTED, False)


@pytest_twisted.ensureDeferred
async def test_the_size_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        _, taken, _ = await download(tmp_path, sizing(f"{tmp_path}/{name}"), first=1)
        assert taken.content == b"5 %d regular file\n" % (tmp_path / "a").stat().st_mtime


@pytest_twisted.ensureDeferred
async def test_a_download_that_is_too_large_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    made, taken, result = await download(tmp_path, packing(f"{tmp_path}/a"), limit=200_000)
    assert (made.too_large, result) == (True, None)
    assert len(taken.content) <= 200_000


@pytest_twisted.ensureDeferred
async def test_a_folder_that_is_not_there_to_upload_to(tmp_path: Path) -> None:
    target = spool()
    fill(target, a=b"1")
    await target.write_out()
    executions = LocalExecutions(str(tmp_path))
    result, said = await Upload(executions, *WHERE, f"{tmp_path}/missing").send(target)  # type: ignore[arg-type]
    await target.close()
    assert result.code != 0
    assert "missing" in said


@pytest_twisted.ensureDeferred
async def test_limits() -> None:
    target = spool(limit=10)
    fill(target, a=b"12345")
    with pytest.raises(Duplicate):
        target.part("other", "a")
    target.part("b", "b")
    with pytest.raises(TooLarge):
        target.content(b"123456")
    room = Room(10)
    first, second = Spool(deferToThread, 100, room), Spool(deferToThread, 100, room)
    fill(first, a=b"12345678")
    with pytest.raises(Full):
        fill(second, a=b"123")
    await first.close()
    fill(second, b=b"123")
    await second.close()
    assert room.taken == 0
    await target.close()


@pytest_twisted.ensureDeferred
async def test_a_form_on_its_way_into_a_container(tmp_path: Path) -> None:
    content = os.urandom(700_000)
    body = (
        b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\nignored\r\n'
        b'--B\r\nContent-Disposition: form-data; name="x"; filename="../up/big.bin"\r\n\r\n' + content + b"\r\n"
        b'--B\r\nContent-Disposition: form-data; name="x"; filename="small"\r\n\r\ns\r\n--B--\r\n'
    )
    target = spool()
    reader = Reader(b"B", target)
    for at in range(0, len(body), 65_536):
        reader.feed(body[at : at + 65_536])
        if target.full:
            await target.write_out()
    reader.end()
    result, said, _ = await upload(tmp_path, target)
    assert (result.code, said) == (0, "")
    assert hashlib.sha256((tmp_path / "big.bin").read_bytes()).digest() == hashlib.sha256(content).digest()
    assert (tmp_path / "small").read_bytes() == b"s"
    assert sorted(os.listdir(tmp_path)) == ["big.bin", "small"]
