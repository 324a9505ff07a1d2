"""Last step: somebody is told that the request is let through.

A sink is told of every request that passed authorization, before it is served; what became of it is told by whoever
finishes exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksproxyd.chain import Step
from ksproxyd.server.exchange import Exchange

AuditSink = Callable[[Exchange], object]


def audit_step(sinks: Sequence[AuditSink]) -> Step:
    """The step that tells ``sinks``. A sink must neither wait nor raise."""
    sinks = tuple(sinks)

    def audit(exchange: Exchange) -> None:
        for sink in sinks:
            sink(exchange)

    return audit
