"""What a role is to be, without the turns that putting it together takes."""

from __future__ import annotations

from ksproxyd.controllers.aggregation import Whole, assembling
from ksproxyd.state.store import Object


def whole(role: Object, scope: str, templates: dict[str, Object]) -> Whole:
    """What :func:`~ksproxyd.controllers.aggregation.assembling` comes to. Raises what that raises."""
    steps = assembling(role, scope, templates)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Whole = end.value
            return found
