"""What is recorded of files that pass: counts and hashes, and nothing that looks whole before it is."""

from __future__ import annotations

import hashlib
import sys

import pytest

from ksproxyd.terminal.files.passed import MOST, Passed


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def passed(*files: tuple[str, bytes], complete: bool = True, piece: int = 7) -> Passed:
    made = Passed()
    for name, content in files:
        made.begin(name)
        for at in range(0, len(content), piece):
            made.take(content[at : at + piece])
    made.complete = complete
    return made


def test_a_download_has_no_name() -> None:
    content = bytes(range(256))
    assert passed(("", content)).said() == {"file-bytes": "256", "file-sha256": sha256(content)}
    assert passed(("", b"")).said() == {"file-bytes": "0", "file-sha256": sha256(b"")}


def test_a_part_of_a_file_says_which() -> None:
    made = passed(("", b"123"))
    made.range = "bytes 7-9/100"
    assert made.said() == {"file-bytes": "3", "file-range": "bytes 7-9/100", "file-sha256": sha256(b"123")}


def test_what_broke_off_has_none_of_the_names_of_what_did_not() -> None:
    made = passed(("a", b"12345"), ("b", b"1"), complete=False)
    assert made.said() == {
        "partial-bytes": "6",
        "partial-count": "2",
        "partial-names": "a/b",
        "partial-sha256": f"{sha256(b'12345')} {sha256(b'1')}",
    }
    assert passed(complete=False).said() == passed(("a", b""), complete=False).said() == {}


@pytest.mark.parametrize("count", [1, MOST, MOST + 1, 3 * MOST])
def test_many_files(count: int) -> None:
    """The text of an annotation is cut behind 2048 characters; no file may hide behind others."""
    files = [(f"{number}.txt", b"%d" % number * number) for number in range(count)]
    found = passed(*files).said()
    assert found["file-count"] == str(count)
    assert found["file-names"] == "/".join(name for name, _ in files[:MOST])
    if count <= MOST:
        assert found["file-sha256"] == " ".join(sha256(content) for _, content in files)
        assert len(found["file-sha256"]) <= 2048
    else:
        lines = "".join(f"{sha256(content)}  {name}\n" for name, content in files)
        assert found["file-list-sha256"] == sha256(lines.encode())
        assert "file-sha256" not in found


def test_nothing_is_kept() -> None:
    made = Passed()
    made.begin("a")
    data = bytes(100_000)
    before = sys.getrefcount(data)
    made.take(data)
    assert sys.getrefcount(data) == before
