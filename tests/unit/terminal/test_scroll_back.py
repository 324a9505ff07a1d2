"""The last output, for whoever comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.scroll_back import ScrollBack


@pytest.mark.parametrize(
    ("limit", "printed", "expected"),
    [
        (10, [b"abc"], b"abc"),
        (10, [b"0123456789"], b"0123456789"),
        (10, [b"one\r\ntwo\r\nthree\r\n"], b"three\r\n"),
        (10, [b"one\r\ntwo\r\n", b"three\r\n"], b"three\r\n"),
        (4, ["€€".encode()], "€".encode()),
        (3, [b"abcdef"], b"def"),
        (0, [b"abc"], b""),
        (10, [], b""),
    ],
)
def test_the_last_bytes(limit: int, printed: list[bytes], expected: bytes) -> None:
    kept = ScrollBack(limit)
    for each in printed:
        kept.add(each)
    assert kept.replay() == expected
    assert kept.replay() == expected


steps = st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(["keep", "seen"])), max_size=40)


@given(st.integers(0, 30), steps)
def test_nothing_that_nobody_has_seen_is_lost_and_the_rest_is_bounded(limit: int, steps: list[bytes | str]) -> None:
    kept, everything, unseen = ScrollBack(limit), b"", b""
    keeping = False
    for step in steps:
        if step == "keep":
            kept.keep()
            keeping = True
        elif step == "seen":
            kept.seen()
            keeping, unseen = False, b""
        else:
            assert isinstance(step, bytes)
            kept.add(step)
            everything += step
            unseen += step if keeping else b""
        assert kept.unseen == len(unseen)
        assert len(kept._data) <= 2 * limit + len(unseen) + 40
    replay = kept.replay()
    assert everything.endswith(replay)
    assert replay.endswith(unseen)
    assert len(replay) <= limit + len(unseen)
    if len(everything) <= limit:
        assert replay == everything
    kept.clear()
    assert not kept._data
