"""The site of the golden transcripts, recorded once a run. What it starts keeps its logs if a test fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube.binaries import Unavailable, find_or_build

from .site import GOLDEN, Site, golden_site

KEEP = "KSPROXYD_GOLDEN_KEEP"
"""A folder in this environment variable gets the recording and the programs' logs, whatever the outcome."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on which everything has been asked."""
    if not GOLDEN.is_dir():
        pytest.skip(f"{GOLDEN} is not there: nothing to compare with")
    try:
        binaries = find_or_build(os.environ, print)
    except Unavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("golden")
    try:
        with golden_site(binaries, folder) as site:
            site.record()
            yield site
    finally:
        if os.environ.get(KEEP):
            keep(folder, Path(os.environ[KEEP]))


def keep(folder: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for file in (folder / "mine.jsonl", *folder.rglob("*.log")):
        if file.exists():
            shutil.copy(file, kept / file.name)
