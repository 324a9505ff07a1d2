"""What docs/extensions.md shows is so: its objects are valid, its directives do what the table says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ksproxyd import manifests
from ksproxyd.state import assessment
from ksproxyd.state.validation import KINDS, content_source, object_problems, set_problems
from ksproxyd.tree.directives import compile_directives
from ksproxyd.tree.endpoint import EndpointError, resolve
from ksproxyd.tree.policy import parse_policy
from ksproxyd.tree.reserved import reserved

TEXT = (Path(__file__).parents[3] / "docs" / "extensions.md").read_text(encoding="utf-8")
OBJECTS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)]
TABLE = re.findall(r"^\| `(\{.*\})` \| `(/\S*)` \| `(/\S*)` \|$", TEXT, re.MULTILINE)


def endpoint(spec: Any) -> str | None:
    try:
        resolve(spec)
    except EndpointError as error:
        return str(error)
    return None


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: value["metadata"]["name"])
def test_the_objects_are_right(value: dict[str, Any]) -> None:
    kinds = {d["spec"]["names"]["kind"]: d["spec"]["group"] for d in manifests.definitions()}
    assert value["apiVersion"] == f"{kinds[value['kind']]}/v1alpha1"
    assert not object_problems(value["kind"], value, endpoint, reserved)
    spec = value["spec"]
    assert not parse_policy(spec, value["metadata"].get("annotations")).problems
    assert not compile_directives(spec.get("directives", {})).problems
    assert value["kind"] != "JSBundle" or content_source(spec) is not None


def test_the_objects_go_together() -> None:
    assert {value["kind"] for value in OBJECTS} == {"APIService", "ReverseProxy", "JSBundle"}
    for kind in KINDS:
        assert not set_problems(kind, [value for value in OBJECTS if value["kind"] == kind])


@pytest.mark.parametrize(("directives", "request_", "sent"), TABLE)
def test_the_directives_do_what_the_table_says(directives: str, request_: str, sent: str) -> None:
    compiled = compile_directives(yaml.safe_load(directives))
    assert not compiled.problems
    path, mark, query = request_.encode().partition(b"?")
    _, path, asked = compiled.apply_target("GET", path, query, mark == b"?")
    assert (path if asked is None else path + b"?" + asked).decode() == sent


def test_the_table_was_found() -> None:
    assert len(TABLE) > 10


def test_every_field_and_condition_is_described() -> None:
    for definition in manifests.definitions():
        if definition["spec"]["names"]["kind"] != "ReverseProxy":
            continue
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        for name in (
            *schema["directives"]["properties"],
            *schema["upstream"]["properties"],
            *schema["matcher"]["properties"],
        ):
            assert f"`{name}`" in TEXT, name
        for name in set(schema) - {"matcher", "upstream", "directives"}:
            assert f"`{name}`" in TEXT, name
    for name in assessment.OURS:
        assert f"`{name}`" in TEXT, name
