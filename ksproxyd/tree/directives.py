"""What a ReverseProxy does to a request on its way, compiled from ``spec.directives``.

Compiled once per version of the object and applied to every request, in this order: method, prefix and suffix of the
path, ``headerUp``, then the ``rewrite`` rules, the ``replace`` rules and the ``pathRegexp`` rules, each seeing what
the one before made. A rule that cannot work is ignored and listed in :attr:`Directives.problems`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ksproxyd.model.patterns import TooMuchWork
from ksproxyd.model.percent import quote
from ksproxyd.tree.header_rules import HeaderRules, compile_header_rules
from ksproxyd.tree.placeholders import Surroundings
from ksproxyd.tree.raw_path import has_dot_segment, without_prefix, without_suffix
from ksproxyd.tree.rewrite import PathRegexp, Replace, Rewrite, Rule

Step = Callable[[bytes, bytes | None], tuple[bytes, bytes | None]]

_RULES: tuple[tuple[str, Callable[[str, Surroundings, Callable[[str], None]], Rule]], ...] = (
    ("rewrite", Rewrite),
    ("replace", Replace),
    ("pathRegexp", PathRegexp),
)

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# What must never stand in a request line, wherever it came from.
_UNSAFE_PATH = re.compile(rb"[\x00-\x20\x7f?#]")
_UNSAFE_QUERY = re.compile(rb"[\x00-\x20\x7f#]")
_ANY_PATH = frozenset(range(0x21, 0x100)) - frozenset(b"?#\x7f")
_ANY_QUERY = frozenset(range(0x21, 0x100)) - frozenset(b"#\x7f")


class Directives:
    """Compiled directives. Made by :func:`compile_directives`; does not change.

    ``changes_target`` is false if :meth:`apply_target` would return what it is given, ``steady`` is true if it makes
    the same of the same path and query every time (rules may ask for the time of day). ``auth_proxy``,
    ``wrap_transport`` and ``reject_forwarding_redirects`` are for the proxy to honour. ``strip_prefix`` is the path
    that is taken off, encoded as it would stand in a URL, for putting it back into links; empty if there is none.
    """

    __slots__ = (
        "_steps",
        "auth_proxy",
        "changes_target",
        "method",
        "problems",
        "reject_forwarding_redirects",
        "request_headers",
        "response_headers",
        "steady",
        "strip_prefix",
        "wrap_transport",
    )

    def __init__(self, source: _Source, surroundings: Surroundings) -> None:
        self.method = source.method()
        prefix = source.text("stripPathPrefix").encode()
        suffix = source.text("stripPathSuffix").encode()
        self._steps: list[Step] = []
        if prefix:
            self._steps.append(partial(_strip, without_prefix, prefix))
        if suffix:
            self._steps.append(partial(_strip, without_suffix, suffix))
        for key, make in _RULES:
            self._steps += (rule.apply for rule in source.rules(key, make, surroundings))
        self.steady = len(self._steps) == bool(prefix) + bool(suffix)
        self.strip_prefix = quote(prefix)
        self.changes_target = bool(self.method or self._steps)
        self.request_headers: HeaderRules = source.header_rules("headerUp")
        self.response_headers: HeaderRules = source.header_rules("headerDown")
        self.auth_proxy = source.flag("authProxy")
        self.wrap_transport = source.flag("wrapTransport")
        self.reject_forwarding_redirects = source.flag("rejectForwardingRedirects")
        #: What was ignored and why, one sentence each, for the object's author.
        self.problems: list[str] = source.problems

    def apply_target(self, method: str, path: bytes, query: bytes, has_query: bool) -> tuple[str, bytes, bytes | None]:
        """Method, path and query (None: no ``?``) to send for a request with this method, raw path and raw query.

        ``path`` is without a cluster prefix. Bytes that no rule means are kept. The result begins with a slash and
        has nothing that would end the request target. A step that would take too long on this path, make it too
        long, or make a ``.`` or ``..`` segment in it (``/proxy/ex`` cut off ``/proxy/ex../x``) is left out. Does not
        raise.
        """
        asked = query if has_query else None
        if not self.changes_target:
            return method, path, asked
        for step in self._steps:
            try:
                found, query_found = step(path, asked)
            except TooMuchWork:
                continue
            if found is path or not has_dot_segment(found):
                path, asked = found, query_found
        if not path.startswith(b"/"):
            path = b"/" + path
        if _UNSAFE_PATH.search(path):
            path = quote(path, _ANY_PATH)
        if asked and _UNSAFE_QUERY.search(asked):
            asked = quote(asked, _ANY_QUERY)
        return self.method or method, path, asked


def _strip(
    cut: Callable[[bytes, bytes], bytes], affix: bytes, path: bytes, query: bytes | None
) -> tuple[bytes, bytes | None]:
    return cut(path, affix) or b"/", query


def compile_directives(
    directives: Mapping[str, Any],
    env_allow: frozenset[str] = frozenset(),
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
) -> Directives:
    """Compile ``spec.directives`` of a ReverseProxy, whatever shape it has.

    ``env_allow`` are the placeholders that may tell about the gateway's surroundings (see
    :class:`~ksproxyd.tree.placeholders.Surroundings`), ``environ`` and ``now`` where they and the time come from.
    """
    return Directives(_Source(directives), Surroundings(env_allow, environ, now))


class _Source:
    """Reads the fields of ``spec.directives`` without trusting their shape."""

    def __init__(self, directives: Any) -> None:
        self.problems: list[str] = []
        self._fields: Mapping[str, Any] = {}
        if isinstance(directives, Mapping):
            self._fields = directives
        elif directives is not None:
            self.problems.append("spec.directives is not an object and is ignored")

    def text(self, key: str) -> str:
        value = self._fields.get(key)
        if value is None or _is_text(value):
            return value or ""
        self._ignore(key, "not a string")
        return ""

    def flag(self, key: str) -> bool:
        value = self._fields.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._ignore(key, "neither true nor false")
        return False

    def texts(self, key: str) -> list[tuple[int, str]]:
        """The entries of a list of strings with their numbers."""
        value = self._fields.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._ignore(key, "not a list")
            return []
        found = []
        for number, entry in enumerate(value):
            if _is_text(entry):
                found.append((number, entry))
            else:
                self._ignore(f"{key}[{number}]", "not a string")
        return found

    def method(self) -> str:
        method = self.text("method")
        if method and (method == "CONNECT" or not _METHOD.fullmatch(method)):
            self._ignore("method", f"{method!r} is not a method that can be sent to a backend")
            return ""
        return method

    def rules(
        self, key: str, make: Callable[[str, Surroundings, Callable[[str], None]], Rule], surroundings: Surroundings
    ) -> list[Rule]:
        rules = []
        for number, text in self.texts(key):
            where = f"{key}[{number}]"
            try:
                rules.append(make(text, surroundings, partial(self._note, where)))
            except ValueError as error:
                self._ignore(where, str(error))
        return rules

    def header_rules(self, key: str) -> HeaderRules:
        rules, problems = compile_header_rules(self.texts(key))
        for number, what in problems:
            self._ignore(f"{key}[{number}]", what)
        return rules

    def _ignore(self, where: str, why: str) -> None:
        self.problems.append(f"spec.directives.{where} is ignored: {why}")

    def _note(self, where: str, what: str) -> None:
        self.problems.append(f"spec.directives.{where}: {what}")


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
