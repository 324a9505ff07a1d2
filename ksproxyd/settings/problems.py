"""What is wrong with a configuration, one line for each thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: where it is, what was found there and what would do.

    ``file`` is the name of the file, or of the environment variable or command-line option that carried the value;
    ``line`` counts from 1 and is 0 where there are no lines. ``path`` is the key as it is written in the file
    (``ksproxyd.limits.headBytes``), empty when the file as a whole is meant. ``found`` never holds a secret.
    """

    file: str
    line: int
    path: str
    found: str
    wanted: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.path}: " if self.path else ""
        return f"{where}: {subject}found {self.found}, expected {self.wanted}"


class SettingsError(Exception):
    """The configuration cannot be used. ``problems`` holds everything that is wrong with it, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.path)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
