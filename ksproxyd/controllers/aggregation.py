"""What a role consists of: its own rules and those of its templates, told apart so that templates can be taken back.

The rules of templates are written into the role, as everybody who reads roles expects. Which of its rules those are is
noted in the annotation :data:`~ksproxyd.controllers.labels.AGGREGATED`; all others are its own. Each time everything
that came from templates is thrown away and put in anew, so a role has what its templates grant now, not what they, or
templates it had, granted once (spec 03, D29).

Pure functions of objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import msgspec

from ksproxyd.authz.coverage import Coverage
from ksproxyd.authz.rules import rules_from
from ksproxyd.controllers.labels import AGGREGATED, POLICY, SCOPE, annotation, label, labels
from ksproxyd.controllers.policies import merged
from ksproxyd.kapis.tenant.placement import parse_selector
from ksproxyd.model.selectors import LabelSelector
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, name_of

#: Real roles have some dozens of rules. All of them are compared, so that a role must not have any number.
MOST_RULES = 1000

#: A long piece of work, cut into steps that take no time worth speaking of; in the end its result.
Steps = Generator[None, None, "Whole"]


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came from templates: ``rules`` by their digests, and the names that the selector found."""

    rules: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


class Whole(msgspec.Struct, frozen=True):
    """A role as it is to be. ``note`` and ``policy`` are annotations, empty for none; ``skipped`` says what of
    templates could not be used, and why.
    """

    rules: list[Any]
    names: list[str]
    note: str
    policy: str
    skipped: tuple[str, ...] = ()


def note_of(role: Object) -> Note | None:
    """What was noted; None for a role that nobody here has looked at, or whose note makes no sense."""
    text = annotation(role, AGGREGATED)
    if not text:
        return None
    try:
        return msgspec.json.decode(text.encode(), type=Note)
    except msgspec.MsgspecError:
        return None


def selector_of(role: Object) -> LabelSelector | None:
    """What selects templates, None if nothing does. Raises :class:`ValueError` for a selector that is none."""
    found = field(role, "aggregationRoleTemplates", "roleSelector")
    if found is None:
        return None
    try:
        return parse_selector(found)
    except ValueError as error:
        raise ValueError(f"aggregationRoleTemplates.roleSelector: {error}") from None


def names_of(role: Object) -> list[str]:
    """The templates that a role names."""
    found = field(role, "aggregationRoleTemplates", "templateNames")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def selected(selector: LabelSelector | None, scope: str, templates: Iterable[Object]) -> list[str]:
    """The names of the templates of ``scope`` that ``selector`` finds, in order."""
    if selector is None:
        return []
    return sorted(name_of(each) for each in templates if label(each, SCOPE) == scope and selector.matches(labels(each)))


def assembling(role: Object, scope: str, templates: dict[str, Object]) -> Steps:
    """What ``role`` is to be with these templates (by name), a rule at a step.

    Raises :class:`ValueError` for an unusable selector, and for a role with too many rules to be looked at here.

    Templates that it names and that are not there, or of another scope, are passed over.
    """
    if len(_rules(role)) > MOST_RULES:
        raise ValueError(f"rules: there are more than {MOST_RULES}")
    note = note_of(role)
    found = selected(selector_of(role), scope, templates.values())
    before = frozenset(() if note is None else note.templates)
    named = [each for each in dict.fromkeys(names_of(role)) if each not in before]
    names = [*named, *(each for each in found if each not in named)]
    used = [
        templates[each] for each in sorted(set(names)) if each in templates and label(templates[each], SCOPE) == scope
    ]

    # What is malformed grants nothing, and would keep the role from being stored.
    offered: list[Any] = []
    for each in used:
        for rule in _rules(field(each, "spec")):
            yield
            if rules_from([rule]):
                offered.append(rule)
    own = yield from _own(role, note, offered)
    cover = yield from _covering(own)
    added: list[Any] = []
    digests: list[str] = []
    for rule in offered:
        yield
        if not _covered(rule, cover):
            added.append(rule)
            digests.append(digest(rule))
            for understood in rules_from([rule]):
                cover.add(understood)
    policies = [(name_of(each), annotation(each, POLICY)) for each in used]
    policy, skipped = merged(annotation(role, POLICY), policies)
    noted = Note(tuple(digests), tuple(each for each in names if each not in named))
    text = "" if noted == Note() and field(role, "aggregationRoleTemplates") is None else _json(noted)
    return Whole([*own, *added], names, text, policy, tuple(skipped))


def _own(role: Object, note: Note | None, offered: Sequence[Any]) -> Generator[None, None, list[Any]]:
    rules = _rules(role)
    own: list[Any] = []
    if note is not None:
        from_templates = frozenset(note.rules)
        for each in rules:
            yield
            if digest(each) not in from_templates:
                own.append(each)
        return own
    generation = field(role, "metadata", "generation")
    if not isinstance(generation, int) or generation <= 1 or not offered:
        return rules
    # Somebody has worked on it before us: most likely the original's controllers, which leave no note. What templates
    # grant anyway is taken to have come from them.
    cover = yield from _covering(offered)
    for each in rules:
        yield
        if not _covered(each, cover):
            own.append(each)
    return own


def _covering(rules: Iterable[Any]) -> Generator[None, None, Coverage]:
    cover = Coverage()
    for each in rules:
        yield
        for rule in rules_from([each]):
            cover.add(rule)
    return cover


def _rules(value: Any) -> list[Any]:
    found = field(value, "rules")
    return list(found) if isinstance(found, list) else []


def _covered(rule: Any, by: Coverage) -> bool:
    wanted = rules_from([rule])
    # What is malformed is nobody's but its author's.
    return bool(wanted) and by.covers(wanted[0])


def digest(rule: Any) -> str:
    """What tells one rule from another."""
    return hashlib.sha256(msgspec.json.encode(rule, order="deterministic")).hexdigest()[:16]


def _json(note: Note) -> str:
    return msgspec.json.encode(note).decode()
