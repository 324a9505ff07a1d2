"""Values that replace those of the file: environment variables and command-line options."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from collections.abc import Mapping as Table
from collections.abc import Sequence as Series
from dataclasses import dataclass

from ksproxyd.settings.model import Settings
from ksproxyd.settings.nodes import Mapping, Node, Position, Scalar, Sequence
from ksproxyd.settings.problems import Problem
from ksproxyd.settings.section import OWN, Key, Path, is_list, is_secret, keys

#: Variables for keys that are present in the file, as ks-apiserver reads them.
KUBESPHERE_PREFIX = "KUBESPHERE_"
#: Variables for keys of our own section, present in the file or not.
OWN_PREFIX = "KSPROXYD_"

#: Kubernetes sets such variables in every pod of a namespace that has a Service named ``ksproxyd`` or ``ksproxyd-...``.
_SERVICE_LINK = re.compile(
    r"KSPROXYD(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


@dataclass(frozen=True, slots=True)
class Override:
    """A value for one key from outside the file, in the notation of the file.

    ``key`` is written with dots; lists take a series of texts, or one text with commas. ``source`` is what problems
    call the place the value came from, for example ``option --listen``.
    """

    key: str
    value: str | Series[str]
    source: str


def variables(key: Key) -> tuple[str, ...]:
    """The environment variables that can set a key, the strongest first."""
    name = "_".join(key.path).upper()
    general = f"{KUBESPHERE_PREFIX}{name}"
    return (name, general) if key.path[0] == OWN else (general,)


def collect(
    root: Mapping, environ: Table[str, str], overrides: Iterable[Override]
) -> tuple[dict[Path, Node], list[Problem]]:
    """What replaces values of the file, by path, and warnings about variables that do nothing.

    ``overrides`` win over the environment, and there the more specific variable wins. An empty variable counts as
    unset. Raises ``ValueError`` for an override of a key that does not exist, which is an error of the caller.
    """
    found: dict[Path, Node] = {}
    warnings: list[Problem] = []
    known = {key.name: key for key in keys(Settings)}
    for key in known.values():
        for variable in reversed(variables(key)):
            if not environ.get(variable):
                continue
            source = f"environment variable {variable}"
            if variable.startswith(KUBESPHERE_PREFIX) and not _is_present(root, key.path):
                wanted = "the key in the file: without it the variable has no effect"
                warnings.append(Problem(source, 0, key.name, "a value", wanted))
            else:
                found[key.path] = _node(key, environ[variable], source)
    for override in overrides:
        if override.key not in known:
            raise ValueError(f"{override.key} is not a key of the configuration")
        key = known[override.key]
        found[key.path] = _node(key, override.value, override.source)
    return found, warnings + _unknown_variables(environ, known.values())


def _node(key: Key, value: str | Series[str], source: str) -> Node:
    position = Position(source)
    if is_list(key.field):
        texts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        return Sequence(tuple(Scalar(text, position) for text in texts if text), position)
    if not isinstance(value, str):
        raise ValueError(f"{key.name} takes one value")
    return Scalar(value, position, hidden=is_secret(key.field))


def _is_present(root: Mapping, path: tuple[str, ...]) -> bool:
    """Whether the file has the key, with whatever value. Keys are compared without case, as when they are read."""
    node: Node = root
    for step in path:
        if not isinstance(node, Mapping):
            return False
        entry = next((each for each in node.entries if each.key.lower() == step.lower()), None)
        if entry is None:
            return False
        node = entry.value
    return True


def _unknown_variables(environ: Table[str, str], known: Iterable[Key]) -> list[Problem]:
    names = {variables(key)[0].removeprefix(OWN_PREFIX) for key in known if key.path[0] == OWN}
    warnings = []
    for variable in sorted(environ):
        name = variable.removeprefix(OWN_PREFIX)
        if name == variable or name in names or _SERVICE_LINK.fullmatch(variable):
            continue
        close = difflib.get_close_matches(name, names, 1)
        wanted = f"the name of a key, did you mean {OWN_PREFIX}{close[0]}?" if close else "the name of a key"
        warnings.append(Problem(f"environment variable {variable}", 0, "", "a variable that sets nothing", wanted))
    return warnings
