"""The attack table: what people may not do comes to nothing, whatever the route (spec 03, 8; spec 05, 11.3).

Each row is sent twice: by its attacker, and by somebody who may do the same.
"""

from __future__ import annotations

import attacks_dynamic
import attacks_granting
import attacks_reading
import attacks_shell
import attacks_spoofing
import attacks_writing
import pytest
from support_attacks import Attack, AttackWorld, holds_secret

REFUSALS = (400, 401, 403, 404, 405, 415, 422)

GROUPS = {
    "a viewer cannot get a shell": attacks_shell.ROWS,
    "reading": attacks_reading.ROWS,
    "writing": attacks_writing.ROWS,
    "granting": attacks_granting.ROWS,
    "spoofing": attacks_spoofing.ROWS,
    "the resource API": attacks_dynamic.ROWS,
}
ROWS = [(f"{group}: {row.name}", row) for group, rows in GROUPS.items() for row in rows]
OPEN = attacks_granting.OPEN


def params(rows: list[tuple[str, Attack]], known: bool) -> list[object]:
    """The rows for a test; of what is ``known`` to be open it is an error when it comes to nothing, too."""
    marked = {name: [pytest.mark.xfail(reason=why, strict=True)] for name, why in OPEN.items()} if known else {}
    return [pytest.param(row, id=name, marks=marked.get(row.name, ())) for name, row in rows]


@pytest.fixture(scope="module")
def world() -> AttackWorld:
    return AttackWorld()


@pytest.mark.parametrize("row", params(ROWS, True))
def test_it_comes_to_nothing(world: AttackWorld, row: Attack) -> None:
    world.restore()
    asked = len(world.gateway.embedded.requests)
    answer = world.send(row, row.who)
    try:
        assert not world.written, [f"{event.type} {event.key}" for event in world.written]
        assert not holds_secret(answer), answer.body
        if row.shows:
            assert answer.status in (200, *REFUSALS), (answer.status, answer.body)
        else:
            assert answer.status in REFUSALS, (answer.status, answer.body)
            assert not world.reached(asked, row)
    finally:
        world.restore()


@pytest.mark.parametrize("row", params([each for each in ROWS if each[1].by], False))
def test_somebody_may(world: AttackWorld, row: Attack) -> None:
    """Or else the row could not fail."""
    world.restore()
    asked = len(world.gateway.embedded.requests)
    answer = world.send(row, row.by)
    try:
        assert world.reached(asked, row) or answer.status < 300, (answer.status, answer.body)
    finally:
        world.restore()


def test_the_table_is_long_enough() -> None:
    assert len(dict(ROWS)) == len(ROWS) >= 80
