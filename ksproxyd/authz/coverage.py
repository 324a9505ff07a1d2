"""Whether some rules are worth no more than others: what somebody may hand on (spec 03, 8.2 rule 4).

A rule is a set of atoms: a group, a resource, a verb and a name (or any name), or a URL and a verb. Rules cover others
if each atom of those is covered by one rule of these. Lists in a rule multiply, so the atoms are never written out:
values that the same rules cover are taken together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ksproxyd.authz.rules import Rule

#: How many values are compared at most, some ten milliseconds of work. Real roles need hundreds.
MOST_STEPS = 20_000

#: The same for a single rule where nobody is refused anything if it is too much (:meth:`Coverage.covers`).
MOST_STEPS_OF_ONE = 2_000

#: Rules of so many values are looked for in one of the held rules first, where most are found.
_SHORT = 64


class TooMany(ValueError):
    """The rules are so many, or so finely divided, that comparing them would take too long."""


def missing(wanted: Iterable[Rule], held: Iterable[Rule]) -> list[str]:
    """What of ``wanted`` no rule of ``held`` covers, as readable text; empty if all is covered.

    Raises :class:`TooMany` above :data:`MOST_STEPS`.
    """
    return [shown(rule) for rule in uncovered(wanted, held)]


def uncovered(wanted: Iterable[Rule], held: Iterable[Rule]) -> list[Rule]:
    """Rules with exactly the atoms of ``wanted`` that no rule of ``held`` covers. Raises as :func:`missing`."""
    cover = Coverage(held)
    gaps: dict[Rule, None] = {}
    for rule in wanted:
        for gap in cover.gaps(rule):
            gaps[gap] = None
    return list(gaps)


def shown(rule: Rule) -> str:
    """A rule as a person reads it, in the words of Kubernetes' own messages."""
    lists = (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("ResourceNames", rule.names),
        ("NonResourceURLs", rule.urls),
        ("Verbs", rule.verbs),
    )
    return "{" + ", ".join(f"{title}:{_listed(values)}" for title, values in lists if values) + "}"


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each of ``values`` once."""
    return values if len(values) < 2 else tuple(dict.fromkeys(values))


def _listed(values: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


class _Axis:
    """One of the lists of the held rules: which of them (a bit for each) cover a value."""

    def __init__(self) -> None:
        self.by_value: dict[str, int] = {}

    def add(self, values: Iterable[str], bit: int) -> None:
        by_value = self.by_value
        for value in values:
            by_value[value] = by_value.get(value, 0) | bit

    def plain(self, value: str) -> int:
        """The rules that cover a group or a verb."""
        get = self.by_value.get
        return get(value, 0) | get("*", 0)

    def resource(self, value: str) -> int:
        """The rules that cover a resource: ``*/sub`` covers the subresource of everything, ``*`` covers all."""
        _, slash, sub = value.partition("/")
        return self.plain(value) | (self.by_value.get(f"*/{sub}", 0) if slash else 0)


class Coverage:
    """The held rules, by what they cover; for whoever compares many rules with the same ones."""

    def __init__(self, held: Iterable[Rule] = ()) -> None:
        self._groups, self._resources, self._names = _Axis(), _Axis(), _Axis()
        self._verbs, self._urls = _Axis(), _Axis()
        self._any_name = 0
        self._steps = 0
        self._most = MOST_STEPS
        self._held: set[Rule] = set()
        #: A bit for each of them.
        self._all = 0
        #: Whether a single one of them covers every resource, or every URL.
        self._every_resource = self._every_url = False
        #: An asterisk at the end of a URL stands for everything that begins so: the beginnings, by their length.
        self._begins: dict[int, dict[str, int]] = {}
        for rule in held:
            self.add(rule)

    def add(self, rule: Rule) -> None:
        """One more rule is held."""
        if rule in self._held:
            return
        bit = 1 << len(self._held)
        self._held.add(rule)
        self._all |= bit
        self._groups.add(rule.groups, bit)
        self._resources.add(rule.resources, bit)
        self._names.add(rule.names, bit)
        self._verbs.add(rule.verbs, bit)
        self._urls.add(rule.urls, bit)
        if not rule.names:
            self._any_name |= bit
        for url in rule.urls:
            if url.endswith("*"):
                begin = url.rstrip("*")
                begins = self._begins.setdefault(len(begin), {})
                begins[begin] = begins.get(begin, 0) | bit
        if "*" in rule.verbs:
            if not rule.names and "*" in rule.resources and "*" in rule.groups:
                self._every_resource = True
            if "*" in rule.urls:
                self._every_url = True

    def covers(self, rule: Rule) -> bool:
        """Whether all of ``rule`` is covered; not of one that takes more than :data:`MOST_STEPS_OF_ONE`."""
        self._steps, self._most = 0, MOST_STEPS_OF_ONE
        try:
            return not self.gaps(rule)
        except TooMany:
            return False
        finally:
            self._most = MOST_STEPS

    def gaps(self, rule: Rule) -> list[Rule]:
        """What of ``rule`` is not covered, in rules that do not overlap.

        Raises :class:`TooMany` above :data:`MOST_STEPS` in all calls together.
        """
        if rule in self._held:
            return []
        found: list[Rule] = []
        if rule.groups and rule.resources and rule.verbs and not self._every_resource and not self._in_one(rule):
            axes = (
                (_once(rule.groups), self._groups.plain),
                (_once(rule.resources), self._resources.resource),
                # Rules without names cover any name, and only they cover all of them.
                (_once(rule.names), self._name),
                (_once(rule.verbs), self._verbs.plain),
            )
            found += (
                Rule(verbs=verbs, groups=groups, resources=resources, names=names, urls=())
                for groups, resources, names, verbs in self._split(axes, self._all)
            )
        if rule.urls and rule.verbs and not self._every_url:
            pair = (
                (_once(rule.urls), self._url),
                (_once(rule.verbs), self._verbs.plain),
            )
            found += (
                Rule(verbs=verbs, groups=(), resources=(), names=(), urls=urls)
                for urls, verbs in self._split(pair, self._all)
            )
        return found

    def _in_one(self, rule: Rule) -> bool:
        """Whether one held rule covers all that ``rule`` says of resources; False also where that takes a while."""
        if len(rule.groups) + len(rule.resources) + len(rule.names) + len(rule.verbs) > _SHORT:
            return False
        able = self._all if rule.names else self._any_name
        # What tells rules apart comes first.
        for value in rule.resources:
            able &= self._resources.resource(value)
            if not able:
                return False
        for axis, values in ((self._groups, rule.groups), (self._verbs, rule.verbs)):
            get = axis.by_value.get
            every = get("*", 0)
            for value in values:
                able &= get(value, 0) | every
            if not able:
                return False
        for value in rule.names:
            able &= self._name(value)
        return bool(able)

    def _name(self, value: str) -> int:
        return self._any_name | self._names.by_value.get(value, 0)

    def _url(self, value: str) -> int:
        found = self._urls.by_value.get(value, 0)
        # A pattern covers narrower ones, too.
        begin = value.rstrip("*")
        self._count(len(self._begins))
        for length, begins in self._begins.items():
            if length <= len(begin):
                found |= begins.get(begin[:length], 0)
        return found

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > self._most:
            raise TooMany(f"the rules have more than {self._most} parts to compare; write them shorter, or fewer")

    def _split(
        self, axes: Sequence[tuple[tuple[str, ...], Callable[[str], int]]], able: int
    ) -> list[tuple[tuple[str, ...], ...]]:
        """The boxes along ``axes`` that none of the rules in ``able`` covers."""
        if not able:
            return [tuple([each for each, _ in axes])]
        (values, covering), rest = axes[0], axes[1:]
        if not values:
            # No names: any name.
            alike = {able & self._any_name: values}
        elif len(values) == 1:
            self._count(1)
            alike = {able & covering(values[0]): values}
        else:
            self._count(len(values))
            gathered: dict[int, list[str]] = {}
            for value in values:
                gathered.setdefault(able & covering(value), []).append(value)
            alike = {bits: tuple(each) for bits, each in gathered.items()}
        if not rest:
            return [(alike[0],)] if 0 in alike else []
        return [(part, *tail) for bits, part in alike.items() for tail in self._split(rest, bits)]
