"""What is remembered is bounded, whatever comes."""

from __future__ import annotations

from ksproxyd.model.memory import Memory


def test_what_is_kept_is_found() -> None:
    memory: Memory[int] = Memory()
    memory.keep(b"one", 1)
    memory.keep(b"two", 2)
    memory.keep(b"one", 3)
    assert (memory.get(b"one"), memory.get(b"two"), memory.get(b"three")) == (3, 2, None)


def test_it_begins_anew_when_it_is_full() -> None:
    memory: Memory[int] = Memory()
    for number in range(Memory.MOST + 1):
        memory.keep(b"%d" % number, number)
        assert memory.get(b"%d" % number) == number
        assert len(memory) <= Memory.MOST
    assert len(memory) == 1


def test_what_is_long_is_not_kept() -> None:
    memory: Memory[int] = Memory()
    memory.keep(b"x" * Memory.LONGEST, 1)
    memory.keep(b"x" * (Memory.LONGEST + 1), 2)
    assert list(memory.values()) == [1]
