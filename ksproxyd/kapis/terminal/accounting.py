"""Sessions in the audit log: one event when a shell begins, one when it is over (spec 05, D15).

A session may outlive the request that opened it, and have several: their connections are recorded as every tunnel is.
Files are told of in the events of the requests that they pass in (D16).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from ksproxyd.audit.audit import Audit
from ksproxyd.audit.event import COMPLETE, STARTED
from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal.endings import Where
from ksproxyd.terminal.files.passed import Passed
from ksproxyd.terminal.session import Session, Summary

#: Makes what keeps account of the files that pass in an exchange.
PassedOf = Callable[[Exchange], Passed]


class Accounts:
    """Makes the witness of each session, and what keeps account of files."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def witness(self, exchange: Exchange, where: Where) -> Account:
        """For a session that ``exchange`` opens."""
        return Account(self._audit, exchange)

    def passed(self, exchange: Exchange) -> Passed:
        """For files that go into a container, or come out of one, in ``exchange``."""
        made = Passed()
        self._audit.at_end(exchange, made.said)
        return made


class Account:
    """Keeps account of one session (a :class:`~ksproxyd.terminal.session.Witness`)."""

    def __init__(self, audit: Audit, exchange: Exchange) -> None:
        self._audit = audit
        self._exchange = exchange
        self._id = str(uuid.uuid4())

    def began(self, session: Session) -> None:
        """There is a shell, or will be in a moment."""
        self._audit.tell(self._exchange, STARTED, 101, session.begun, _place(session), self._id)

    def output(self, data: bytes) -> None:
        """What is shown is a recording's, not the audit log's."""

    def resized(self, columns: int, rows: int) -> None:
        """Nobody's business."""

    def ended(self, session: Session, summary: Summary) -> None:
        """It is over, also if it never began."""
        said = {
            **_place(session),
            "reason": summary.reason,
            "close-code": str(summary.code),
            "typed-bytes": str(summary.typed),
            "printed-bytes": str(summary.printed),
            "seconds": f"{summary.seconds:.3f}",
        }
        if summary.exit_code is not None:
            said["exit-code"] = str(summary.exit_code)
        self._audit.tell(self._exchange, COMPLETE, 101, session.begun, said, self._id)


def _place(session: Session) -> dict[str, str]:
    """Which session, and where. Its key is not said: with it, one could come back to it."""
    where = session.where
    members = {
        "session": session.id,
        "terminal": where.kind,
        "namespace": where.namespace,
        "pod": where.pod,
        "container": where.container,
        "node": where.node,
        "shell": where.shell,
    }
    return {name: value for name, value in members.items() if value}
