"""What was worked out for some bytes, for when the same bytes come again."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


class Memory(dict[bytes, Value]):
    """Values by the bytes they were worked out from: a dictionary to look into, filled by :meth:`keep`.

    Bounded: it holds ``MOST`` values, for at most ``LONGEST`` bytes each, and begins anew when it is full. What comes
    often is soon back.
    """

    MOST = 1024
    LONGEST = 2048

    __slots__ = ()

    def keep(self, key: bytes, value: Value) -> None:
        """Remember ``value``, unless ``key`` is too long to be worth it."""
        if len(key) <= self.LONGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[key] = value
