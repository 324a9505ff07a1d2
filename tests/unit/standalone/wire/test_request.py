from __future__ import annotations

import pytest

from ksproxyd.model.message import Fields
from ksproxyd.model.status import StatusError
from ksproxyd.standalone.wire.request import ADMIN, Request


def test_path_and_query_are_decoded() -> None:
    request = Request.of("GET", b"/a%20b/%C3%A9", b"x=1&x=2&y=%2F&z")
    assert request.path == "/a b/é"
    assert request.parameter("x") == "1"
    assert request.parameter("y") == "/"
    assert (request.parameter("z"), request.parameter("none")) == ("", "")


@pytest.mark.parametrize("path", [b"/%zz", b"/%ff", b"/\xff"])
def test_path_that_is_no_text_is_a_bad_request(path: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        Request.of("GET", path)
    assert caught.value.code == 400


def test_administrator_may_impersonate() -> None:
    assert Request.of("GET", b"/").user == ADMIN
    fields = Fields(
        [
            (b"Impersonate-User", b"alice"),
            (b"Impersonate-Group", b"one"),
            (b"Impersonate-Group", b"two"),
            (b"Impersonate-Uid", b"42"),
            (b"Impersonate-Extra-acme.com%2Fproject", b"x"),
            (b"Impersonate-Extra-scopes", b"a"),
            (b"Impersonate-Extra-scopes", b"b"),
        ]
    )
    user = Request.of("GET", b"/", fields=fields).user
    assert (user.name, user.uid) == ("alice", "42")
    assert user.groups == ("one", "two", "system:authenticated")
    assert dict(user.extra) == {"acme.com/project": ("x",), "scopes": ("a", "b")}


def test_anonymous_is_not_authenticated() -> None:
    user = Request.of("GET", b"/", fields=Fields([(b"Impersonate-User", b"system:anonymous")])).user
    assert user.groups == ("system:unauthenticated",)
