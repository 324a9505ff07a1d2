"""The conformance suite of Autobahn against the browser's end of terminals, in a process with real sockets.

Its cases are run by kosoku. What is about compression (12 and 13) is left out: none is agreed upon (spec 05, 7.4).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("kosoku", reason="kosoku is not installed: nobody runs the cases")

#: Runs the cases in a process of its own: they are written for Autobahn without its native parts, which are chosen when
#: Autobahn is first imported.
RUN = """
import asyncio, json, os, sys
import kosoku
address, group = sys.argv[1:]
results = asyncio.run(kosoku.run_fuzzingclient(address, [group], None, concurrency=2))
print(json.dumps({each.case_id: [each.behavior.value, each.behavior_close.value] for each in results}), flush=True)
# Some of the native parts abort when they are taken down.
os._exit(0)
"""

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
    environment = {**os.environ, "AUTOBAHN_USE_NVX": "0"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, address, group],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout.splitlines()[-1])
    assert verdicts
    bad = {case: verdict for case, verdict in verdicts.items() if not set(verdict) <= {"OK", "INFORMATIONAL"}}
    assert not bad
