"""Matching and directives against what the original sent to backends, where recordings of it are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ksproxyd.tree.directives import Directives, compile_directives
from ksproxyd.tree.matcher import ProxyTable

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"

pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason="no recordings of the original next to the checkout")

CONSOLE = "kubesphere.io/reverse-proxy-target"


def proxies() -> ProxyTable[tuple[str, Directives]]:
    table: ProxyTable[tuple[str, Directives]] = ProxyTable()
    for proxy in yaml.safe_load_all((GOLDEN / "fixtures" / "21-reverseproxies.yaml").read_text()):
        name, matcher = proxy["metadata"]["name"], proxy["spec"]["matcher"]
        if proxy["metadata"].get("labels", {}).get(CONSOLE) != "ks-console":
            directives = compile_directives(proxy["spec"].get("directives", {}))
            table.add(name, matcher["method"], matcher["path"], (name, directives), "2026-01-01T00:00:00Z", name)
    return table


def records() -> list[dict[str, Any]]:
    lines = (GOLDEN / "ks-apiserver.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [record for record in found if record["request"].get("path", "").startswith("/proxy/")]


def demanded_targets() -> dict[str, str]:
    """The targets that must differ from the recorded ones; ``request`` is the target as the client sent it."""
    found = {}
    for entry in yaml.safe_load((GOLDEN / "expect.yaml").read_text())["exceptions"]:
        backend = entry.get("backend")
        if isinstance(backend, dict) and "target" in backend:
            found.update(dict.fromkeys(entry["ids"], str(backend["target"])))
    return found


def test_the_same_is_sent_to_backends() -> None:
    table = proxies()
    demanded = demanded_targets()
    compared = set()
    for record in records():
        request, backend = record["request"], record.get("backend") or []
        path, question, query = request["path"].encode().partition(b"?")
        found = table.match(request["method"], path.decode())
        if len(backend) != 1 or backend[0]["target"].startswith("/proxy/overlap"):
            continue
        assert found is not None, record["id"]
        method, sent, asked = found[1].apply_target(request["method"], path, query, bool(question))
        target = sent.decode() + ("" if asked is None else "?" + asked.decode())
        expected = demanded.get(record["id"], backend[0]["target"])
        assert target == (request["path"] if expected == "request" else expected), record["id"]
        assert method == backend[0]["method"], record["id"]
        compared.add(record["id"])
    assert len(compared) > 25


def test_what_matched_nothing_matches_nothing() -> None:
    table = proxies()
    for record in records():
        if (record.get("response") or {}).get("status") == 404:
            path = record["request"]["path"].partition("?")[0]
            assert table.match(record["request"]["method"], path) is None, record["id"]


def test_overlapping_matchers_have_one_winner() -> None:
    found = proxies().match("GET", "/proxy/overlap.example/deep/x")
    assert found is not None and found[0] == "rp-overlap-b"
