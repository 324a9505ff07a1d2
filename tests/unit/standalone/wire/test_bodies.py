from __future__ import annotations

import pytest
from contract.in_memory import MemoryClient
from contract.objects import config_maps
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.standalone.wire.bodies import YAML_VALUES, parse

PATH = config_maps("default")
YAML = {"Content-Type": "application/yaml"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"a: 1\n", {"a": 1}),
        (b"a: 2020-01-01\nb: 2020-01-01T00:00:00Z\n", {"a": "2020-01-01", "b": "2020-01-01T00:00:00Z"}),
        (b"2: a\ntrue: b\n1.5: c\n", {"2": "a", "true": "b", "1.5": "c"}),
        (b"x: &x [1]\ny: *x\n", {"x": [1], "y": [1]}),
        (b"a: ~\nb: 'yes'\nc: yes\n", {"a": None, "b": "yes", "c": True}),
    ],
)
def test_yaml_is_read_as_kubernetes_reads_it(text: bytes, value: object) -> None:
    assert parse(text, yaml_allowed=True) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: [", "error converting YAML to JSON"),
        (b"a: !!binary YWJj\n", "has no JSON form"),
        (b"[1, 2]: a\n", "error converting YAML to JSON"),
        (b"a: !!python/object/apply:os.system ['true']\n", "error converting YAML to JSON"),
        (b"\xff\xfe\xfd", "error converting YAML to JSON"),
    ],
)
def test_bad_yaml_is_told(text: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(text, yaml_allowed=True)


def test_aliases_do_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ValueError, match=f"more than {YAML_VALUES} values"):
        parse("\n".join(lines).encode(), yaml_allowed=True)


def test_deep_nesting_is_refused() -> None:
    for text in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000):
        with pytest.raises(ValueError, match="error"):
            parse(text, yaml_allowed=False)


def test_yaml_is_not_json() -> None:
    with pytest.raises(ValueError, match="json parse error"):
        parse(b"a: 1", yaml_allowed=False)


@given(st.binary(max_size=60))
def test_any_bytes_are_either_refused_or_plain(text: bytes) -> None:
    try:
        value = parse(text, yaml_allowed=True)
    except ValueError:
        return
    assert plain(value)


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def test_parameters_of_a_content_type_do_not_matter() -> None:
    api = MemoryClient()
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert api.request("POST", PATH, '{"metadata": {"name": "a"}}', headers).status == 201


def test_body_without_a_content_type_is_json() -> None:
    api = MemoryClient()
    assert api.request("POST", PATH, b'{"metadata": {"name": "a"}}', {"Content-Type": ""}).status == 201


def test_malformed_yaml_is_a_bad_request() -> None:
    answer = MemoryClient().request("POST", PATH, "a: [", YAML)
    assert (answer.status, answer.reason) == (400, "BadRequest")
