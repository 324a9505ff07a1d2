"""Images that are uploaded, and shown to everybody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from support_rights import RightsWorld

PNG = b"\x89PNG\r\n\x1a\n....\r\n--c\r\n"
FORM = "multipart/form-data; boundary=bound"


def form(content: bytes, filename: str = "logo.png", kind: str = "image/png", field: str = "image") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{filename}"'
    return f"--bound\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n--bound--\r\n"


@pytest.fixture(scope="module")
def world() -> Iterator[RightsWorld]:
    made = RightsWorld()
    yield made
    made.close()


def upload(world: RightsWorld, body: bytes, who: str = "admin", kind: str = FORM) -> Any:
    return world.ask(who, "POST", "/static/images", body, kind)


def test_from_upload_to_everybody(world: RightsWorld) -> None:
    answer = upload(world, form(PNG))
    name = hashlib.md5(PNG).hexdigest() + ".png"
    assert (answer.status, answer.json()) == (200, {"image": name})
    shown = world.ask("", "GET", f"/static/images/{name}")
    assert (shown.status, shown.body) == (200, PNG)
    assert shown.all("content-type") == [b"image/png"]
    assert shown.all("cache-control") == [b"public, max-age=86400"]
    # The clock of the tests has just begun.
    assert shown.all("expires")[0].startswith(b"Fri, 02 Jan 1970 00:")
    head = world.ask("admin", "HEAD", f"/static/images/{name}")
    assert (head.status, head.body) == (200, b"")


def test_an_image_does_nothing(world: RightsWorld) -> None:
    """Opened by itself it is a document of ours, with the cookies of whoever opens it."""
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    name = upload(world, form(svg, "a.SVG", "text/html")).json()["image"]
    assert name.endswith(".SVG")
    shown = world.ask("joe", "GET", f"/static/images/{name}")
    assert shown.all("content-type") == [b"image/svg+xml"]
    assert shown.all("x-content-type-options") == [b"nosniff"]
    assert b"sandbox" in shown.all("content-security-policy")[0]
    assert b"default-src 'none'" in shown.all("content-security-policy")[0]


@pytest.mark.parametrize(
    ("content", "kind"), [(PNG, "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"<svg/>", "image/svg+xml")]
)
def test_without_an_extension_the_type_decides(world: RightsWorld, content: bytes, kind: str) -> None:
    name = upload(world, form(content, "logo", kind)).json()["image"]
    assert "." not in name
    assert world.ask("", "GET", f"/static/images/{name}").all("content-type") == [kind.encode()]


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"{}", "application/json", 415, "415: Unsupported Media Type"),
        (b"--bound--\r\n", FORM, 400, "invalid form data"),
        (form(PNG, field="other"), FORM, 400, "invalid form data"),
        (form(b"text", "a.txt", "image/png"), FORM, 400, "the provided file format is not allowed"),
        (form(b"<html>", "a.html", "text/html"), FORM, 400, "the provided file format is not allowed"),
        (form(b"<html>", "a", "text/html"), FORM, 400, "the provided file format is not allowed"),
        (b"nothing", FORM, 400, "failed to parse multipart form"),
        (form(b"x" * 3 * 2**20), FORM, 400, "failed to parse multipart form"),
    ],
)
def test_what_is_refused(world: RightsWorld, body: bytes, kind: str, status: int, message: str) -> None:
    answer = upload(world, body, kind=kind)
    assert answer.status == status
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize("who", ["joe", "wa", "ca", ""])
def test_uploading_needs_a_right(world: RightsWorld, who: str) -> None:
    body = form(b"<svg>" + who.encode() + b"</svg>", "mine.svg")
    status = upload(world, body, who).status
    assert status == (200 if who == "ca" else 403)


@pytest.mark.parametrize(
    "file", ["none.png", "0" * 32, "0" * 32 + ".png", "../version", "a%2Fb", "0" * 32 + ".png.html"]
)
def test_what_is_not_there(world: RightsWorld, file: str) -> None:
    answer = world.ask("", "GET", f"/static/images/{file}")
    assert answer.status in (400, 403, 404)
    if file == "none.png":
        assert (answer.status, answer.json()["message"]) == (404, "image none.png not found")


def test_other_methods(world: RightsWorld) -> None:
    answer = world.ask("admin", "DELETE", "/static/images/none.png")
    assert (answer.status, answer.all("allow")) == (405, [b"GET, HEAD"])
