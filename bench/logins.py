"""What logins cost: requests with a known token beside ones without, bad tokens, many logins beside other requests.

Other requests come at a fixed rate, far below what the gateway can serve: how late a saturated gateway answers says how
long its queue is, not what a login costs. They come alone; beside logins at a second gateway of the same kind; and
beside the same logins at the gateway that serves them. The second is what the machine makes of it, whose processors
the gateways share with the backend, the Kubernetes API and whoever logs in: the third over the second is what the
logins do to a gateway, the third over the first what they do to a gateway and its machine.

Logins are of two kinds: a crowd, in which everybody logs in once and a hash is compared for each (more than the
processors can, so that most must be refused), and programs, which log in again and again with passwords that were right
a moment ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from bench.flood import LOGINS, Flood
from bench.load import Sample, load
from bench.login_gateway import PEOPLE, LoginGateway, user
from bench.open_loop import Latencies, open_loop, percentile
from bench.site import Site
from bench.table import micros, millis, spread, table, times

RATE = 300.0
"""Other requests a second; wrk gets some thousands through."""

LONGER = 2.0
"""How much longer a turn is than those of the other subjects: a percentile of few requests is chance."""

STEADY = 2.0
"""By how much the 99th percentiles of requests alone may differ between rounds."""

PROGRAMS = 50
"""Users who log in again and again."""

_PLAIN, _KNOWN, _GARBAGE = "no token", "known token", "garbage token (401)"
CROWD, AGAIN = "everybody once", "the same again"


@dataclass
class Beside:
    """Requests beside one kind of logins: alone, with the logins elsewhere, and with them here, in every round."""

    alone: list[Latencies] = field(default_factory=list)
    elsewhere: list[Latencies] = field(default_factory=list)
    here: list[Latencies] = field(default_factory=list)
    outcomes: Counter[int] = field(default_factory=Counter)
    told_when: int = 0
    taken: dict[int, list[float]] = field(default_factory=dict)
    reactor: float = 0.0
    """CPU seconds that logins have added to the thread that serves requests."""

    def ratios(self, turns: list[Latencies]) -> list[float]:
        """Of the 99th percentiles here to those of ``turns``, by round."""
        return [here.at(99) / turn.at(99) for here, turn in zip(self.here, turns, strict=True)]

    @property
    def tail(self) -> float:
        """The 99th percentile with the logins here over that without any, of the requests of all rounds. The goal's.

        Those of single rounds, of some hundred requests, differ by half from one round to the next: a virtual machine
        that is stopped for a few milliseconds is their dozen of slow ones.
        """
        return together(self.here, 99) / together(self.alone, 99)

    @property
    def conclusive(self) -> bool:
        """Whether requests alone took about the same in every round; if not, the machine was busy with other things,
        and a ratio to them is chance, be it good or bad."""
        tails = [turn.at(99) for turn in self.alone]
        return max(tails) <= STEADY * min(tails)

    @property
    def to_elsewhere(self) -> float:
        """The same over that with the logins elsewhere. It explains, and takes no goal's place."""
        return together(self.here, 99) / together(self.elsewhere, 99)

    @property
    def logins(self) -> int:
        """How many were answered."""
        return self.outcomes.total() - self.outcomes[0]


def together(turns: list[Latencies], percent: float) -> float:
    """A percentile of the requests of all these turns."""
    return percentile(sorted(seconds for turn in turns for seconds in turn.seconds), percent)


class Logins:
    """Measured with :meth:`measure`, told with :meth:`report`."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self.samples: dict[str, list[Sample]] = {_PLAIN: [], _KNOWN: [], _GARBAGE: []}
        self.kinds = {CROWD: Beside(), AGAIN: Beside()}
        self.done: dict[str, int] = {}

    def measure(self, rounds: int, seconds: float) -> None:
        """Each kind of request has its turn in every round; then requests alone, and beside many logins, in turn."""
        with ExitStack() as stack:
            gateway = stack.enter_context(LoginGateway(self._folder, self._site.plain_route))
            path = self._site.plain_route.api_path
            known = [f"Authorization: Bearer {gateway.log_in(user(0))}"]
            kinds: dict[str, Any] = {
                _PLAIN: {},
                _KNOWN: {"headers": known},
                _GARBAGE: {"headers": ["Authorization: Bearer not.a.token"], "refused": True},
            }
            load(gateway, (path,), 1, known)
            for _ in range(rounds):
                for name, more in kinds.items():
                    self.samples[name].append(load(gateway, (path,), seconds, **more))
            (self._folder / "other").mkdir()
            other = stack.enter_context(LoginGateway(self._folder / "other", self._site.plain_route))
            programs = [user(PEOPLE - 1 - number) for number in range(PROGRAMS)]
            crowds = [(user(number) for number in range(1, PEOPLE - PROGRAMS)) for _ in range(2)]
            for turn in range(rounds):
                gateway.settle()
                other.settle()
                ask = partial(open_loop, gateway, path, RATE, seconds * LONGER, known, seed=turn)
                self._beside(self.kinds[CROWD], ask, gateway, other, *crowds)
                for each in (gateway, other):
                    for name in programs:
                        each.log_in(name)
                    each.settle()
                self._beside(self.kinds[AGAIN], ask, gateway, other, cycle(programs), cycle(programs))
            self.done = gateway.done()

    @staticmethod
    def _beside(
        found: Beside,
        ask: Callable[[], Latencies],
        gateway: LoginGateway,
        other: LoginGateway,
        names: Iterator[str],
        names_there: Iterator[str],
    ) -> None:
        found.alone.append(ask())
        first = gateway.reactor_seconds()
        with Flood(other, names_there):
            found.elsewhere.append(ask())
        other.settle()
        second = gateway.reactor_seconds()
        with Flood(gateway, names) as flood:
            found.here.append(ask())
            third = gateway.reactor_seconds()
        found.reactor += (third - second) - (second - first)
        found.outcomes += flood.outcomes
        found.told_when += flood.told_when
        for status, taken in flood.seconds.items():
            found.taken.setdefault(status, []).extend(taken)

    @property
    def token_seconds(self) -> float:
        """CPU seconds that a known token adds to a request."""
        pairs = zip(self.samples[_KNOWN], self.samples[_PLAIN], strict=True)
        return median(known.cpu - plain.cpu for known, plain in pairs)

    def report(self) -> str:
        """The tables."""
        rows = []
        for name, samples in self.samples.items():
            ratios = [sample.cpu / plain.cpu for sample, plain in zip(samples, self.samples[_PLAIN], strict=True)]
            rows.append([name, micros(median(s.cpu for s in samples)), times(median(ratios)), spread(ratios)])
        first = table(["APIService, plain upstream", "CPU a request", "to no token", "lowest–highest"], rows)
        rows = []
        for name, kind in self.kinds.items():
            places = {"alone": kind.alone, "logins elsewhere": kind.elsewhere, "logins here": kind.here}
            for what, turns in places.items():
                row = [f"{name}: {what}", *(millis(together(turns, at)) for at in (50, 90, 99))]
                ratios = [] if turns is kind.here else kind.ratios(turns)
                whole = together(kind.here, 99) / together(turns, 99)
                rows.append([*row, times(whole) if ratios else "", spread(ratios) if ratios else ""])
        head = [f"{RATE:g} requests a second, known token", "p50", "p90", "p99", "p99 here to it", "of single rounds"]
        second = table(head, rows)
        late = max(turn.late for kind in self.kinds.values() for turn in (*kind.alone, *kind.elsewhere, *kind.here))
        rows = [
            [
                name,
                ", ".join(f"{count} × {status or 'given up'}" for status, count in sorted(kind.outcomes.items())),
                millis(median(kind.taken.get(200, [0.0]))),
                millis(median(kind.taken.get(503, kind.taken.get(429, [0.0])))),
                micros(kind.reactor / max(1, kind.logins)),
            ]
            for name, kind in self.kinds.items()
        ]
        third = table(
            [f"{LOGINS} logins a second", "answers", "let in after", "refused after", "reactor's CPU a login"], rows
        )
        told = ", ".join(f"{what} {count}" for what, count in sorted(self.done.items()) if "loginrec" in what)
        return (
            f"{first}\n\n{second}\n\n{third}\n\nThe generator of the requests was late by at most {millis(late)} in "
            f"99 % of them. Of login records the Kubernetes API was asked: {told}."
        )
