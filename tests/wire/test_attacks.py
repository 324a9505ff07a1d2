"""The attack table: what people may not do comes to nothing, whatever the route (spec 03, 8; spec 05, 11.3).

Each row is sent twice: by its attacker, and by somebody who may do the same.
"""

from __future__ import annotations

import attacks_reading
import attacks_shell
import attacks_writing
import pytest
from support_attacks import Attack, AttackWorld, holds_secret

REFUSALS = (400, 401, 403, 404, 405)

GROUPS = {
    "a viewer cannot get a shell": attacks_shell.ROWS,
    "reading": attacks_reading.ROWS,
    "writing": attacks_writing.ROWS,
}
ROWS = [pytest.param(row, id=f"{group}: {row.name}") for group, rows in GROUPS.items() for row in rows]


@pytest.fixture(scope="module")
def world() -> AttackWorld:
    return AttackWorld()


@pytest.mark.parametrize("row", ROWS)
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


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0].by])  # type: ignore[attr-defined]
def test_somebody_may(world: AttackWorld, row: Attack) -> None:
    """Or else the row could not fail."""
    world.restore()
    asked = len(world.gateway.embedded.requests)
    answer = world.send(row, row.by)
    if row.dynamic and answer.status == 404 and b"nothing is served at" in answer.body:
        pytest.skip("the resource API is not served yet")
    try:
        assert world.reached(asked, row) or answer.status < 300, (answer.status, answer.body)
    finally:
        world.restore()


def test_the_table_is_long_enough() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) >= 80
