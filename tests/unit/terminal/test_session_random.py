"""Sessions in which anything happens at any time: what must hold of all of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.terminal.endings import Where
from tests.unit.terminal.playbook import POD, Play

AUTOMATIC = Where("pod", "demo", "web-0", "app")
JSON = "ksproxyd.json"

browsers = st.one_of(
    st.tuples(st.just("C: stdin "), st.text("abc", min_size=1, max_size=3)),
    st.just(("C: stdin ", "x" * 40_000)),
    st.tuples(st.just("C: size "), st.sampled_from(["80x24", "81x24", "82x25"])),
    st.tuples(st.just("C: "), st.sampled_from(["{}", "left 1000", "left 1001", "left 1006", "pending 300000", "bad"])),
    st.tuples(st.just("C: drained "), st.sampled_from(["0", "65536", "300000"])),
)
clusters = st.tuples(
    st.just("K: "),
    st.sampled_from(["started", "prints x", "prints y", "full", "free", "missing", "exited 0", "exited 127", "lost"]),
)
others = st.one_of(
    st.tuples(st.just("O: "), st.sampled_from(["ready", "ready", "preparing wait", f"attach {JSON}", "attach "])),
    st.tuples(st.just("O: end "), st.sampled_from(["4410 gone | gone", "4401 out | out", "1001 down | down"])),
    st.tuples(st.just("T: "), st.sampled_from(["0.01", "0.03", "1", "4", "31", "130"])),
)
happenings = st.lists(st.one_of(browsers, browsers, clusters, clusters, others), max_size=60)

READY, STARTED = ("O: ", "ready"), ("K: ", "started")
BEGINNINGS = [[], [READY], [READY, STARTED], [READY, STARTED, ("K: ", "prints x")]]


class Chaos:
    """Plays what is possible at the moment, and watches."""

    def __init__(self, where: Where, protocol: str) -> None:
        self.on = Play(where, recheck=1000)
        self.on.attach(protocol)
        self.typed = b""
        self.newest: tuple[int, int] | None = None
        self.printed = b""
        self.started: set[int] = set()

    def happen(self, what: str, how: str) -> None:
        on, line = self.on, what + how
        going_on = on.session.going_on
        if what.startswith("C"):
            if on.attachment.over:
                return
            if what == "C: stdin " and going_on:
                self.typed += how.encode()
            if what == "C: size ":
                columns, rows = map(int, how.split("x"))
                self.newest = (columns, rows)
        elif what.startswith("K"):
            live = [each for each in on.execs if not each.over]
            if not live:
                return
            # The newest exec is the only one that says anything.
            number = on.execs.index(live[-1])
            assert len(live) <= 2
            if how == "started":
                if number in self.started:
                    return
                self.started.add(number)
            elif number not in self.started and how not in ("lost",):
                return
            if how.startswith("prints") and going_on and live[-1].terminal:
                self.printed += how.removeprefix("prints ").encode()
            line = f"K{number}: {how}"
        elif how.startswith("attach") and not going_on:
            return
        on.do(line)
        self.check()

    def check(self) -> None:
        """What holds at any time."""
        on = self.on
        session = on.session
        shells = [each for each in on.execs if each.terminal]
        assert len([each for each in shells if not each.over]) <= 1
        for each in on.execs:
            assert each.closed <= 1
            if each.over:
                continue
            written = each.written
            if session.going_on and shells.index(each) + 1 in [number + 1 for number in self.started]:
                assert written == self.typed
        assert len(on.witness.summaries) == (session.state == "over")
        assert (session.id in on.registry.sessions) is (session.state != "over")
        assert on.witness.printed == self.printed
        live = [page for page in on.pages if page.closed is None]
        if not session.going_on:
            # Those that are not closed have left.
            assert on.attachment.over
            assert not session.attended
        assert session.attended or on.attachment.over
        assert len(live) <= 1 or not session.attended or on.pages[-1] in live

    def finish(self) -> None:
        """Let everything come to its end."""
        on = self.on
        if on.session.going_on:
            on.do("C: drained 0")
            on.do("T: 1")
            current = [each for each in on.execs if not each.over]
            number = on.execs.index(current[-1]) if current else None
            if number in self.started:
                on.do(f"K{number}: free")
                on.do("T: 1")
                assert current[-1].written == self.typed
                assert not current[-1].sizes or current[-1].sizes[-1] == self.newest
                assert bool(current[-1].sizes) is (self.newest is not None)
                assert current[-1].paused is (not on.session.attended and self.behind())
            on.session.end(1001, "down", "down")
        for _ in range(5):
            on.do("T: 2")
        self.check()
        assert on.session.state == "over"
        assert len(on.witness.summaries) == 1
        assert all(each.over for each in on.execs), "an exec was left"
        assert on.clock.getDelayedCalls() == [], "a timer was left"
        assert on.registry.sessions == {}
        assert on.registry._seats.total == 0
        assert on.witness.summaries[0].typed == len(self.typed)
        assert on.witness.summaries[0].printed == len(self.printed)

    def behind(self) -> bool:
        scroll_back = self.on.session._scroll_back
        return scroll_back is not None and scroll_back.unseen > 256 * 1024


@given(st.sampled_from([POD, AUTOMATIC]), st.sampled_from(["", JSON]), st.sampled_from(BEGINNINGS), happenings)
@settings(max_examples=400)
def test_anything_at_any_time(
    where: Where, protocol: str, beginning: list[tuple[str, str]], happenings: list[tuple[str, str]]
) -> None:
    chaos = Chaos(where, protocol)
    for what, how in [*beginning, *happenings]:
        chaos.happen(what, how)
    chaos.finish()


@given(happenings)
def test_who_comes_back_has_seen_everything(happenings: list[tuple[str, str]]) -> None:
    chaos = Chaos(POD, JSON)
    on = chaos.on
    for step in (("O: ", "ready"), ("K: ", "started"), *happenings):
        if step[1] in ("attach ", "left 1000", "bad"):
            continue
        chaos.happen(*step)
    if on.session.going_on:
        chaos.happen("O: ", f"attach {JSON}")
        # It is all within what is kept.
        assert on.pages[-1].output.removeprefix("\x1bc").encode() == chaos.printed
    chaos.finish()
