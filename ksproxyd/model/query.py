"""Query strings, read as the Kubernetes API server reads them, so that both understand the same."""

from __future__ import annotations

from ksproxyd.model.percent import unquote

#: What reads as true where a boolean is asked for; everything else is false (Go's ``strconv.ParseBool``).
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def parameters(query: bytes) -> dict[str, list[str]]:
    """The parameters of a raw query (without ``?``), each with its values in order.

    ``+`` is a space, keys and values are percent-decoded, a key without ``=`` has the value ``""``. Pairs with a bad
    escape or a ``;`` are dropped, as Go drops them. Bytes that are not UTF-8 become U+FFFD.
    """
    found: dict[str, list[str]] = {}
    for pair in query.split(b"&"):
        if not pair or b";" in pair:
            continue
        if b"%" in pair:
            key, _, value = pair.partition(b"=")
            try:
                name, text = _text(key), _text(value)
            except ValueError:
                continue
        else:
            # An ``=`` is part of no other character.
            name, _, text = pair.decode("utf-8", "replace").replace("+", " ").partition("=")
        if name in found:
            found[name].append(text)
        else:
            found[name] = [text]
    return found


def parameter(query: bytes, key: str) -> str:
    """The first value of ``key`` in the raw ``query``; empty if there is none."""
    if key.encode() not in query and b"%" not in query:
        return ""
    values = parameters(query).get(key)
    return values[0] if values else ""


def _text(raw: bytes) -> str:
    return unquote(raw.replace(b"+", b" ")).decode("utf-8", "replace")
