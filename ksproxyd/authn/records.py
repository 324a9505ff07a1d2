"""Login records: LoginRecord objects (spec 02, 5.4), written beside the requests that they are about."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.source import recorded
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.kube.pacing import pause
from ksproxyd.kube.resource import Resource
from ksproxyd.state.backoff import Backoff

LOGIN_RECORDS = Resource("iam.kubesphere.io", "v1beta1", "loginrecords", "LoginRecord")

#: The label that names the user an object is about. A value has at most so many characters.
USER_REF, LONGEST_LABEL = "iam.kubesphere.io/user-ref", 63

#: Records that wait to be written; what comes when there are more is not recorded.
QUEUE = 1000
#: Characters of a User-Agent that are kept.
AGENT = 512
#: Seconds between attempts while the API server is away, at first and at most; and for which the end waits for what is
#: not written yet.
FIRST_WAIT, LAST_WAIT, FLUSH = 1.0, 30.0, 3.0
#: Records that are written at once, and after so many at most so many a second: a flood of logins is not made one of
#: writes, which cost more than the logins do. The second rate is for when many wait.
BURST, RATE, HASTE = 20, 10.0, 50.0
#: Records a second while so many log in that some are turned away: nobody waits for a record.
CALM = 2.0
#: From so many on they are many.
MANY = 200
#: The field manager by which the API server knows our writes.
MANAGER = "ksproxyd"

#: What successes are alike in: user, type, provider, source, User-Agent.
_Like = tuple[str, str, str, str, str]


class LoginRecords:
    """Writes them one after the other, at a limited rate. ``written(user)`` is called after each.

    ``crowded()`` tells whether logins are turned away for want of time.

    A success that is like one which waits still (same user, way, place and program) is told by that one.

    ``random`` gives numbers from 0 up to 1. Nothing that goes wrong here disturbs a login; it is logged once, until it
    works again.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: KubeClient,
        random: Callable[[], float],
        *,
        written: Callable[[str], object] = lambda user: None,
        crowded: Callable[[], bool] = lambda: False,
        queue: int = QUEUE,
    ) -> None:
        #: Records that were not written: too many waited, or the API server did not want them.
        self.lost = 0
        #: Records that another one stands for.
        self.joined = 0
        self._clock = clock
        self._client = client
        self._written = written
        self._crowded = crowded
        self._most = queue
        self._backoff = Backoff(FIRST_WAIT, LAST_WAIT, random)
        self._waiting: deque[tuple[_Like | None, str, dict[str, Any]]] = deque()
        self._alike: set[_Like] = set()
        # How many may be written at once, as of when.
        self._allowed, self._since = float(BURST), clock.seconds()
        self._work: Deferred[None] | None = None
        self._empty: list[Deferred[None]] = []
        self._said = ""
        self._stopped = False

    def __len__(self) -> int:
        """How many are not written yet."""
        return len(self._waiting)

    def add(
        self, user: str, type: str, provider: str, source: str, user_agent: str, success: bool, reason: str
    ) -> None:
        """Have a record written about a login of ``user``, who exists. Returns at once."""
        if self._stopped:
            return
        like: _Like | None = None
        if success:
            like = (user, type, provider, source, user_agent[:AGENT])
            if like in self._alike:
                self.joined += 1
                return
        if len(self._waiting) >= self._most:
            self._lose(f"{self._most} of them wait already")
            return
        if len(user) > LONGEST_LABEL:
            # It could not be found by its user, nor be removed with them.
            self._lose(f"the names of users have more than {LONGEST_LABEL} characters, which no label may")
            return
        spec = {
            "type": type,
            "provider": provider,
            "sourceIP": recorded(source),
            "userAgent": user_agent[:AGENT],
            "success": success,
            "reason": reason,
        }
        record = {
            "apiVersion": LOGIN_RECORDS.api_version,
            "kind": LOGIN_RECORDS.kind,
            "metadata": {"generateName": f"{user}-", "labels": {USER_REF: user}},
            "spec": spec,
        }
        self._waiting.append((like, user, record))
        if like is not None:
            self._alike.add(like)
        if self._work is None:
            self._work = Deferred.fromCoroutine(self._run())
            self._work.addErrback(self._ended)

    def stop(self) -> Deferred[None]:
        """Take no more; fires when those that wait are written, or have had :data:`FLUSH` seconds."""
        self._stopped = True
        done: Deferred[None] = Deferred()
        if self._work is None:
            done.callback(None)
            return done
        self._empty.append(done)
        late = self._clock.callLater(FLUSH, self._work.cancel)

        def ended(_: None) -> None:
            if late.active():
                late.cancel()

        return done.addCallback(ended)

    async def _run(self) -> None:
        # In a turn of its own: whoever adds a record is in the middle of a login.
        await pause(self._clock, 0)
        while self._waiting:
            await self._turn()
            like, user, record = self._waiting[0]
            if like is not None:
                # What comes now is later than what is being written.
                self._alike.discard(like)
            try:
                await self._client.put_in(LOGIN_RECORDS, record, field_manager=MANAGER)
            except KubeUnreachable as error:
                self._say(str(error))
                await pause(self._clock, self._backoff.next())
                continue
            except KubeError as error:
                self._lose(str(error))
            else:
                self._said = ""
                self._written(user)
            self._backoff.reset()
            self._waiting.popleft()
        self._end()

    async def _turn(self) -> None:
        """Wait until another one may be written; at the end there is no time for that."""
        now = self._clock.seconds()
        burst, rate = float(BURST), RATE
        if len(self._waiting) >= MANY:
            rate = HASTE
        elif self._crowded():
            burst, rate = 1.0, CALM
        self._allowed, self._since = min(burst, self._allowed + (now - self._since) * rate), now
        self._allowed -= 1.0
        if self._allowed < 0.0 and not self._stopped:
            await pause(self._clock, -self._allowed / rate)

    def _ended(self, failure: Failure) -> None:
        lost = len(self._waiting)
        self._waiting.clear()
        self._alike.clear()
        self.lost += lost
        if not failure.check(CancelledError):
            self.log.failure("writing login records failed", failure)
        elif lost:
            self.log.warn("{lost} login records were not written before the end", lost=lost)
        self._end()

    def _end(self) -> None:
        self._work = None
        waiting, self._empty = self._empty, []
        for done in waiting:
            done.callback(None)

    def _lose(self, why: str) -> None:
        self.lost += 1
        self._say(why)

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            self.log.warn("login records cannot be written: {why}", why=why)
