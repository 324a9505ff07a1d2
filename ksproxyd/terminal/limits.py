"""How much of the gateway one user's terminals may take (spec 05, 7.4, 8.1): messages, starts and sessions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import ceil

from ksproxyd.model.status import StatusError, too_many_requests

#: Messages of one browser: so many a second, so many at once.
MESSAGES, BURST = 200.0, 1000

_MINUTE = 60.0


class Messages:
    """A token bucket for one browser's messages. ``now`` says the time in seconds."""

    __slots__ = ("_now", "_stamp", "_tokens")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stamp = now()
        self._tokens = float(BURST)

    def take(self) -> float:
        """Account for one message. Seconds until the next one should be read; 0: at once.

        Messages that come although they should not are accounted for as well: they have to be waited for longer.
        """
        now = self._now()
        self._tokens = min(float(BURST), self._tokens + max(0.0, now - self._stamp) * MESSAGES)
        self._stamp = now
        self._tokens -= 1.0
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / MESSAGES


class Starts:
    """What each user has begun in the last minute, of which ``most`` are allowed."""

    def __init__(self, now: Callable[[], float], most: int) -> None:
        self._now = now
        self.most = most
        #: Oldest first; and first the user whose last start is longest ago.
        self._times: dict[str, deque[float]] = {}

    def take(self, user: str) -> float:
        """Account for one more of ``user``. 0 if that is allowed, else the seconds after which it will be."""
        now = self._now()
        self._forget(now)
        times = self._times.get(user)
        if times is None:
            times = deque()
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if len(times) >= self.most:
            return times[0] + _MINUTE - now
        times.append(now)
        # Who has begun something last comes last.
        self._times.pop(user, None)
        self._times[user] = times
        return 0.0

    def _forget(self, now: float) -> None:
        """Let go of who has begun nothing for a minute."""
        while self._times:
            user = next(iter(self._times))
            if self._times[user][-1] > now - _MINUTE:
                break
            del self._times[user]

    def __len__(self) -> int:
        """Users that are remembered."""
        return len(self._times)


class Seat:
    """The room one session takes. :meth:`leave` gives it back, once."""

    __slots__ = ("_seats", "user")

    def __init__(self, seats: Seats, user: str) -> None:
        self._seats: Seats | None = seats
        self.user = user

    def leave(self) -> None:
        """The session is over, or has never begun."""
        seats, self._seats = self._seats, None
        if seats is not None:
            seats.left(self.user)


class Seats:
    """Sessions at a time, of one user and of all, and how many one user may begin in a minute."""

    def __init__(self, now: Callable[[], float], most: int, most_per_user: int, starts_per_minute: int) -> None:
        self._most = most
        self._most_per_user = most_per_user
        self._starts = Starts(now, starts_per_minute)
        self._returns = Starts(now, starts_per_minute)
        self._taken: Counter[str] = Counter()
        #: Sessions there are.
        self.total = 0

    def take(self, user: str) -> Seat:
        """Room for one more session of ``user``; 429 if there is none, or if they begin too many."""
        if self._taken[user] >= self._most_per_user:
            raise _too_many(f"you have {self._most_per_user} terminals open, which is as many as you may: close one")
        if self.total >= self._most:
            raise _too_many("all terminals of this gateway are taken: try again later")
        self._begin(self._starts, user)
        self._taken[user] += 1
        self.total += 1
        return Seat(self, user)

    def come_back(self, user: str) -> None:
        """``user`` wants to go on with a session they have; 429 if they do so all the time."""
        self._begin(self._returns, user)

    def left(self, user: str) -> None:
        """For :class:`Seat` only."""
        self.total -= 1
        self._taken[user] -= 1
        if not self._taken[user]:
            del self._taken[user]

    def _begin(self, starts: Starts, user: str) -> None:
        wait = starts.take(user)
        if wait:
            raise too_many_requests(
                f"you have begun {starts.most} terminals within a minute, which is as many as you may: wait", ceil(wait)
            )


def _too_many(message: str) -> StatusError:
    return too_many_requests(message, 10)
