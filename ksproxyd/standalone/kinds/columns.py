"""Columns of the Table form that every kind has, and what cells are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ksproxyd.standalone.kinds.registry import Column, Object
from ksproxyd.standalone.paths import look

NONE = "<none>"
UNKNOWN = "<unknown>"


def seconds_of(stamp: Any) -> float | None:
    """An RFC 3339 time as seconds since the epoch; None if it is not one."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def since(stamp: Any, now: float) -> str:
    """How long ago an RFC 3339 time was, for people."""
    then = seconds_of(stamp)
    return UNKNOWN if then is None else duration(now - then)


def duration(length: float) -> str:
    """Seconds for people, as ``kubectl`` shows an age: ``95s``, ``3m4s``, ``26h``, ``12d``, ``2y40d``."""
    seconds = int(length)
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _pair(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


def text(*path: str, absent: str = "") -> Any:
    """A cell function: the text at ``path``."""

    def cell(value: Object, now: float) -> Any:
        found = look(value, path)
        return absent if found is None or found == "" else found

    return cell


def number(*path: str, absent: Any = 0) -> Any:
    """A cell function: the number at ``path``."""

    def cell(value: Object, now: float) -> Any:
        found = look(value, path)
        return absent if found is None else found

    return cell


def count(*paths: str) -> Any:
    """A cell function: how many entries the top-level fields have together."""

    def cell(value: Object, now: float) -> Any:
        return sum(len(value.get(path) or ()) for path in paths)

    return cell


def joined(*path: str, key: str = "", absent: str = NONE) -> Any:
    """A cell function: the list at ``path`` (or ``key`` of each of its elements), with commas."""

    def cell(value: Object, now: float) -> str:
        found = look(value, path) or []
        return ",".join(str(each.get(key, "") if key else each) for each in found) or absent

    return cell


def pairs(found: Any, absent: str = NONE) -> str:
    """A map of labels as ``a=b,c=d``."""
    return ",".join(f"{key}={each}" for key, each in sorted((found or {}).items())) or absent


def labels(*path: str, absent: str = NONE) -> Any:
    """A cell function: the map of labels at ``path``."""

    def cell(value: Object, now: float) -> str:
        return pairs(look(value, path), absent)

    return cell


def selector_text(found: Any, absent: str = NONE) -> str:
    """A LabelSelector object as the text of a selector."""
    if not isinstance(found, dict) or not (found.get("matchLabels") or found.get("matchExpressions")):
        return absent
    parts = [f"{key}={each}" for key, each in sorted((found.get("matchLabels") or {}).items())]
    for expression in found.get("matchExpressions") or []:
        key, operator = expression.get("key", ""), expression.get("operator", "")
        values = f"({','.join(sorted(expression.get('values') or []))})"
        written = {
            "In": f"{key} in {values}",
            "NotIn": f"{key} notin {values}",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(written.get(operator, f"{key} {operator}"))
    return ",".join(parts)


def selector(*path: str, absent: str = NONE) -> Any:
    """A cell function: the LabelSelector at ``path``."""

    def cell(value: Object, now: float) -> str:
        return selector_text(look(value, path), absent)

    return cell


def age_of(*path: str) -> Any:
    """A cell function: how long ago the time at ``path`` was."""

    def cell(value: Object, now: float) -> str:
        return since(look(value, path), now)

    return cell


def created(value: Object, now: float) -> str:
    """When the object was created."""
    return str(look(value, ("metadata", "creationTimestamp")) or "")


NAME = Column(
    "Name",
    text("metadata", "name"),
    description="The name, unique among the objects of its kind in its namespace.",
    format="name",
)
AGE = Column("Age", age_of("metadata", "creationTimestamp"), description="The time since the object was created.")
CREATED = Column("Created At", created, description="When the object was created.", type="date")
