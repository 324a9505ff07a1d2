"""The conformance suite of Autobahn against the browser's end of terminals, in a process with real sockets.

Its cases are run by kosoku. What is about compression (12 and 13) is left out: none is agreed upon (spec 05, 7.4).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

kosoku = pytest.importorskip("kosoku")

ECHO = Path(__file__).with_name("websocket_echo.py")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(ECHO), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"])
def test_cases(address: str, group: str) -> None:
    """Every verdict of a case that is about what must be is OK; the suite's own judgement fails on the rest."""
    results = asyncio.run(asyncio.wait_for(kosoku.run_fuzzingclient(address, [group], None, concurrency=2), 280))
    verdicts = {each.case_id: (each.behavior.value, each.behavior_close.value) for each in results}
    assert verdicts
    bad = {case: verdict for case, verdict in verdicts.items() if not set(verdict) <= {"OK", "INFORMATIONAL"}}
    assert not bad
