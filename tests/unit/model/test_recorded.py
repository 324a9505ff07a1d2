"""Classification and denials against what the original answered, where recordings of it are at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError, forbidden_message

RECORDING = Path(__file__).parents[4] / "shared" / "golden" / "ks-apiserver.jsonl"

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason="no recordings of the original next to the checkout")

#: What is refused for its path, where the original went on (or was not asked).
REFUSED = {
    "basic-double-slash-inside",
    "basic-dot-segments",
    "basic-dot-segments-encoded",
    "basic-encoded-nul",
    "basic-bad-percent",
    "ext-path-encoded",
    "ext-path-dots",
}


def requests() -> Iterator[tuple[str, tuple[str, bytes, bytes], str]]:
    for line in RECORDING.read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        request = record["request"]
        if "method" in request:
            path, _, query = request["path"].partition("?")
            body = (record.get("response") or {}).get("body")
            asked = (request["method"], path.encode(), query.encode())
            yield record["id"], asked, body if isinstance(body, str) else ""


def test_only_unclean_paths_are_refused() -> None:
    refused = set()
    for case, asked, _ in requests():
        try:
            classify(*asked)
        except StatusError:
            refused.add(case)
    assert refused == REFUSED


def test_denials_say_the_same() -> None:
    compared = 0
    for case, asked, body in requests():
        if case in REFUSED or not body.startswith('{"kind":"Status"') or '"code":403' not in body:
            continue
        status = json.loads(body)
        user = re.search('User "([^"]*)"', status["message"])
        if user is not None:
            said = forbidden_message(Identity(user.group(1)), classify(*asked))
            assert said == (status["message"], status["details"]), case
            compared += 1
    assert compared > 30
