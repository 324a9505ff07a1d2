"""What is fetched once for many, kept, and fetched again (spec 02, D-40)."""

from __future__ import annotations

from typing import Any

from provider_parts import error_of, result_of
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.authn.providers.kept import Kept
from ksproxyd.authn.providers.provider import ProviderError


class Source:
    """Counts how often it is asked, and answers when told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked = 0
        self.answers: list[Any] = []
        self.waiting: list[Deferred[Any]] = []
        self.kept: Kept[Any] = Kept(self.clock, "the thing", self.fetch, 100.0)

    async def fetch(self) -> Any:
        self.asked += 1
        if not self.answers:
            waiting: Deferred[Any] = Deferred()
            self.waiting.append(waiting)
            return await waiting
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def down() -> ProviderError:
    return ProviderError("unavailable", "connection refused")


def test_it_is_fetched_when_needed_and_kept() -> None:
    source = Source()
    source.answers = ["one", "two"]
    assert source.asked == 0
    assert [result_of(source.kept.get()) for _ in range(3)] == ["one"] * 3
    source.clock.advance(101)
    assert result_of(source.kept.get()) == "two"
    assert source.asked == 2


def test_many_wait_for_one_attempt_and_one_may_give_up() -> None:
    source = Source()
    found: list[Any] = []
    waiting = [Deferred.fromCoroutine(source.kept.get()) for _ in range(3)]
    for each in waiting:
        each.addBoth(found.append)
    assert source.asked == 1
    waiting[0].cancel()
    source.waiting[0].callback("one")
    assert found[1:] == ["one", "one"]
    assert found[0].type.__name__ == "CancelledError"


def test_after_a_failure_there_is_a_growing_wait() -> None:
    source = Source()
    source.answers = [down(), down(), down(), "one"]
    error_of(source.kept.get())
    assert "not tried again for another 1 s" in error_of(source.kept.get()).message
    assert source.asked == 1
    for wait in (1.0, 2.0):
        source.clock.advance(wait)
        error_of(source.kept.get())
        error_of(source.kept.get())
    assert source.asked == 3
    source.clock.advance(4.0)
    assert result_of(source.kept.get()) == "one"


def test_what_was_there_stays_while_it_cannot_be_fetched() -> None:
    source = Source()
    source.answers = ["one", down(), "two"]
    result_of(source.kept.get())
    source.clock.advance(101)
    assert result_of(source.kept.get()) == "one"
    assert result_of(source.kept.get()) == "one"
    assert source.asked == 2
    source.clock.advance(2)
    assert result_of(source.kept.get()) == "two"


def test_a_newer_one_is_not_asked_for_too_often() -> None:
    source = Source()
    source.answers = ["one", "two"]
    result_of(source.kept.get())
    assert result_of(source.kept.newer(10.0)) is None
    source.clock.advance(10)
    assert result_of(source.kept.newer(10.0)) == "two"
    assert result_of(source.kept.newer(10.0)) is None


def test_a_closed_one_ends_what_is_under_way() -> None:
    source = Source()
    found: list[Any] = []
    Deferred.fromCoroutine(source.kept.get()).addErrback(lambda failure: found.append(failure.value))
    source.kept.close()
    assert [error.kind for error in found] == ["unavailable"]
    assert error_of(source.kept.get()).kind == "unavailable"
    assert source.asked == 1


def test_a_mistake_of_ours_is_logged_and_a_failure(logged_errors: Any) -> None:
    source = Source()
    source.answers = [KeyError("x")]
    assert error_of(source.kept.get()).kind == "unavailable"
    assert len(logged_errors.take()) == 1
