"""Whose login was refused, for the record and the log.

It is what somebody has typed in, and nobody's identity: there need not be such a user, and whoever typed it need not be
them. Of what was typed next to it nothing is kept.
"""

from __future__ import annotations

from ksproxyd.observe.escaping import one_line
from ksproxyd.observe.redact import redact_text

#: Characters of a name that are shown, and those that are looked at: a token in place of a name is none to show.
LONGEST, LOOKED_AT = 128, 1024


def tried(name: str, provider: str = "") -> dict[str, str]:
    """Notes for the exchange (:attr:`ksproxyd.server.exchange.Exchange.notes`), none without a name.

    ``provider`` is the identity provider whose user it was to be; empty for our own.
    """
    found = {"tried_user": _shown(name), "tried_provider": _shown(provider)}
    return {key: value for key, value in found.items() if value} if found["tried_user"] else {}


def _shown(typed: str) -> str:
    text = redact_text(typed.strip()[:LOOKED_AT])
    return one_line(text[:LONGEST]) + ("..." if len(text) > LONGEST else "")
