"""Single objects that others refer to."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import (
    EXPIRED_EVENT,
    Conversation,
    answers,
    asks,
    asks_nothing,
    cut,
    event,
    opens,
    page,
    refusal,
    sends,
    waits,
    widget,
)

from ksproxyd.state.kinds import CONFIG_MAPS, SECRETS
from ksproxyd.state.references import References
from ksproxyd.state.store import Object


class Listener(list[tuple[int | None, int | None]]):
    """Notes the versions it is told of."""

    def __call__(self, old: Object | None, new: Object | None) -> None:
        self.append((self.version(old), self.version(new)))

    def version(self, obj: Object | None) -> int | None:
        return None if obj is None else int(obj["metadata"]["resourceVersion"])


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


@pytest.fixture
def references(talk: Conversation) -> References:
    return References(talk.client, lambda: 0.0, talk.timing)


def secret(version: int) -> Object:
    return widget("token", version, namespace="team")


def test_an_object_is_followed(talk: Conversation, references: References) -> None:
    seen = Listener()
    reference = references.want(SECRETS, "team", "token", seen)
    assert (reference.synced, reference.object, seen) == (False, None, [])
    talk.play(asks("list"), answers(page(secret(3), version=5)), asks("watch from 5"), opens())
    assert reference.synced
    assert reference.object is not None
    talk.play(sends(event("MODIFIED", secret(6)), event("DELETED", secret(7)), event("ADDED", secret(8))))
    assert seen == [(None, 3), (3, 6), (6, None), (None, 8)]


def test_absence_is_told_too(talk: Conversation, references: References) -> None:
    seen = Listener()
    references.want(SECRETS, "team", "token", seen)
    talk.play(asks("list"), answers(page(version=5)), asks("watch from 5"), opens())
    assert seen == [(None, None)]
    late = Listener()
    references.want(SECRETS, "team", "token", late)
    assert late == [(None, None)]
    talk.play(sends(event("ADDED", secret(6))))
    assert (seen, late) == ([(None, None), (None, 6)], [(None, None), (None, 6)])


def test_one_watch_serves_all_who_want_the_same(talk: Conversation, references: References) -> None:
    first, second = Listener(), Listener()
    one = references.want(SECRETS, "team", "token", first)
    talk.play(asks("list"), answers(page(secret(3), version=5)), asks("watch from 5"), opens())
    two = references.want(SECRETS, "team", "token", second)
    talk.play(asks_nothing())
    assert second == [(None, 3)]
    one()
    one()
    talk.play(cut(False), sends(event("MODIFIED", secret(6))))
    assert (first, second) == ([(None, 3)], [(None, 3), (3, 6)])
    two()
    talk.play(cut(), waits(1000), asks_nothing())
    assert (len(references), list(references.reflectors())) == (0, [])
    assert talk.clock.getDelayedCalls() == []


def test_different_objects_are_followed_apart(talk: Conversation, references: References) -> None:
    for kind, namespace, name in [
        (SECRETS, "a", "x"),
        (SECRETS, "b", "x"),
        (CONFIG_MAPS, "a", "x"),
        (SECRETS, "a", "y"),
    ]:
        references.want(kind, namespace, name, Listener())
    assert [(question.path, question.query["fieldSelector"]) for question in talk.asked] == [
        ("/api/v1/namespaces/a/secrets", "metadata.name=x"),
        ("/api/v1/namespaces/b/secrets", "metadata.name=x"),
        ("/api/v1/namespaces/a/configmaps", "metadata.name=x"),
        ("/api/v1/namespaces/a/secrets", "metadata.name=y"),
    ]
    assert len(references) == 4


def test_letting_go_before_the_object_is_known(talk: Conversation, references: References) -> None:
    seen = Listener()
    references.want(SECRETS, "team", "token", seen)()
    talk.play(asks("list"), cut(), waits(1000))
    assert seen == []
    assert talk.clock.getDelayedCalls() == []


def test_wanted_again_after_letting_go(talk: Conversation, references: References) -> None:
    references.want(SECRETS, "team", "token", Listener())()
    talk.play(asks("list"))
    seen = Listener()
    references.want(SECRETS, "team", "token", seen)
    talk.play(asks("list"), answers(page(secret(3), version=5)), asks("watch from 5"))
    assert seen == [(None, 3)]


def test_problems_are_visible(talk: Conversation, references: References) -> None:
    reference = references.want(SECRETS, "team", "token", Listener())
    talk.play(asks("list"), answers(refusal(403, "Forbidden", "secrets is forbidden")))
    assert (reference.synced, reference.problem) == (False, "403 Forbidden: secrets is forbidden")


def test_a_user_that_fails_disturbs_nobody(talk: Conversation, references: References, logged_errors: Any) -> None:
    def broken(old: Object | None, new: Object | None) -> None:
        raise RuntimeError("broken")

    seen = Listener()
    references.want(SECRETS, "team", "token", broken)
    references.want(SECRETS, "team", "token", seen)
    talk.play(asks("list"), answers(page(version=5)), asks("watch from 5"), opens(), sends(event("ADDED", secret(6))))
    assert seen == [(None, None), (None, 6)]
    assert len(logged_errors.take()) == 2


@pytest.mark.parametrize(("namespace", "name"), [("team", ""), ("", "token"), ("..", "token"), ("team", ".")])
def test_names_that_cannot_exist(references: References, namespace: str, name: str) -> None:
    with pytest.raises(ValueError):
        references.want(SECRETS, namespace, name, Listener())
    assert len(references) == 0


def test_nothing_happens_after_stop(talk: Conversation, references: References) -> None:
    seen = Listener()
    reference = references.want(SECRETS, "team", "token", seen)
    talk.play(asks("list"), answers(page(secret(3), version=5)), asks("watch from 5"), opens())
    references.stop()
    talk.play(cut(), sends(EXPIRED_EVENT), waits(1000), asks_nothing())
    reference()
    assert seen == [(None, 3)]
    with pytest.raises(RuntimeError):
        references.want(SECRETS, "team", "token", seen)
