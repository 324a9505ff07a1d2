"""From a file and the environment to settings, or to everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ksproxyd.settings.binding import Binding
from ksproxyd.settings.checks import check
from ksproxyd.settings.kinds import REFUSED
from ksproxyd.settings.model import Settings
from ksproxyd.settings.overrides import Override, collect
from ksproxyd.settings.problems import Problem, SettingsError
from ksproxyd.settings.reader import MAX_BYTES, read
from ksproxyd.settings.section import Path

#: Where the configuration is looked for when no file is named: our own place, then those of ks-apiserver.
SEARCH_PATH = ("/etc/ksproxyd/ksproxyd.yaml", "/etc/kubesphere/kubesphere.yaml", "kubesphere.yaml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Usable settings, and what should be told about them."""

    settings: Settings
    warnings: tuple[Problem, ...]


def find_file(candidates: Iterable[str] = SEARCH_PATH) -> str | None:
    """The first of these files that exists, or None."""
    return next((path for path in candidates if os.path.isfile(path)), None)


def defaults() -> Settings:
    """The settings of an empty file in an empty environment."""
    return load_text("", "defaults", {}).settings


def load_file(path: str | os.PathLike[str], environ: Table[str, str], overrides: Iterable[Override] = ()) -> Loaded:
    """Load a configuration file: the bare file, or a ConfigMap manifest that holds it.

    ``environ`` is the process's environment and ``overrides`` values of command-line options, which win over it.
    Reads the file, the secrets and the TLS files it names, so it blocks for as long as that takes. Raises
    :class:`SettingsError` with every problem found.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        problem = Problem(name, 0, "", f"a file that cannot be read ({reason})", "a configuration file")
        raise SettingsError([problem]) from error
    return load_text(data, name, environ, overrides)


def load_text(text: str | bytes, name: str, environ: Table[str, str], overrides: Iterable[Override] = ()) -> Loaded:
    """Load the text of a configuration file, which problems call ``name``. Otherwise as :func:`load_file`."""
    root, problems = read(text, name)
    replaced, warnings = collect(root, environ, overrides)
    binding = Binding(root, replaced)
    problems += binding.problems
    warnings += binding.warnings
    settings, refused, failed = _validate(binding)
    wrong, doubtful = check(settings, binding, failed | binding.failed)
    problems += refused + wrong
    warnings += doubtful
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, tuple(warnings))


def _validate(binding: Binding) -> tuple[Settings, list[Problem], set[Path]]:
    """Settings with defaults in place of values that were refused, the problems of those values, and their paths.

    Going on with defaults lets the checks between other values run, so that everything is reported at once.
    """
    problems: list[Problem] = []
    failed: set[Path] = set()
    while True:
        try:
            return Settings.model_validate(binding.values), problems, failed
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        for detail in details:
            path, missing = detail["loc"], detail["type"] == "missing"
            if path not in failed:
                failed.add(path)
                problems.append(_problem(binding, detail))
            # What was refused goes, and a section that lacks a required key goes as a whole: so the next turn has
            # less to refuse, and there is a last one.
            _remove(binding.values, path[:-1] if missing else path)


def _problem(binding: Binding, detail: ErrorDetails) -> Problem:
    context = detail.get("ctx", {})
    if detail["type"] == REFUSED:
        wanted = str(context["wanted"])
    elif detail["type"] == "literal_error":
        wanted = str(context["expected"]).replace("'", "")
    elif detail["type"] == "missing":
        wanted = "a value: the key is required here"
    else:
        wanted = detail["msg"]
    return binding.problem(detail["loc"], wanted)


def _remove(values: dict[str, Any], path: Path) -> None:
    """Take out the innermost key on the path; for an item of a list of plain values that is the list."""
    container: Any = values
    holder: dict[Any, Any] = values
    key = path[0]
    for step in path:
        if isinstance(container, dict):
            if step not in container:
                return
            holder, key = container, step
        elif not isinstance(container, list):
            break
        container = container[step]
    del holder[key]
