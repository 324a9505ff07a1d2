"""``python -m bench``: measure, and print the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.audit import STALL, Auditing
from bench.contenders import build_go_proxy
from bench.download import GO, Downloads
from bench.drain import Drain
from bench.flood import LOGINS
from bench.hot_path import HotPath
from bench.load import CONNECTIONS, generator
from bench.logins import Logins
from bench.objects import DOCUMENT, MANY
from bench.processes import installed, raise_file_limit
from bench.requests import NGINX, UNKNOWN, Requests
from bench.rights import LARGE, Rights
from bench.site import GIB, Site
from bench.slow_reader import SlowReaders
from bench.table import table
from bench.terminals import Terminals
from bench.watches import Watches, most

SUBJECTS = ("requests", "rights", "logins", "audit", "download", "slow-reader", "watches", "drain", "terminals")

#: The most that a request may cost, over nginx's in the same rounds; more extensions over few; a download over Go's.
PLAIN_GOAL, TLS_GOAL, FLAT_GOAL = 2.0, 2.2, 1.1
PLAIN_RATE_GOAL, TLS_RATE_GOAL = 0.75, 1.0
READER_GOAL = 32 << 20
#: The queue's own bound (32 MiB), and batches on their way a second time.
AUDIT_GOAL = 64 << 20
WATCH_GOAL = 25 << 10
#: The same for the whole way, with a token and roles; a large installation over next to none; microseconds of a list.
PLAIN_RIGHTS_GOAL, TLS_RIGHTS_GOAL = 2.2, 2.4
USERS_LIST_GOAL, NAMESPACES_LIST_GOAL = 400.0, 600.0
#: What a known token may add to a request, in microseconds, and many logins to other requests' 99th percentile.
TOKEN_GOAL, TAIL_GOAL = 3.0, 1.2
#: Milliseconds that a terminal may add to a key, in the middle and at the 99th percentile; KiB of an open one.
KEY_GOAL, KEY_TAIL_GOAL, TERMINAL_GOAL = 1.0, 3.0, 128.0


@dataclass(frozen=True)
class Goal:
    """One number that was promised, and what it came to."""

    what: str
    found: str
    wanted: str
    met: bool


class Run:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, folder: Path, files: int) -> None:
        self.goals: list[Goal] = []
        self.numbers: dict[str, Any] = {}
        self._options = options
        self._folder = folder
        self._files = files

    def measure(self) -> None:
        """Every subject that was asked for, in order; each table is printed as soon as it is known."""
        options = self._options
        go = self._go()
        with Site(self._room("site"), options.size) as site:
            print(f"The backend is {site.static}; a small answer has {len(DOCUMENT)} bytes.\n", flush=True)
            if options.profile:
                for tls in (False, True):
                    self._profile(site, tls)
                return
            for subject in options.only:
                if subject == "requests" and generator() is not None:
                    for tls in (False, True):
                        self._requests(site, go, tls)
                elif subject == "rights" and generator() is not None:
                    self._rights(site)
                elif subject == "logins" and generator() is not None:
                    self._logins(site)
                elif subject == "audit" and generator() is not None:
                    self._audit(site)
                elif subject == "download":
                    for tls in (False, True):
                        self._download(site, go, tls)
                elif subject == "slow-reader":
                    self._slow_reader(site)
                elif subject == "watches":
                    self._watches(site)
                elif subject == "drain":
                    self._drain(site)
                elif subject == "terminals":
                    self._terminals()

    def _go(self) -> Path | None:
        if not self._options.peers or self._options.profile:
            return None
        begun = time.monotonic()
        program = build_go_proxy(self._folder)
        if program is not None:
            print(f"Go's proxy was built in {time.monotonic() - begun:.1f} s.")
        return program

    def _room(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _profile(self, site: Site, tls: bool) -> None:
        path = HotPath(site, self._room(f"profile-{tls}"), self._options.seconds * self._options.rounds, tls=tls)
        path.measure()
        _show(path.report())

    def _requests(self, site: Site, go: Path | None, tls: bool) -> None:
        options = self._options
        found = Requests(site, self._room(f"requests-{tls}"), go, tls=tls, peers=options.peers)
        found.measure(options.rounds, options.seconds)
        _show(found.report())
        goal = TLS_GOAL if tls else PLAIN_GOAL
        upstream = "TLS" if tls else "plain"
        for row in found.rows:
            ratios = found.ratios(row.name, NGINX)
            self.numbers[f"{row.name}, {upstream}"] = {
                "cpu_seconds": row.middle("cpu"),
                "to_nginx": median(ratios) if ratios else None,
                "rate": row.middle("rate"),
                "p50": row.middle("p50"),
                "p99": row.middle("p99"),
            }
            if ratios and row.name.startswith("ksproxyd") and row.name != UNKNOWN and str(MANY) not in row.name:
                self._at_most(f"CPU a request, {row.name}, {upstream}", median(ratios), goal, "× nginx's")
        for name, ratio in found.flatness().items():
            self._at_most(f"CPU a request, {name}, {MANY} extensions over few", ratio, FLAT_GOAL, "×")

    def _rights(self, site: Site) -> None:
        found = Rights(site, self._room("rights"))
        found.measure(self._options.rounds, self._options.seconds)
        _show(found.report())
        numbers: dict[str, Any] = {"lists": found.list_seconds(), "memory": found.memory, "ready": found.seconds}
        self.numbers["rights"] = numbers
        for upstream, goal in (("plain", PLAIN_RIGHTS_GOAL), ("TLS", TLS_RIGHTS_GOAL)):
            ratio = found.to_nginx(upstream)
            numbers[upstream] = {"to_nginx": ratio, "flat": found.flatness(upstream)}
            if ratio is not None:
                self._at_most(f"CPU a request with token and roles, {LARGE}, {upstream}", ratio, goal, "× nginx's")
            what = f"CPU a request with token and roles, {upstream}, {LARGE} over next to nothing"
            self._at_most(what, found.flatness(upstream), FLAT_GOAL, "×")
        for name, seconds in found.list_seconds().items():
            goal = USERS_LIST_GOAL if "users" in name else NAMESPACES_LIST_GOAL
            self._at_most(f"CPU of a list, {name}", seconds * 1e6, goal, "µs")

    def _logins(self, site: Site) -> None:
        found = Logins(site, self._room("logins"))
        found.measure(self._options.rounds, self._options.seconds)
        _show(found.report())
        tails = {name: (kind.tail, kind.to_elsewhere) for name, kind in found.kinds.items()}
        self.numbers["logins"] = {"token_seconds": found.token_seconds, "tails": tails}
        self._at_most("CPU that a known token adds", found.token_seconds * 1e6, TOKEN_GOAL, "µs")
        for name, kind in found.kinds.items():
            what = f"p99 beside {LOGINS} logins/s ({name}) over alone"
            if kind.conclusive:
                self._at_most(what, kind.tail, TAIL_GOAL, "×")
            else:
                # Not shown is not met.
                said = f"{kind.tail:.3g} ×, by chance: the machine was busy"
                self.goals.append(Goal(what, said, f"≤ {TAIL_GOAL:g} ×", False))

    def _audit(self, site: Site) -> None:
        found = Auditing(site, self._room("audit"), self._options.stall)
        found.measure(self._options.rounds, self._options.seconds)
        _show(found.report())
        grown = found.peak - found.memory
        self.numbers["audit"] = {"tail": found.tail, "lost": found.lost, "dropped": found.dropped, "grown": grown}
        self._at_most("p99 with a stalled audit webhook over one that works", found.tail, TAIL_GOAL, "×")
        self._at_most("memory that a stalled audit webhook costs", grown / (1 << 20), AUDIT_GOAL >> 20, "MiB")
        self._at_most("audit events that nobody accounts for", found.lost, 0, "")

    def _download(self, site: Site, go: Path | None, tls: bool) -> None:
        found = Downloads(site, self._room(f"download-{tls}"), go, tls=tls)
        found.measure(self._options.rounds)
        _show(found.report())
        ratio = found.ratio("ksproxyd", GO)
        upstream = "TLS" if tls else "plain"
        for row in found.rows:
            self.numbers[f"download, {row.name}, {upstream}"] = {
                "bytes_a_second": median(row.rates),
                "cpu_seconds_a_gib": median(row.cpu),
                "memory_over_idle": max(row.memory),
            }
        if ratio is not None:
            wanted = TLS_RATE_GOAL if tls else PLAIN_RATE_GOAL
            what = f"download rate, {upstream}"
            self.goals.append(Goal(what, f"{ratio:.2f} × Go's", f"≥ {wanted:g} × Go's", ratio >= wanted))

    def _slow_reader(self, site: Site) -> None:
        found = SlowReaders(site, self._room("slow-reader"))
        found.measure(self._options.seconds * 2)
        _show(found.report())
        for result in found.results:
            self.numbers[f"slow reader, {result.upstream}"] = {"memory_over_idle": result.memory}
            what = f"memory over idle, slow readers, {result.upstream}"
            self._at_most(what, result.memory / (1 << 20), READER_GOAL >> 20, "MiB")

    def _watches(self, site: Site) -> None:
        count = most(self._files, self._options.watches)
        if count < self._options.watches:
            print(f"Only {self._files} files may be open, so there are {count} watches.")
        found = Watches(site, self._room("watches"), count)
        found.measure()
        _show(found.report())
        self.numbers["watches"] = {"count": count, "seconds": found.seconds, "memory": found.memory}
        self._at_most("memory of an idle watch", found.memory / count / 1024, WATCH_GOAL >> 10, "KiB")

    def _drain(self, site: Site) -> None:
        found = Drain(site, self._room("drain"), self._options.in_flight)
        found.measure()
        _show(found.report())
        self.numbers["drain"] = {"count": found.count, "whole": found.whole, "exit_code": found.exit_code}
        self._at_most("requests lost at SIGTERM", found.count - found.whole, 0, "")

    def _terminals(self) -> None:
        quick = self._options.quick
        found = Terminals(self._room("terminals"), *((500, 10, 100) if quick else (3000, 100, 400)))
        found.measure()
        _show(found.report())
        if found.missing:
            return
        self.numbers["terminals"] = {"keys": found.keys, "opens": found.opens, "memory": found.memory}
        self._at_most("added to a key, median", found.added(found.keys) * 1e3, KEY_GOAL, "ms")
        self._at_most("added to a key, 99th percentile", found.added(found.keys, 0.99) * 1e3, KEY_TAIL_GOAL, "ms")
        self._at_most("memory of an open terminal", found.memory / 1024, TERMINAL_GOAL, "KiB")

    def _at_most(self, what: str, found: float, wanted: float, unit: str) -> None:
        self.goals.append(Goal(what, f"{found:.3g} {unit}".strip(), f"≤ {wanted:g} {unit}".strip(), found <= wanted))


def _show(text: str) -> None:
    print(text + "\n", flush=True)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(sys.modules["bench"].__doc__ or "").strip())
    parser.add_argument("--quick", action="store_true", help="less of everything, in under a minute; noisy")
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="this subject (may be given more than once)")
    parser.add_argument("--profile", action="store_true", help="show instead where the time of a request goes")
    parser.add_argument("--rounds", type=int, help="rounds in which every proxy has its turn (default 5)")
    parser.add_argument("--seconds", type=float, help="length of a turn (default 2)")
    parser.add_argument("--watches", type=int, help="idle watches (default 5000)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="measure beside nginx only")
    parser.add_argument("--check", action="store_true", help="end with exit code 1 if a goal is not met")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to this file")
    options = parser.parse_args(words)
    quick = options.quick
    options.only = options.only or SUBJECTS
    options.peers = options.peers and not quick
    options.rounds = options.rounds or (2 if quick else 5)
    options.seconds = options.seconds or (1.0 if quick else 2.0)
    options.watches = options.watches or (1000 if quick else 5000)
    options.stall = 10.0 if quick else STALL
    options.in_flight = 200 if quick else 500
    options.size = GIB // 4 if quick else GIB
    return options


def introduce(options: argparse.Namespace) -> Iterable[str]:
    """What is measured on, and what is missing."""
    yield f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    yield f"Python {platform.python_version()}"
    for program, words in (("nginx", ["-v"]), ("go", ["version"])):
        path = installed(program)
        if path is not None:
            done = subprocess.run([path, *words], capture_output=True, text=True, timeout=30, check=False)
            yield (done.stdout or done.stderr).strip()
    if installed("nginx") is None:
        yield "MISSING: nginx (Debian: nginx-light). There are no ratios to it, and a slower program plays the backend."
    if generator() is None:
        yield "MISSING: wrk (Debian: wrk). Requests a second, latency and CPU time a request are not measured."
    if installed("go") is None:
        yield "MISSING: a Go toolchain. Go's httputil.ReverseProxy is not measured."
    yield f"{options.rounds} rounds of {options.seconds:g} s, {CONNECTIONS} connections, medians of the rounds"


def main(words: Sequence[str]) -> int:
    """Run; returns 1 if goals were to be checked and some were not met, else 0."""
    options = parse(words)
    files = raise_file_limit()
    # ``with`` stops what was started; a signal must lead there.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    for line in introduce(options):
        print(line)
    with tempfile.TemporaryDirectory(prefix="ksproxyd-bench-") as folder:
        run = Run(options, Path(folder), files)
        run.measure()
    goals = run.goals
    if goals:
        rows = [[goal.what, goal.found, goal.wanted, "yes" if goal.met else "NO"] for goal in goals]
        _show(table(["goal", "found", "wanted", "met"], rows))
    if options.json:
        options.json.write_text(json.dumps(run.numbers, indent=2) + "\n")
    print(f"took {time.monotonic() - begun:.0f} s")
    return 1 if options.check and not all(goal.met for goal in goals) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
