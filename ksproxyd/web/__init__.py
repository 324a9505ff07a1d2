"""The pages that people see: templates, their words in every language, and what they load. No code but for reading it.

Templates are Python's ``string.Template``; whoever fills one in escapes what it is given
(:mod:`ksproxyd.kapis.oauth.pages`).
"""

from __future__ import annotations

import json
from importlib.resources import files

#: Languages that there are words in; the first is for whoever understands none of them.
LANGUAGES = ("en", "zh")


def template(name: str) -> str:
    """The text of the template ``name``."""
    return files(__name__).joinpath(f"{name}.html").read_text(encoding="utf-8")


def words(language: str) -> dict[str, str]:
    """What the pages say in ``language``, by key."""
    found: dict[str, str] = json.loads(files(__name__).joinpath(f"words.{language}.json").read_text(encoding="utf-8"))
    return found


def asset(name: str) -> bytes:
    """A file that pages load."""
    return files(__name__).joinpath(name).read_bytes()
