"""Writes the sample configuration and the tables of its documentation from the models.

``python -m ksproxyd.settings.document [ROOT]`` brings ``etc/ksproxyd.yaml`` and ``docs/configuration.md`` of the
checkout ROOT (default: the working directory) up to date. In the document only what is between the two marks is
replaced.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from ksproxyd.settings.model import Settings
from ksproxyd.settings.rendering import show_value
from ksproxyd.settings.section import (
    Section,
    inner_section,
    item_section,
    key_of,
    may_be_absent,
    takes_effect_on_reload,
)

SAMPLE = "etc/ksproxyd.yaml"
DOCUMENT = "docs/configuration.md"
BEGIN = "<!-- The tables from here on are written by: python -m ksproxyd.settings.document -->"
END = "<!-- End of the tables. -->"

_WIDTH = 110
_SAMPLE_HEAD = """\
# Configuration of ksproxyd. Every value here is the default, so only what is to be different needs to be in the file;
# docs/configuration.md explains the format, the environment variables and what a reload changes.
#
# Written from the models by: python -m ksproxyd.settings.document
"""


def sample() -> str:
    """The sample configuration: every key with its meaning and its default."""
    lines = [_SAMPLE_HEAD.rstrip()]
    for field in Settings.model_fields.values():
        lines += ["", *_sample_field(field, "")]
    return "\n".join(lines) + "\n"


def _sample_field(field: FieldInfo, indent: str) -> Iterator[str]:
    section, key = inner_section(field), key_of(field)
    if section is not None and not may_be_absent(field):
        yield from _comment(_summary(section), indent)
        yield f"{indent}{key}:"
        yield from _sample_section(section, indent + "  ")
        return
    yield from _comment(field.description or "", indent)
    items = item_section(field)
    default = field.get_default()
    if items is not None and default:
        yield f"{indent}{key}:"
        yield from _sample_item(items, indent + "  ")
    elif section is not None:
        yield f"{indent}# {key}:"
        for inner in section.model_fields.values():
            yield from _comment(inner.description or "", f"{indent}#   ")
            yield f"{indent}#   {key_of(inner)}: {_default(inner) or '...'}"
    else:
        yield f"{indent}{key}: {show_value(field, default)}"


def _sample_section(section: type[Section], indent: str) -> Iterator[str]:
    for number, field in enumerate(section.model_fields.values()):
        if number and inner_section(field) is not None:
            yield ""
        yield from _sample_field(field, indent)


def _sample_item(section: type[Section], indent: str) -> Iterator[str]:
    """An item of a list, with the keys that the default does not have as comments."""
    lead = f"{indent}- "
    later = []
    for field in section.model_fields.values():
        if key_of(field) == section.shorthand or may_be_absent(field):
            later.append(field)
            continue
        yield from _comment(field.description or "", indent + "  " if lead.isspace() else indent)
        yield f"{lead}{key_of(field)}: {show_value(field, field.get_default())}"
        lead = " " * len(lead)
    for field in later:
        for line in _sample_field(field, ""):
            text = line.removeprefix("# ")
            yield f"{lead}# {text}"


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - len(indent), break_on_hyphens=False):
        yield f"{indent}# {line}"


def tables() -> str:
    """The tables of the document: one for each section, keys in the order of the sample."""
    return "\n".join(_tables(Settings, ""))


def _tables(section: type[Section], path: str) -> Iterator[str]:
    inner: list[tuple[type[Section], str]] = []
    rows = []
    for field in section.model_fields.values():
        name = f"{path}.{key_of(field)}" if path else key_of(field)
        nested, items = inner_section(field), item_section(field)
        if nested is not None:
            inner.append((nested, name))
        if items is not None:
            inner.append((items, f"{name}[]"))
        if nested is None or may_be_absent(field):
            rows.append(_row(field))
    if path:
        yield f"### `{path}`"
        yield ""
        yield _summary(section)
        yield ""
    if rows:
        yield "| Key | Default | A change takes effect | Meaning |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""
    for nested, name in inner:
        yield from _tables(nested, name)


def _row(field: FieldInfo) -> str:
    default = _default(field)
    shown = f"`{default}`" if default else "required"
    effect = "on reload" if takes_effect_on_reload(field) else "on restart"
    cells = (f"`{key_of(field)}`", shown, effect, field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    """The default in the notation of the file; empty for a key that has none."""
    return "" if field.is_required() else show_value(field, field.get_default())


def _summary(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def document(text: str) -> str:
    """The document with its tables brought up to date. Raises ``ValueError`` if the marks are not in it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{tables()}{END}{after}"


def main(root: str = ".") -> None:
    """Write both files below ``root``."""
    sample_path, document_path = Path(root, SAMPLE), Path(root, DOCUMENT)
    text = document(document_path.read_text(encoding="utf-8"))
    sample_path.write_text(sample(), encoding="utf-8")
    document_path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
