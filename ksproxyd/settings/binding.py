"""The nodes of a file meet the keys of the model.

Binding finds the field of every key, reports those that have none, puts overriding values in their places and reads
secrets from their files. The values themselves are checked afterwards, by pydantic.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from collections.abc import Mapping as Table
from typing import Any

from pydantic.fields import FieldInfo

from ksproxyd.settings.kinds import is_nanoseconds, read_go_duration
from ksproxyd.settings.kubesphere import FOREIGN_SECTIONS
from ksproxyd.settings.model import Settings
from ksproxyd.settings.nodes import Entry, Mapping, Node, Position, Scalar, Sequence, describe, quote
from ksproxyd.settings.problems import Problem
from ksproxyd.settings.secret_file import SecretFileError, read_secret_file
from ksproxyd.settings.section import (
    OWN,
    Path,
    Section,
    inner_section,
    is_secret,
    item_section,
    key_of,
    may_be_absent,
    readers,
    show_path,
)

#: Problems after which unknown keys are no longer compared with those that exist.
_SUGGESTIONS = 100

_FOREIGN = frozenset(name.lower() for name in FOREIGN_SECTIONS)


class Binding:
    """A file bound to :class:`~ksproxyd.settings.model.Settings`.

    ``values`` are what the model is built from; ``problems`` and ``warnings`` is what was wrong with the keys.
    """

    def __init__(self, root: Mapping, overrides: Table[Path, Node]) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        #: Paths whose values were refused here and are missing from ``values``.
        self.failed: set[Path] = set()
        self._nodes: dict[Path, Node] = {(): root}
        self._overrides = overrides
        self.values = self._section(Settings, root, ())

    def node(self, path: Path) -> Node | None:
        """What the value of this path was made from; None where the file has nothing there."""
        return self._nodes.get(path)

    def position(self, path: Path) -> Position:
        """Where a path is, or the closest section around it that the file has."""
        while path not in self._nodes:
            path = path[:-1]
        return self._nodes[path].position

    def problem(self, path: Path, wanted: str, found: str | None = None) -> Problem:
        """A problem with the value of a path."""
        position = self.position(path)
        if found is None:
            found = describe(self.node(path))
        return Problem(position.file, position.line, show_path(path), found, wanted)

    def _section(self, section: type[Section], mapping: Mapping, path: Path) -> dict[str, Any]:
        nodes = {key: entry.value for key, entry in self._entries(section, mapping, path).items()}
        values: dict[str, Any] = {}
        for field in section.model_fields.values():
            key = key_of(field)
            here = (*path, key)
            node = self._overrides.get(here, nodes.get(key))
            if node is not None and not (isinstance(node, Scalar) and node.is_null):
                if is_secret(field) and isinstance(node, Scalar):
                    node = node.hide()
                self._nodes[here] = node
            self._bind(field, here, values)
        self._read_secrets(section, path, values)
        return values

    def _bind(self, field: FieldInfo, path: Path, values: dict[str, Any]) -> None:
        """Put what the path holds into the values of its section, if it holds anything."""
        node, inner, key = self._nodes.get(path), inner_section(field), key_of(field)
        if inner is not None:
            if isinstance(node, Mapping):
                values[key] = self._section(inner, node, path)
            elif node is not None:
                self._refuse(path, "a mapping")
            elif not may_be_absent(field):
                # Nothing in the file, but perhaps in the environment.
                values[key] = self._section(inner, Mapping((), self.position(path)), path)
            return
        if node is None:
            return
        items = item_section(field)
        if isinstance(node, Sequence):
            self._nodes.update({(*path, index): item for index, item in enumerate(node.items)})
            if items is not None:
                values[key] = [self._item(items, item, (*path, at)) for at, item in enumerate(node.items)]
                return
        if read_go_duration in readers(field) and is_nanoseconds(node):
            wanted = "a duration with a unit such as 10m: without one it is nanoseconds"
            self.warnings.append(self.problem(path, wanted))
        values[key] = node

    def _item(self, section: type[Section], node: Node, path: Path) -> dict[str, Any]:
        if isinstance(node, Mapping):
            return self._section(section, node, path)
        if isinstance(node, Scalar) and section.shorthand and not node.is_null:
            self._nodes[(*path, section.shorthand)] = node
            return {section.shorthand: node}
        self._refuse(path, "a mapping or text" if section.shorthand else "a mapping")
        return {}

    def _refuse(self, path: Path, wanted: str, found: str | None = None) -> None:
        self.failed.add(path)
        self.problems.append(self.problem(path, wanted, found))

    def _entries(self, section: type[Section], mapping: Mapping, path: Path) -> dict[str, Entry]:
        """The entries of a mapping by the key of their field; what has no field is reported.

        ks-apiserver does not look at the case of keys, so its sections are read like that.
        """
        exact = path[:1] == (OWN,)
        known = {key if exact else key.lower(): key for key in map(key_of, section.model_fields.values())}
        entries: dict[str, Entry] = {}
        for entry in mapping.entries:
            key = known.get(entry.key if exact else entry.key.lower())
            if key is None:
                self._unknown(entry, list(known.values()), path)
            elif key in entries:
                other = f"it once (line {entries[key].position.line} has {quote(entries[key].key)})"
                self.problems.append(_at_key(entry, (*path, key), "the key again", other))
            else:
                entries[key] = entry
        return entries

    def _unknown(self, entry: Entry, known: Iterable[str], path: Path) -> None:
        if not path and entry.key.lower() in _FOREIGN:
            return
        lowered = {key.lower(): key for key in known}
        few = len(self.problems) + len(self.warnings) < _SUGGESTIONS
        close = difflib.get_close_matches(entry.key.lower(), lowered, 1) if few else []
        wanted = f"one of {', '.join(lowered.values())}"
        if close:
            wanted = f"a key that exists, did you mean {lowered[close[0]]}?"
        problem = _at_key(entry, (*path, entry.key), "an unknown key", wanted)
        (self.problems if path[:1] == (OWN,) else self.warnings).append(problem)

    def _read_secrets(self, section: type[Section], path: Path, values: dict[str, Any]) -> None:
        """Replace a secret by the content of the file that ``<secret>File`` names."""
        for name, field in section.model_fields.items():
            file_field = section.model_fields.get(f"{name}_file")
            if not is_secret(field) or file_field is None:
                continue
            key, file_key = key_of(field), key_of(file_field)
            secret, file = values.get(key), values.get(file_key)
            if not isinstance(file, Scalar) or not file.text:
                continue
            if isinstance(secret, Scalar) and secret.text:
                self._refuse((*path, file_key), f"only one of {key} and {file_key}")
                continue
            try:
                content = Scalar(read_secret_file(file.text), file.position, hidden=True)
            except SecretFileError as error:
                found = f"{quote(file.text)}, {error}"
                self._refuse((*path, file_key), "a file that holds the secret", found)
            else:
                values[key] = self._nodes[(*path, key)] = content


def _at_key(entry: Entry, path: Path, found: str, wanted: str) -> Problem:
    name = show_path(tuple(step if isinstance(step, int) else _printable(step) for step in path))
    return Problem(entry.position.file, entry.position.line, name, found, wanted)


def _printable(key: str) -> str:
    """A key of the file as part of a path: quoted if it could be mistaken for something else on the line."""
    return key if key.isprintable() and key and len(key) <= 60 and ": " not in key else quote(key)
