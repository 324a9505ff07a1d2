"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Waits that double from ``first`` up to ``cap`` seconds, each shortened by up to a half at random.

    ``random`` gives numbers from 0 up to 1. The randomness keeps many clients that lost the same server from coming
    back at the same moment.
    """

    def __init__(self, first: float, cap: float, random: Callable[[], float]) -> None:
        self.attempts = 0
        self._first = first
        self._cap = cap
        self._random = random

    def next(self) -> float:
        """Count one more failure and return the seconds to wait after it."""
        # 2 ** 32 times anything sensible is above any cap; larger powers would only overflow.
        whole = min(self._cap, self._first * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return whole * (1.0 - self._random() / 2.0)

    def reset(self) -> None:
        """It works again."""
        self.attempts = 0
