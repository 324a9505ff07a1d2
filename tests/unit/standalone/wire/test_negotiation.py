from __future__ import annotations

import pytest

from ksproxyd.model.message import Fields
from ksproxyd.model.status import StatusError
from ksproxyd.standalone.wire.negotiation import Form, form
from ksproxyd.standalone.wire.request import Request

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def asked(accept: str | None, agent: str = "x", query: bytes = b"") -> Request:
    fields = Fields([(b"User-Agent", agent.encode())])
    if accept is not None:
        fields.add(b"Accept", accept.encode())
    return Request.of("GET", b"/", query, fields)


@pytest.mark.parametrize(
    ("accept", "media", "transform"),
    [
        (None, "application/json", ""),
        ("", "application/json", ""),
        ("*/*", "application/json", ""),
        ("application/*", "application/json", ""),
        ("APPLICATION/JSON", "application/json", ""),
        ("application/yaml", "application/yaml", ""),
        ("text/html, application/yaml;q=0.5", "application/yaml", ""),
        ("application/yaml;q=0.1, application/json;q=0.9", "application/json", ""),
        ("application/json;q=0, application/yaml", "application/yaml", ""),
        ("application/json;q=much", "application/json", ""),
        (TABLE, "application/json", "Table"),
        (f"{TABLE},application/json", "application/json", "Table"),
        (PARTIAL, "application/json", "PartialObjectMetadata"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", "application/json", ""),
        ("application/json;as=Chair;v=v1;g=meta.k8s.io,application/json", "application/json", ""),
        ("application/vnd.kubernetes.protobuf,application/json", "application/json", ""),
        ("application/json;stream=watch", "application/json", ""),
    ],
)
def test_accepted(accept: str | None, media: str, transform: str) -> None:
    found = form(asked(accept))
    assert (found.media, found.transform) == (media, transform)


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", PARTIALS, "application/json;q=0"]
)
def test_not_acceptable(accept: str) -> None:
    with pytest.raises(StatusError) as caught:
        form(asked(accept))
    assert (caught.value.code, caught.value.reason) == (406, "NotAcceptable")


def test_lists_and_watches_have_their_own_forms() -> None:
    assert form(asked(PARTIALS), several=True).transform == "PartialObjectMetadataList"
    with pytest.raises(StatusError):
        form(asked(PARTIAL), several=True)
    with pytest.raises(StatusError):
        form(asked("application/yaml"), streaming=True)
    with pytest.raises(StatusError):
        form(asked(TABLE), transforms=False)


@pytest.mark.parametrize(
    ("agent", "query", "pretty"),
    [
        ("curl/8", b"", True),
        ("Mozilla/5.0 (X11)", b"", True),
        ("Wget/1.2", b"", True),
        ("kubectl/v1.36", b"", False),
        ("kubectl/v1.36", b"pretty=true", True),
        ("curl/8", b"pretty=false", False),
        ("curl/8", b"pretty=", True),
    ],
)
def test_people_get_indented_json(agent: str, query: bytes, pretty: bool) -> None:
    assert form(asked(None, agent, query)).pretty is pretty


def test_layouts() -> None:
    body = b'{"a":[1],"b":"x"}'
    assert Form().reply(200, body).body == body
    assert Form(pretty=True).reply(200, body).body == b'{\n  "a": [\n    1\n  ],\n  "b": "x"\n}'
    assert Form("application/yaml").reply(200, body).body == b"a:\n- 1\nb: x\n"
