"""Paths, names and archives of files that go in and out of containers."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.files.archive import END, head, length, padding
from ksproxyd.terminal.files.names import BadName, container_path, disposition, stored_name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/hosts", "/etc/hosts"),
        ("/etc/hosts;id", "/etc/hosts;id"),
        ("/a/../b/./c", "/b/c"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("//etc//hosts/", "/etc/hosts"),
        ("/", "/"),
        ("/$(id)", "/$(id)"),
        ("/-rf", "/-rf"),
        ("/a\nb", "/a\nb"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert container_path(path) == expected


@pytest.mark.parametrize("path", ["", "etc/hosts", "../x", "/a\0b", "/" + "x" * 5000, " /etc"])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(BadName):
        container_path(path)


@given(st.text())
def test_a_path_stays_one_and_leads_nowhere_else(path: str) -> None:
    try:
        found = container_path(path)
    except BadName:
        return
    assert found.startswith("/")
    assert not found.startswith("//")
    assert not {".", ".."} & set(found.split("/"))


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/x", "x"),
        ("/etc/x", "x"),
        ("C:\\Users\\x.txt", "C:\\Users\\x.txt"),
        ("-rf", "-rf"),
        ("\u20ac .txt", "\u20ac .txt"),
    ],
)
def test_stored_names(filename: str, expected: str) -> None:
    assert stored_name(filename) == expected


@pytest.mark.parametrize("filename", ["", ".", "..", "a/", "a/..", "a\nb", "a\0", "a\x7f", "x" * 256])
def test_names_that_are_refused(filename: str) -> None:
    with pytest.raises(BadName):
        stored_name(filename)


@given(st.text())
def test_a_field_stays_one(name: str) -> None:
    try:
        sent = disposition(name)
    except UnicodeEncodeError:
        assert any("\ud800" <= c <= "\udfff" for c in name)
        return
    assert b"\r" not in sent
    assert b"\n" not in sent
    assert sent.count(b'"') == 2


def test_dispositions() -> None:
    assert disposition("a b.tar") == b"attachment; filename=\"a b.tar\"; filename*=UTF-8''a%20b.tar"
    assert disposition('"\u20ac%') == b"attachment; filename=\"___\"; filename*=UTF-8''%22%E2%82%AC%25"


names = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1, max_size=200)


@given(st.dictionaries(names, st.binary(max_size=1500), max_size=4))
def test_an_archive_of_pieces_is_one(files: dict[str, bytes]) -> None:
    made = b"".join(head(name, len(content)) + content + padding(len(content)) for name, content in files.items()) + END
    assert len(made) == length((name, len(content)) for name, content in files.items())
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        found = {}
        for member in archive:
            assert (member.mode, member.uid, member.gid, member.isreg()) == (0o600, 0, 0, True)
            reader = archive.extractfile(member)
            assert reader is not None
            found[member.name] = reader.read()
    # Names that end with slashes or are dots are refused before they come here.
    assert found == files
