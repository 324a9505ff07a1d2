"""The JSONPath of printer columns: ``.a.b``, ``['a.b']``, ``[0]``, ``[1:3]``, ``[*]``, ``[?(@.type==\"Ready\")]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

Step = Callable[[list[Any]], list[Any]]

_NAME = re.compile(r"\.([A-Za-z0-9_\-/]|\\.)+")
_QUOTED = re.compile(r"\[('([^'\\]|\\.)*'|\"([^\"\\]|\\.)*\")\]")
_INDEX = re.compile(r"\[(-?[0-9]+)\]")
_SLICE = re.compile(r"\[(-?[0-9]*):(-?[0-9]*)\]")
_ANY = re.compile(r"\[\*\]|\.\*")
_FILTER = re.compile(r"\[\?\(\s*@((?:\.[A-Za-z0-9_\-]+)+)\s*(?:(==|!=)\s*('[^']*'|\"[^\"]*\"|[-+.\w]+)\s*)?\)\]")


def compile_path(text: str) -> Callable[[Any], list[Any]]:
    """A function that finds what the path leads to: a list, empty if there is nothing.

    Raises ``ValueError`` for a path that is not one (or uses what is not supported).
    """
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    rest = text.removeprefix("$")
    if rest == ".":
        rest = ""
    steps: list[Step] = []
    while rest:
        step, length = _step(rest)
        if step is None:
            raise ValueError(f"the JSON path {text!r} cannot be read at {rest!r}")
        steps.append(step)
        rest = rest[length:]

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = step(found)
        return found

    return find


def _step(rest: str) -> tuple[Step | None, int]:
    if match := _ANY.match(rest):
        return _every, match.end()
    if match := _NAME.match(rest):
        return _member(re.sub(r"\\(.)", r"\1", match.group()[1:])), match.end()
    if match := _QUOTED.match(rest):
        return _member(re.sub(r"\\(.)", r"\1", match.group(1)[1:-1])), match.end()
    if match := _INDEX.match(rest):
        return _element(int(match.group(1))), match.end()
    if match := _SLICE.match(rest):
        low, high = (int(bound) if bound else None for bound in match.groups())
        return _slice(low, high), match.end()
    if match := _FILTER.match(rest):
        path, operator, literal = match.groups()
        return _where(tuple(path[1:].split(".")), operator, _literal(literal)), match.end()
    return None, 0


def _member(name: str) -> Step:
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _element(index: int) -> Step:
    return lambda values: [
        value[index] for value in values if isinstance(value, list) and -len(value) <= index < len(value)
    ]


def _slice(low: int | None, high: int | None) -> Step:
    return lambda values: [each for value in values if isinstance(value, list) for each in value[low:high]]


def _every(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if isinstance(value, list):
            found += value
        elif isinstance(value, dict):
            found += value.values()
    return found


def _where(path: tuple[str, ...], operator: str | None, literal: Any) -> Step:
    def keep(value: Any) -> bool:
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        if operator is None:
            return True
        return bool((value == literal) is (operator == "=="))

    return lambda values: [each for each in _every([v for v in values if isinstance(v, list)]) if keep(each)]


def _literal(text: str | None) -> Any:
    if text is None:
        return None
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
