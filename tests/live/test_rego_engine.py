"""Policies that take an engine, in a real child process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from ksproxyd.authz.engine import PENALTY, Engine, available

pytestmark = pytest.mark.skipif(not available(), reason="regopy is not installed: no policies that take an engine")

SET = """
package authz
default allow = false
allow = true {
  names := {name | name := input.User.Groups[_]; startswith(name, "dev")}
  count(names) > 1
}
"""
#: Nine million multiplications.
ENDLESS = """
package authz
default allow = false
allow = true {
  xs := numbers.range(1, 3000)
  count([1 | a := xs[_]; b := xs[_]; a * b == 7]) > 1000
}
"""


def of(*groups: str) -> dict[str, Any]:
    return {"User": {"Name": "joe", "Groups": list(groups)}}


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(reactor, 10.0)  # type: ignore[arg-type]
    yield made
    made.stop()


@pytest_twisted.ensureDeferred
async def test_policies_that_compare_more_than_values(engine: Engine) -> None:
    assert await engine.allows(SET, of("dev1", "dev2")) is True
    assert await engine.allows(SET, of("dev1", "ops")) is False
    assert await engine.allows(SET, of("dev1", "dev2")) is True


@pytest.mark.parametrize(
    "policy",
    [
        "package authz\nallow = {",
        'package authz\nallow = "yes" { true }',
        "package other\nallow = true { true }",
        'package authz\nallow = true { x := http.send({"method": "get", "url": "http://127.0.0.1/"}); x }',
        'package authz\nallow = true { x := rand.intn("x", 2); x >= 0 }',
        "package authz\nallow = true { x := opa.runtime(); x }",
        "not rego at all \x00",
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_true_grants_nothing(engine: Engine, policy: str) -> None:
    assert await engine.allows(policy, of()) is False
    # And takes nothing from others.
    assert await engine.allows(SET, of("dev1", "dev2")) is True


@pytest_twisted.ensureDeferred
async def test_a_policy_that_takes_too_long_is_killed_and_not_asked_again() -> None:
    engine = Engine(reactor, 3.0)  # type: ignore[arg-type]
    try:
        assert await engine.allows(SET, of("dev1", "dev2")) is True
        assert await engine.allows(ENDLESS, of()) is False
        assert engine.slow(ENDLESS)
        begun = reactor.seconds()  # type: ignore[attr-defined]
        assert await engine.allows(ENDLESS, of("x")) is False
        assert reactor.seconds() - begun < 1.0 < PENALTY  # type: ignore[attr-defined]
        assert await engine.allows(SET, of("dev1", "dev2", "dev3")) is True
    finally:
        engine.stop()
