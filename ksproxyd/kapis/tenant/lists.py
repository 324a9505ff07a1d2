"""Pages of what somebody sees, from memory (spec 03, 5.3 and 7, engine A)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.listing import TYPED, Filter, Ordered, Query, View, envelope, listed
from ksproxyd.kapis.tenant.visibility import Seen
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.message import Response
from ksproxyd.model.status import service_unavailable
from ksproxyd.state.kinds import Kind
from ksproxyd.state.state import State
from ksproxyd.state.validation import text

Object = dict[str, Any]

_JSON = [(b"Content-Type", b"application/json")]

#: Namespaces can be asked for by their phase.
PHASE: Mapping[str, Filter] = {"status": lambda value: lambda each: text(each, "status", "phase") == value}
_NONE: Mapping[str, Filter] = {}


class Lists:
    """Answers with lists."""

    def __init__(self, clock: IReactorTime, state: State) -> None:
        self._clock = clock
        self._state = state

    def need(self, *kinds: Kind) -> None:
        """Raises a 503 as long as one of these kinds has not been read: nothing is missing only because of that."""
        for kind in kinds:
            if not self._state.store(kind).synced:
                raise service_unavailable(f"the {kind.resource.plural} are not known yet; try again in a moment", 1)

    async def answer(
        self, seen: Seen, query: Query, view: View = lambda value: value, more: Mapping[str, Filter] = _NONE
    ) -> Response:
        """The page of ``seen`` that ``query`` asks for."""
        items, total = await listed(seen, query, Pacer(self._clock), view, engine=TYPED, more=more)
        return Response(200, _JSON, envelope(items, total))


def each_of(seen: Seen) -> Collection[Object]:
    """The objects, in no particular order."""
    if not isinstance(seen, Ordered):
        return seen
    get = seen.store.get
    return [each for _, name, namespace in seen.keys(by_name=True) if (each := get((namespace, name))) is not None]
