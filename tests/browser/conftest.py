"""One gateway and fresh browsers for the tests in this folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser.chromium import Chromium, missing
from browser.place import Place, running_place

Opener = Callable[..., Chromium]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    absent = missing()
    if absent:
        pytest.skip(f"not installed: {absent} (Debian: chromium, chromium-driver)")
    with running_place(tmp_path_factory.mktemp("place")) as running:
        yield running


@pytest.fixture
def browse(tmp_path: Path, place: Place) -> Iterator[Opener]:
    """Opens a browser that knows nothing; ``language`` is its own."""
    count = itertools.count()
    with ExitStack() as stack:

        def opened(language: str = "en-US,en", *, scripts: bool = True) -> Chromium:
            return stack.enter_context(Chromium(tmp_path / f"browser{next(count)}", language, scripts=scripts))

        yield opened
