"""What the kernel says about a program."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.accounting import cpu_seconds, family, forget_peak, peak_resident, resident

MIB = 1 << 20


def test_children_belong_to_the_family_until_they_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= family(os.getpid())
        child.communicate(b"\n")
    assert child.pid not in family(os.getpid())


def test_cpu_time_is_that_of_children_too() -> None:
    before = cpu_seconds(os.getpid())
    # Burns CPU time by its own account, not by the wall clock.
    code = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    # Two readings, each in ticks of 10 ms.
    assert cpu_seconds(os.getpid()) - before >= 0.15


def test_the_peak_outlives_what_made_it_until_it_is_forgotten() -> None:
    forget_peak(os.getpid())
    idle = resident(os.getpid())
    block = bytearray(os.urandom(1)) * (64 * MIB)
    del block
    assert peak_resident(os.getpid()) - idle > 60 * MIB
    forget_peak(os.getpid())
    assert peak_resident(os.getpid()) - idle < 60 * MIB


def test_a_program_that_is_gone_uses_nothing() -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    pid = int(child.stdout)
    assert cpu_seconds(pid) == 0
    assert resident(pid) == 0
