"""A clock whose turns can be told apart."""

from __future__ import annotations

from twisted.internet.task import Clock


class TurnClock(Clock):
    """:meth:`Clock.advance` also runs what is put off while it runs, which a reactor leaves for its next turn."""

    def turn(self) -> None:
        """Run what is due now, as one turn of a reactor does."""
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        self.calls = [call for call in self.calls if call not in due]
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)
