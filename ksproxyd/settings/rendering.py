"""Settings as YAML again, secrets hidden."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from ksproxyd.settings.kinds import HIDDEN, read_duration, read_go_duration, read_size
from ksproxyd.settings.section import Section, is_secret, key_of, readers
from ksproxyd.settings.units import format_duration, format_size

#: Name and password in front of a URL's host.
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")


def render(settings: Section) -> str:
    """The settings as the text of a configuration file.

    Loading it gives the same settings, except for what is shown as ``<hidden>``: secrets, and credentials in URLs. A
    secret that was read from a file is shown as the name of that file.
    """
    # PyYAML writes some line breaks of Unicode raw unless it may only write ASCII, and they would not come back.
    return yaml.safe_dump(plain_section(settings), sort_keys=False, width=4096)


def plain_section(section: Section) -> dict[str, Any]:
    """A section as YAML's own types, with the keys and notations of the file."""
    result: dict[str, Any] = {}
    short = section.shorthand
    left_out = section.replaced_by_shorthand if short and getattr(section, short) else {short}
    for name, field in type(section).model_fields.items():
        file: str = getattr(section, f"{name}_file", "")
        if name in left_out or (is_secret(field) and file):
            continue
        result[key_of(field)] = plain_value(field, getattr(section, name))
    return result


def plain_value(field: FieldInfo, value: Any) -> Any:
    """One value in the notation of the file."""
    match value:
        case Section():
            return plain_section(value)
        case SecretStr():
            return HIDDEN if value.get_secret_value() else ""
        case tuple():
            return [plain_value(field, item) for item in value]
        case IPv4Network() | IPv6Network():
            return str(value)
        case str():
            return _USERINFO.sub(rf"\1{HIDDEN}@", value)
    kinds = readers(field)
    if kinds & {read_duration, read_go_duration}:
        return format_duration(value)
    if read_size in kinds:
        text = format_size(value)
        return value if text.isdigit() else text
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


def show_value(field: FieldInfo, value: Any) -> str:
    """One value on one line, as the file would have it."""
    plain = plain_value(field, value)
    text = yaml.safe_dump(plain, default_flow_style=True, width=2**30, sort_keys=False)
    text = text.removesuffix("\n").removesuffix("\n...")
    return '""' if text == "''" else text
