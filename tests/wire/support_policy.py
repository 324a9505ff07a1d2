"""What a plan tells of its requests, remembered."""

from __future__ import annotations

from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange


class Policy:
    """Lets everything in, and remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.inside: set[Exchange] = set()

    def admit(self, exchange: Exchange) -> StatusError | None:
        self.inside.add(exchange)
        return None

    def answered(self, exchange: Exchange, status: int) -> None:
        self.told.append(f"answered {status}")

    def failed(self, exchange: Exchange, kind: str, message: str) -> None:
        self.told.append(f"failed {kind}: {message}")

    def done(self, exchange: Exchange) -> None:
        if exchange in self.inside:
            self.inside.remove(exchange)
            self.told.append("done")


class Cell:
    """Remembers the kinds of failures."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def answered(self, status: int, seconds: float) -> None:
        """Of no interest here."""

    def failed(self, kind: str) -> None:
        self.failures.append(kind)
