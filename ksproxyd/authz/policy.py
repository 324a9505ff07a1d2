"""Policies of roles (annotation ``iam.kubesphere.io/rego-override``): the part of Rego that needs no engine.

What a stock installation ships is written in it, and most of what people write themselves (spec 03, 2.10): a module of
package ``authz`` with ``allow`` rules whose bodies compare members of ``input`` with strings, each other, or the
elements of arrays, and look at beginnings and ends. Such a policy has no side effects, and its cost is bounded by its
size.

:func:`compile_policy` makes a :class:`Policy` once for each version of a role; :meth:`Policy.allows` asks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo

#: Largest policy that is read, in characters, and most values of one term that are compared.
LIMIT = 32 * 1024
_VALUES = 4096


class UnsupportedPolicy(ValueError):
    """The text is no Rego, or needs more of it than is understood here; the message says what and where."""


# -- terms: what is compared -----------------------------------------------------------------------------------


class Constant(msgspec.Struct, frozen=True, order=True, tag=True):
    """A string, number, boolean or null; ``text`` is its JSON."""

    text: str


class Input(msgspec.Struct, frozen=True, order=True, tag=True):
    """A member of the input document; ``each``: every element of the array there."""

    path: tuple[str, ...]
    each: bool = False


class Elements(msgspec.Struct, frozen=True, order=True, tag=True):
    """Every element of an array that is written out."""

    values: tuple[str, ...]


class WithoutPrefix(msgspec.Struct, frozen=True, order=True, tag=True):
    """``trim_prefix(text, prefix)``."""

    value: Term
    prefix: Term


Term = Constant | Input | Elements | WithoutPrefix


class Condition(msgspec.Struct, frozen=True):
    """An operator of two terms: ``==``, ``!=``, ``startswith``, ``endswith``, ``contains``. ``wanted``: its result."""

    operator: str
    left: Term
    right: Term
    wanted: bool = True

    def holds(self, document: Document) -> bool:
        """Whether some value of the left term and some value of the right one are so."""
        left, right = document.values(self.left), document.values(self.right)
        if len(left) * len(right) > _VALUES:
            return False
        test = _TESTS[self.operator]
        return any(test(a, b) is self.wanted for a in left for b in right)


def _of_strings(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool | None]:
    """What is no string makes a built-in function undefined: neither true nor false."""
    return lambda a, b: test(a, b) if isinstance(a, str) and isinstance(b, str) else None


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


_TESTS: dict[str, Callable[[Any, Any], bool | None]] = {
    "==": _equal,
    "!=": lambda a, b: not _equal(a, b),
    "startswith": _of_strings(lambda a, b: a.startswith(b)),
    "endswith": _of_strings(lambda a, b: a.endswith(b)),
    "contains": _of_strings(lambda a, b: b in a),
}


class Policy(msgspec.Struct, frozen=True):
    """What one module allows: any of ``rules``, each of which wants all of its conditions."""

    rules: tuple[tuple[Condition, ...], ...]

    def allows(self, user: Identity, info: RequestInfo) -> bool:
        """Whether one of the rules is true for this request."""
        document = Document(user, info)
        return any(all(condition.holds(document) for condition in rule) for rule in self.rules)


class Document:
    """The input document, made as far as somebody asks for it. Keys as policies know them."""

    __slots__ = ("_info", "_user")

    def __init__(self, user: Identity, info: RequestInfo) -> None:
        self._user = user
        self._info = info

    def values(self, term: Term) -> tuple[Any, ...]:
        """What ``term`` may be; nothing if it is undefined."""
        if isinstance(term, Input):
            return self._input(term)
        if isinstance(term, Constant):
            return (msgspec.json.decode(term.text),)
        if isinstance(term, Elements):
            return tuple(msgspec.json.decode(value) for value in term.values)
        return tuple(
            text.removeprefix(prefix)
            for text in self.values(term.value)
            for prefix in self.values(term.prefix)
            if isinstance(text, str) and isinstance(prefix, str)
        )

    def _input(self, term: Input) -> tuple[Any, ...]:
        read = _MEMBERS.get(term.path[0])
        if read is None:
            return ()
        value = read(self._user, self._info)
        for name in term.path[1:]:
            if not isinstance(value, dict) or name not in value:
                return ()
            value = value[name]
        if term.each:
            return tuple(value) if isinstance(value, list) else ()
        return (value,)


_MEMBERS: dict[str, Callable[[Identity, RequestInfo], Any]] = {
    "User": lambda user, info: {
        "Name": user.name,
        "UID": user.uid,
        "Groups": list(user.groups),
        "Extra": {key: list(values) for key, values in user.extra},
    },
    "Verb": lambda user, info: info.verb,
    "Cluster": lambda user, info: info.cluster,
    "Workspace": lambda user, info: info.workspace,
    "Namespace": lambda user, info: info.namespace,
    "APIGroup": lambda user, info: info.api_group,
    "APIVersion": lambda user, info: info.api_version,
    "Resource": lambda user, info: info.resource,
    "Subresource": lambda user, info: info.subresource,
    "Name": lambda user, info: info.name,
    "KubernetesRequest": lambda user, info: info.is_kubernetes,
    "ResourceRequest": lambda user, info: info.is_resource,
    "Path": lambda user, info: info.path,
    "ResourceScope": lambda user, info: info.scope,
}


def document(user: Identity, info: RequestInfo) -> dict[str, Any]:
    """The whole input document, for an engine of its own."""
    return {name: read(user, info) for name, read in _MEMBERS.items()}


# -- reading ---------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)
      |(?P<newline>\n)
      |(?P<string>"(?:[^"\\\n]|\\.)*")
      |(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)
      |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
      |(?P<sign>:=|==|!=|[={}\[\](),.;])""",
    re.VERBOSE,
)


class _Reader:
    """The tokens of a module, with one to look ahead at."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def next(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    @property
    def line(self) -> int:
        return self._tokens[min(self._at, len(self._tokens) - 1)][1] if self._tokens else 1

    def take(self) -> str:
        token = self.next
        self._at += 1
        return token

    def skip(self, *tokens: str) -> None:
        """Go past any of ``tokens``, as often as they come."""
        while self.next and self.next in tokens:
            self._at += 1

    def accept(self, token: str) -> bool:
        if self.next != token:
            return False
        self._at += 1
        return True

    def need(self, token: str) -> None:
        if not self.accept(token):
            raise self.unsupported(f"{token!r} was expected")

    def unsupported(self, what: str) -> UnsupportedPolicy:
        found = "the end" if not self.next else "the end of the line" if self.next == "\n" else repr(self.next)
        return UnsupportedPolicy(f"line {self.line}: {what}, there is {found}")


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise UnsupportedPolicy(f"line {line}: {text[at]!r} is not understood")
        if found.lastgroup != "space":
            yield found.group(), line
        line += found.group().count("\n")
        at = found.end()


def compile_policy(text: str) -> Policy:
    """The policy in a module. Raises :class:`UnsupportedPolicy`."""
    if len(text) > LIMIT:
        raise UnsupportedPolicy(f"the policy has {len(text)} characters; {LIMIT} are read")
    reader = _Reader(text)
    reader.skip("\n", ";")
    reader.need("package")
    if reader.take() != "authz":
        raise UnsupportedPolicy("the policy is not of package authz")
    rules: list[tuple[Condition, ...]] = []
    while True:
        reader.skip("\n", ";")
        if not reader.next:
            return Policy(tuple(narrowed for rule in rules for narrowed in _narrowed(rule)))
        if reader.accept("default"):
            _default(reader)
        else:
            rule = _rule(reader)
            if rule is not None:
                rules.append(rule)


def _default(reader: _Reader) -> None:
    reader.need("allow")
    if not (reader.accept("=") or reader.accept(":=")):
        raise reader.unsupported("'=' was expected")
    reader.need("false")


def _rule(reader: _Reader) -> tuple[Condition, ...] | None:
    """One rule; None for one that says ``false``."""
    reader.need("allow")
    value = True
    if reader.accept("=") or reader.accept(":="):
        value = reader.take() == "true"
        if not value:
            raise reader.unsupported("only true can be allowed")
    reader.accept("if")
    reader.need("{")
    conditions: list[Condition] = []
    known: _Known = {}
    while True:
        reader.skip("\n", ";")
        if reader.accept("}"):
            break
        condition = _statement(reader, known)
        if condition is not None:
            conditions.append(condition)
        if reader.next not in ("\n", ";", "}"):
            raise reader.unsupported("a statement has to end here")
    if not conditions:
        raise reader.unsupported("a rule without conditions is not understood")
    return tuple(conditions)


_FUNCTIONS = frozenset(["startswith", "endswith", "contains"])

#: A name of a rule's and what it stands for; a tuple is an array.
_Known = dict[str, "Term | tuple[str, ...]"]


def _statement(reader: _Reader, known: _Known) -> Condition | None:
    """A condition, or None for an assignment."""
    negated = reader.accept("not")
    name = reader.next
    if name in _FUNCTIONS:
        reader.take()
        reader.need("(")
        left = _value(reader, known)
        reader.need(",")
        right = _value(reader, known)
        reader.need(")")
        wanted = True
        if reader.accept("=="):
            wanted = _boolean(reader)
        return _checked(reader, Condition(name, left, right, wanted), negated)
    if not negated and re.fullmatch(r"[A-Za-z_]\w*", name) and name not in known and name not in _WORDS:
        reader.take()
        reader.need(":=")
        if reader.next == "[":
            known[name] = _array(reader)
        else:
            term = _value(reader, known)
            if isinstance(term, Elements) or (isinstance(term, Input) and term.each):
                raise reader.unsupported("a name for each of several values is not understood")
            known[name] = term
        return None
    left = _value(reader, known)
    if reader.next in ("==", "!="):
        operator = reader.take()
        return _checked(reader, Condition(operator, left, _value(reader, known)), negated)
    if not isinstance(left, Input) or left.each:
        raise reader.unsupported("a comparison was expected")
    return Condition("==", left, Constant("true")) if not negated else Condition("!=", left, Constant("true"))


def _checked(reader: _Reader, condition: Condition, negated: bool) -> Condition:
    """``not`` before what has several values means none of them, which is not understood here."""
    if not negated:
        return condition
    raise reader.unsupported("'not' before a comparison is not understood")


def _boolean(reader: _Reader) -> bool:
    word = reader.take()
    if word not in ("true", "false"):
        raise reader.unsupported("true or false was expected")
    return word == "true"


_WORDS = frozenset(["input", "true", "false", "null", "trim_prefix", "some", "every", "with", "not", "data"])


def _value(reader: _Reader, known: _Known) -> Term:
    token = reader.next
    if token == "input":
        reader.take()
        path = []
        while reader.accept("."):
            path.append(reader.take())
        if not path:
            raise reader.unsupported("a member of input was expected")
        return Input(tuple(path), each=_each(reader))
    if token == "trim_prefix":
        reader.take()
        reader.need("(")
        value = _value(reader, known)
        reader.need(",")
        prefix = _value(reader, known)
        reader.need(")")
        return WithoutPrefix(value, prefix)
    if token == "[":
        elements = Elements(_array(reader))
        if not _each(reader):
            raise reader.unsupported("'[_]' was expected behind an array")
        return elements
    if token in known:
        reader.take()
        found = known[token]
        if isinstance(found, tuple):
            if not _each(reader):
                raise reader.unsupported("'[_]' was expected behind the name of an array")
            return Elements(found)
        return found
    return Constant(_constant(reader))


def _each(reader: _Reader) -> bool:
    if not reader.accept("["):
        return False
    reader.need("_")
    reader.need("]")
    return True


def _array(reader: _Reader) -> tuple[str, ...]:
    reader.need("[")
    values: list[str] = []
    reader.skip("\n")
    while not reader.accept("]"):
        values.append(_constant(reader))
        reader.skip("\n")
        if not reader.accept(","):
            reader.need("]")
            break
        reader.skip("\n")
    return tuple(values)


def _constant(reader: _Reader) -> str:
    token = reader.next
    try:
        value = msgspec.json.decode(token.encode())
    except msgspec.DecodeError:
        raise reader.unsupported("a value was expected") from None
    reader.take()
    return msgspec.json.encode(value).decode()


# -- what means too much ---------------------------------------------------------------------------------------

_MYSELF = frozenset(
    [
        Condition("==", Input(("Resource",)), Constant('"users"')),
        Condition("==", Input(("User", "Name")), Input(("Name",))),
    ]
)
_AS_A_USER = (
    Condition("==", Input(("APIGroup",)), Constant('"iam.kubesphere.io"')),
    Condition("==", Input(("KubernetesRequest",)), Constant("false")),
)
#: The kubectl terminal is everybody's by the same rule (spec 05, 1.3).
_OWN_TERMINAL = (
    Condition("==", Input(("APIGroup",)), Constant('"terminal.kubesphere.io"')),
    Condition("==", Input(("Subresource",)), Constant('"kubectl"')),
    Condition("==", Input(("KubernetesRequest",)), Constant("false")),
)


def _narrowed(rule: tuple[Condition, ...]) -> tuple[tuple[Condition, ...], ...]:
    """The stock rule about oneself is about the users of this API and their terminals, not about whatever else is
    called ``users``, and not about the stored object as it is (spec 03, D10).
    """
    if frozenset(_in_order(condition) for condition in rule) == frozenset(map(_in_order, _MYSELF)):
        return (*rule, *_AS_A_USER), (*rule, *_OWN_TERMINAL)
    return (rule,)


def _in_order(condition: Condition) -> Condition:
    """Either side of an equation may stand first."""
    if condition.operator != "==":
        return condition
    left, right = sorted((condition.left, condition.right), key=lambda term: (type(term).__name__, repr(term)))
    return Condition("==", left, right, condition.wanted)
