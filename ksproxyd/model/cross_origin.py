"""What an answer's fields say to browsers of other origins (the Fetch standard, 3.3)."""

from __future__ import annotations

from ksproxyd.model.message import Pairs

Item = tuple[bytes, bytes, bytes]

#: The fields by which an answer grants something to another origin, in lower case.
GRANTS = frozenset(
    [
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-allow-methods",
        b"access-control-allow-headers",
        b"access-control-expose-headers",
        b"access-control-max-age",
    ]
)


def only_ours(items: tuple[Item, ...], ours: Pairs) -> tuple[Item, ...]:
    """The fields of a backend's answer that may stand beside ``ours``.

    Where ours grant anything a backend's own grants go: two of them contradict each other, and browsers then refuse
    the answer altogether. Where ours grant nothing the backend's stay; it knows its own callers.
    """
    if any(name.lower() in GRANTS for name, _ in ours):
        return tuple(item for item in items if item[0] not in GRANTS)
    return items
