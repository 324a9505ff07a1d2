"""What a ReverseProxy or APIService says about health checks, circuit breaking, flow control and redirects.

The fields stand under ``spec``; where the cluster's definition of the kind prunes unknown fields, as JSON or YAML in
annotations. Objects may have been stored by anything, so a member that cannot be meant is ignored and reported, and the
rest stays in force: a typing error in a time-out must not make an extension unreachable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from math import isfinite
from typing import Any

import msgspec
import yaml

from ksproxyd.settings.units import parse_duration
from ksproxyd.tree.redirect import STATUSES, RedirectRule
from ksproxyd.upstream.breaker import BreakerLimits
from ksproxyd.upstream.flow import FlowLimits, Rate
from ksproxyd.upstream.guard import Condition, Protection
from ksproxyd.upstream.health import ActiveCheck, PassiveCheck

#: Fields below ``spec``, and the annotations that say the same.
ANNOTATIONS = {
    "healthCheck": "ksproxyd.io/health-check",
    "circuitBreaker": "ksproxyd.io/circuit-breaker",
    "flowControl": "ksproxyd.io/flow-control",
    "redirect": "ksproxyd.io/redirect",
}

#: The same for whether a client's ``Authorization`` reaches the backend.
FORWARD_AUTHORIZATION = ("forwardAuthorization", "ksproxyd.io/forward-authorization")

#: The longest annotation that is read, in characters.
MAX_ANNOTATION = 4096

#: Unknown members are reported until there are so many problems.
MAX_PROBLEMS = 20

# The safe loader, in C where PyYAML has it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TARGET = re.compile(r"/[!-~]*")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_DNS_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_STATUS_RANGE = re.compile(r"([0-9]{3})(?:-([0-9]{3}))?")


class Policy(msgspec.Struct, frozen=True):
    """What was found. ``problems`` are sentences for the object's author, each naming a field and what would do."""

    protection: Protection = Protection()
    redirect: RedirectRule | None = None
    problems: tuple[str, ...] = ()
    #: Whether a bearer token goes on to the backend (spec 02, D-04); a password never does.
    forward_authorization: bool = True

    def condition(self) -> Condition | None:
        """The condition ``PolicyAccepted``; None where nothing is configured."""
        if self.problems:
            return Condition("PolicyAccepted", "False", "Invalid", "; ".join(self.problems))
        if self.protection or self.redirect is not None or not self.forward_authorization:
            return Condition("PolicyAccepted", "True", "Accepted", "everything is in force")
        return None


def parse_policy(spec: Any, annotations: Any, *, interval: float = 10.0, timeout: float = 5.0) -> Policy:
    """Read the policy of an object from its ``spec`` and its ``metadata.annotations``, whatever they are.

    ``interval`` and ``timeout`` (seconds) are those of active checks that name none. A field wins over its annotation.
    """
    spec = spec if isinstance(spec, dict) else {}
    annotations = annotations if isinstance(annotations, dict) else {}
    problems: list[str] = []
    found = {field: _configured(spec, annotations, field, problems) for field in ANNOTATIONS}
    health, breaker, flow, redirect = found.values()
    protection = Protection(
        active=None if health is None else _active(health.part("active"), interval, timeout),
        passive=None if health is None else _passive(health.part("passive")),
        breaker=None if breaker is None else _breaker(breaker),
        flow=None if flow is None else _flow(flow),
    )
    if health is not None:
        health.complain_of_others()
    rule = None if redirect is None else _redirect(redirect)
    forward = _forward_authorization(spec, annotations, problems)
    return Policy(protection, rule, tuple(problems), forward)


def _forward_authorization(spec: dict[Any, Any], annotations: dict[Any, Any], problems: list[str]) -> bool:
    """What is said about ``Authorization``. A value that cannot be meant keeps tokens here, which is the safe side."""
    field, annotation = FORWARD_AUTHORIZATION
    name, value = (field, spec[field]) if field in spec else (annotation, annotations.get(annotation, True))
    if value in (True, "true"):
        return True
    if value not in (False, "false"):
        problems.append(f"{name} is {_shown(value)}: write true or false; until then no token is forwarded")
    return False


class _Section:
    """One object of the policy: reads its members, notes what is wrong with them, remembers which it knows."""

    def __init__(self, name: str, value: dict[Any, Any], problems: list[str]) -> None:
        self.name = name
        self.problems = problems
        self._value = value
        self._known: dict[str, None] = {}

    def complain(self, key: str, found: Any, wanted: str) -> None:
        self.problems.append(f"{self.name}.{key} is {_shown(found)}: write {wanted}")

    def get(self, key: str) -> Any:
        self._known[key] = None
        return self._value.get(key)

    def part(self, key: str) -> _Section | None:
        """The object below ``key``; None if there is none."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.complain(key, value, "an object")
            return None
        return _Section(f"{self.name}.{key}", value, self.problems)

    def duration(self, key: str, default: float, low: str, high: str) -> float:
        value = self.get(key)
        if value is None:
            return default
        try:
            seconds = parse_duration(value) if isinstance(value, str) else -1.0
        except ValueError:
            seconds = -1.0
        if parse_duration(low) <= seconds <= parse_duration(high):
            return seconds
        self.complain(key, value, f"a duration such as 10s or 1m30s, from {low} to {high}")
        return default

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.complain(key, value, f"a whole number from {low} to {high}")
        return default

    def number(self, key: str, high: float) -> float:
        value = self.get(key)
        if value is None:
            return 0.0
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and 0 <= value <= high:
            return float(value)
        self.complain(key, value, f"a number from 0 to {high:g}")
        return 0.0

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.complain(key, value, "true or false")
        return value is True

    def text(self, key: str, default: str, pattern: re.Pattern[str], longest: int, wanted: str) -> str:
        value = self.get(key)
        if value is None or value == "":
            return default
        if isinstance(value, str) and len(value) <= longest and pattern.fullmatch(value):
            return value
        self.complain(key, value, wanted)
        return default

    def choice(self, key: str, default: str, choices: Iterable[str]) -> str:
        value = self.get(key)
        if value is None:
            return default
        choices = tuple(choices)
        if isinstance(value, str) and value in choices:
            return value
        self.complain(key, value, " or ".join(choices))
        return default

    def complain_of_others(self) -> None:
        """Note the members that have not been asked for. Call it last."""
        for key in self._value:
            if key not in self._known and len(self.problems) < MAX_PROBLEMS:
                close = get_close_matches(str(key)[:64], self._known, 1)
                hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(self._known)}"
                self.problems.append(f"{self.name} has no member {_shown(key)}: {hint}")


def _configured(spec: dict[Any, Any], annotations: dict[Any, Any], field: str, problems: list[str]) -> _Section | None:
    name, value = f"spec.{field}", spec.get(field)
    annotation = ANNOTATIONS[field]
    text = annotations.get(annotation)
    if value is not None and text is not None:
        problems.append(f"annotation {annotation} is not looked at: {name} is there, too")
    elif text is not None:
        name, value = f"annotation {annotation}", _load(annotation, text, problems)
    if value is None:
        return None
    if not isinstance(value, dict):
        problems.append(f"{name} is {_shown(value)}: write an object")
        return None
    return _Section(name, value, problems)


def _load(annotation: str, text: Any, problems: list[str]) -> Any:
    if not isinstance(text, str) or len(text) > MAX_ANNOTATION:
        problems.append(f"annotation {annotation} is not looked at: write at most {MAX_ANNOTATION} characters of text")
        return None
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # Its own words span lines and quote the text.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        problems.append(f"annotation {annotation} is neither JSON nor YAML{where}: write an object")
        return None


def _active(section: _Section | None, interval: float, timeout: float) -> ActiveCheck | None:
    if section is None:
        return None
    check = ActiveCheck(
        path=section.text("path", "/", _TARGET, 2048, "a path that starts with / and has no spaces"),
        method=section.choice("method", "GET", ("GET", "HEAD")),
        hostname=section.text("hostname", "", _HOST, 261, "a host, with a port if need be"),
        interval=section.duration("interval", interval, "1s", "1h"),
        timeout=section.duration("timeout", timeout, "100ms", "1m"),
        healthy_threshold=section.whole("healthyThreshold", 1, 1, 100),
        unhealthy_threshold=section.whole("unhealthyThreshold", 3, 1, 100),
        expected=_statuses(section),
    )
    section.complain_of_others()
    return check


def _statuses(section: _Section) -> tuple[tuple[int, int], ...]:
    default = ActiveCheck().expected
    value = section.get("expectedStatuses")
    if value is None:
        return default
    wanted = "a list of at most 32 statuses or ranges such as 200-299"
    if not isinstance(value, list) or not 0 < len(value) <= 32:
        section.complain("expectedStatuses", value, wanted)
        return default
    ranges = []
    for item in value:
        low, high = _status_range(item)
        if not 100 <= low <= high <= 599:
            section.complain("expectedStatuses", item, wanted)
            return default
        ranges.append((low, high))
    return tuple(ranges)


def _status_range(item: Any) -> tuple[int, int]:
    if isinstance(item, int):
        return item, item
    match = _STATUS_RANGE.fullmatch(item) if isinstance(item, str) else None
    return (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))


def _passive(section: _Section | None) -> PassiveCheck | None:
    if section is None:
        return None
    ejection = section.duration("ejectionTime", 30.0, "1s", "1h")
    longest = section.duration("maxEjectionTime", max(300.0, ejection), "1s", "24h")
    if longest < ejection:
        section.complain("maxEjectionTime", section.get("maxEjectionTime"), "no less than ejectionTime")
        longest = ejection
    check = PassiveCheck(
        consecutive_errors=section.whole("consecutiveErrors", 5, 1, 10000),
        window=section.duration("window", 30.0, "1s", "1h"),
        ejection_time=ejection,
        max_ejection_time=longest,
    )
    section.complain_of_others()
    return check


def _breaker(section: _Section) -> BreakerLimits:
    limits = BreakerLimits(
        consecutive_failures=section.whole("consecutiveFailures", 5, 1, 10000),
        open_duration=section.duration("openDuration", 30.0, "1s", "1h"),
        half_open_requests=section.whole("halfOpenRequests", 1, 1, 100),
        max_parallel_requests=section.whole("maxParallelRequests", 0, 0, 2**31 - 1),
    )
    section.complain_of_others()
    return limits


def _flow(section: _Section) -> FlowLimits | None:
    total = _rate(section)
    rates = {}
    for key in ("perUser", "perClient"):
        part = section.part(key)
        rates[key] = None if part is None else _rate(part)
        if part is not None:
            part.complain_of_others()
    section.complain_of_others()
    limits = FlowLimits(total, rates["perUser"], rates["perClient"])
    return None if limits == FlowLimits() else limits


def _rate(section: _Section) -> Rate | None:
    """The limits of one section, None if it limits nothing."""
    per_second = section.number("requestsPerSecond", 1e9)
    burst = section.whole("burst", 0, 0, 2**31 - 1)
    concurrent = section.whole("maxConcurrent", 0, 0, 2**31 - 1)
    if burst and not per_second:
        section.complain("burst", burst, "it together with a requestsPerSecond above 0")
        burst = 0
    return Rate(per_second, burst, concurrent) if per_second or concurrent else None


def _redirect(section: _Section) -> RedirectRule | None:
    """The rule; None if anything is wrong with it, because half a rule would lead somewhere else."""
    before = len(section.problems)
    https_only = section.flag("httpsOnly")
    scheme = section.choice("scheme", "", ("http", "https"))
    hostname = section.text("hostname", "", _DNS_NAME, 253, "a DNS name")
    port = section.whole("port", 0, 1, 65535)
    status = section.whole("statusCode", 302, 300, 399)
    if status not in STATUSES:
        section.complain("statusCode", status, " or ".join(map(str, STATUSES)))
    full, prefix = _redirect_path(section.part("path"))
    section.complain_of_others()
    if https_only and scheme == "http":
        section.complain("scheme", scheme, "https, or leave it out: httpsOnly leads there")
    if len(section.problems) != before:
        return None
    rule = RedirectRule(scheme, hostname, port, full, prefix, status, https_only)
    if rule == RedirectRule(status=status):
        section.problems.append(f"{section.name} leads nowhere: write scheme, hostname, port, path or httpsOnly")
        return None
    return rule


def _redirect_path(section: _Section | None) -> tuple[str | None, str | None]:
    if section is None:
        return None, None
    kinds = {"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}
    kind = section.choice("type", "", kinds)
    values = {member: section.get(member) for member in kinds.values()}
    section.complain_of_others()
    if not kind:
        if section.get("type") is None:
            section.complain("type", None, " or ".join(kinds))
        return None, None
    for other, value in values.items():
        wanted = kinds[kind]
        if other != wanted and value is not None:
            section.complain(other, value, f"{wanted} with type {kind}")
        elif other == wanted and not _is_path(value, empty=kind == "ReplacePrefixMatch"):
            section.complain(other, value, "a path that starts with /, without a query")
    full, prefix = values["replaceFullPath"], values["replacePrefixMatch"]
    return (full, None) if kind == "ReplaceFullPath" else (None, prefix)


def _is_path(value: Any, empty: bool) -> bool:
    if not isinstance(value, str) or len(value) > 1024:
        return False
    if value == "":
        return empty
    return value.startswith("/") and value.isprintable() and not set(value) & set("?#\\")


def _shown(value: Any) -> str:
    """``value`` for a message: short, on one line."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= 80 else value[:77] + "..."
        return f'"{text}"' if text.isprintable() else ascii(text)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**18):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return {dict: "an object", list: "a list", int: "a very large number"}.get(type(value), "of an unknown type")
