"""Where the CPU time of a proxied request goes: by Python function, and with ``perf`` also by library."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

from bench.contenders import Gateway
from bench.load import load
from bench.processes import installed
from bench.site import Site
from bench.table import table

TOP = 40
"""Functions that are listed."""

_WRITE_LIMIT = 10.0


class HotPath:
    """ksproxyd's APIService route under load, over one kind of upstream, watched for ``seconds``."""

    def __init__(self, site: Site, folder: Path, seconds: float, *, tls: bool) -> None:
        self._site = site
        self._folder = folder
        self._seconds = seconds
        self._tls = tls
        self._functions: list[list[str]] = []
        self._machine = ""

    def measure(self) -> None:
        """Once by samples of the Python stack, once by perf: each would see the other."""
        route = self._site.tls_route if self._tls else self._site.plain_route
        file = self._folder / "samples.json"
        launcher = ("-m", "bench.sampler", str(file))
        with Gateway(self._site, self._folder, "ksproxyd sampled", launcher=launcher) as gateway:
            load(gateway, [route.api_path], 1)
            gateway.process.signal(signal.SIGUSR2)
            sample = load(gateway, [route.api_path], self._seconds)
            gateway.process.signal(signal.SIGUSR2)
            deadline = time.monotonic() + _WRITE_LIMIT
            while not file.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.2)
        found = json.loads(file.read_text())
        anywhere = dict(found["anywhere"])
        samples = found["samples"]
        for name, count in found["last"][:TOP]:
            share = count / samples
            within = anywhere[name] / samples
            self._functions.append([name, f"{share:.1%}", f"{share * sample.cpu * 1e6:.2f} µs", f"{within:.1%}"])
        self._perf(route.api_path)

    def _perf(self, path: str) -> None:
        perf = installed("perf")
        if perf is None:
            self._machine = "perf is not installed (Debian: linux-perf), so nothing is known about libraries."
            return
        file = self._folder / "perf.data"
        with Gateway(self._site, self._folder, "ksproxyd perf") as gateway:
            load(gateway, [path], 1)
            argv = [perf, "record", "-q", "-F", "999", "-p", str(gateway.pid), "-o", str(file), "--", "sleep"]
            with subprocess.Popen([*argv, str(max(1, round(self._seconds) - 1))], stderr=subprocess.PIPE) as recording:
                load(gateway, [path], self._seconds)
                _, errors = recording.communicate(timeout=self._seconds + 30)
        if recording.returncode:
            self._machine = f"perf cannot look here: {errors.decode(errors='replace').strip()}"
            return
        reports = []
        for sort in ("dso", "dso,symbol"):
            argv = [perf, "report", "--stdio", "-i", str(file), "--sort", sort, "--percent-limit", "0.8"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
            lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
            reports.append("\n".join(lines[:TOP]))
        self._machine = "\n\n".join(reports)

    def report(self) -> str:
        """The functions, then what perf found."""
        upstream = "TLS" if self._tls else "plain"
        functions = table([f"function, {upstream} upstream", "itself", "a request", "with callees"], self._functions)
        return f"{functions}\n\n{self._machine}"
