"""Tickets: what a page shows in place of a token, once, when it opens a terminal (spec 05, 12.4).

A page cannot set ``Authorization`` on a WebSocket, but it can offer subprotocols::

    Sec-WebSocket-Protocol: ksproxyd.json, ksproxyd.ticket.<43 letters, digits, - and _>
"""

from __future__ import annotations

import re

#: In front of a ticket, among the subprotocols.
TICKET = b"ksproxyd.ticket."

_VALUE = re.compile(rb"[A-Za-z0-9_-]{43}")


class BadOffer(ValueError):
    """A ticket was offered in a way that cannot be served. The text says what to do."""


def ticket_of(offered: bytes) -> tuple[str, bytes] | None:
    """The ticket among the subprotocols that are ``offered``, and the others; None if there is none.

    Raises :class:`BadOffer` for two of them, one that cannot be ours, or no other subprotocol.
    """
    if TICKET not in offered:
        return None
    names = [name for name in (part.strip() for part in offered.split(b",")) if name]
    tickets = [name.removeprefix(TICKET) for name in names if name.startswith(TICKET)]
    if not tickets:
        return None
    if len(tickets) > 1:
        raise BadOffer("more than one ticket is offered as a subprotocol; offer one")
    if _VALUE.fullmatch(tickets[0]) is None:
        raise BadOffer("the ticket that is offered as a subprotocol is not one of ours")
    others = [name for name in names if not name.startswith(TICKET)]
    if not others:
        # A server answers with one of them, and never with a secret.
        raise BadOffer("a ticket is offered as the only subprotocol; offer the one that is to be spoken, too")
    return tickets[0].decode("ascii"), b", ".join(others)
