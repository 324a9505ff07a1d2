"""What auditing costs, and what becomes of requests while the webhook stalls.

First the same requests without auditing, with a webhook and with a file, in turn; then a load with a webhook that
works, one with a webhook that takes batches and never answers, and what has become of every event when it works again.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench.accounting import forget_peak, peak_resident, resident
from bench.contenders import Gateway
from bench.load import LoadError, Sample, load
from bench.processes import Process, free_port
from bench.site import Site
from bench.table import micros, millis, spread, table, times

STALL = 60.0
"""Seconds for which the webhook stalls, unless less of everything is asked for."""

LIMIT = 60.0
"""Seconds within which everything that waits is delivered when it works again."""

_OFF, _WEBHOOK, _FILE = "no auditing", "webhook", "file"


class Receiver:
    """The webhook, as a process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._process = Process("receiver", [sys.executable, "-m", "bench.audit_receiver", str(self.port)], folder)

    def __enter__(self) -> Receiver:
        self._process.__enter__().wait_for_port(self.port)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, what: str) -> bytes:
        """``stall``, ``go`` or ``count``."""
        with urllib.request.urlopen(self.url + what, timeout=30) as answer:
            return bytes(answer.read())


class Auditing:
    """Measured with :meth:`measure`, told with :meth:`report`."""

    def __init__(self, site: Site, folder: Path, stall: float = STALL) -> None:
        self._site = site
        self._folder = folder
        self.stall = stall
        self.samples: dict[str, list[Sample]] = {_OFF: [], _WEBHOOK: [], _FILE: []}
        self.working: Sample | None = None
        self.stalled: Sample | None = None
        self.memory = self.peak = 0
        self.recovery = 0.0
        self.made = self.delivered = self.dropped = self.received = 0

    def measure(self, rounds: int, seconds: float) -> None:
        """What it costs, then the stall."""
        path = (self._site.plain_route.api_path,)
        with ExitStack() as stack:
            receiver = stack.enter_context(Receiver(self._folder))
            gateways = {
                _OFF: stack.enter_context(Gateway(self._site, self._folder, "ksproxyd off")),
                _WEBHOOK: stack.enter_context(self._gateway(_WEBHOOK, webhookOptions={"webhookUrl": receiver.url})),
                _FILE: stack.enter_context(self._gateway(_FILE, logOptions={"path": str(self._folder / "audit.log")})),
            }
            for gateway in gateways.values():
                load(gateway, path, 1)
            for _ in range(rounds):
                for name, gateway in gateways.items():
                    self.samples[name].append(load(gateway, path, seconds))
        with ExitStack() as stack:
            receiver = stack.enter_context(Receiver(self._folder))
            gateway = stack.enter_context(self._gateway("stall", webhookOptions={"webhookUrl": receiver.url}))
            load(gateway, path, 2)
            self.working = load(gateway, path, max(self.stall / 3, seconds))
            self.memory = resident(gateway.pid)
            forget_peak(gateway.pid)
            receiver.ask("stall")
            self.stalled = load(gateway, path, self.stall)
            receiver.ask("go")
            self._recover(gateway, receiver)
            self.peak = peak_resident(gateway.pid)

    def _gateway(self, name: str, **auditing: Any) -> Gateway:
        more = {"auditing": {"enable": True, **auditing}}
        return Gateway(self._site, self._folder, f"ksproxyd {name}", more=more)

    def _recover(self, gateway: Gateway, receiver: Receiver) -> None:
        """Wait until nothing waits any more, and count."""
        begun = time.monotonic()
        while True:
            found = _metrics(gateway)
            if not found['ksproxyd_audit_queue_events{sink="webhook"}']:
                break
            if time.monotonic() - begun > LIMIT:
                raise LoadError(f"not everything was delivered within {LIMIT:g} s: {found}")
            time.sleep(0.5)
        self.recovery = time.monotonic() - begun
        self.made = int(found["ksproxyd_audit_events_total"])
        self.delivered = int(found['ksproxyd_audit_delivered_total{sink="webhook"}'])
        self.dropped = int(sum(value for name, value in found.items() if "dropped_total" in name))
        self.received = int(receiver.ask("count"))

    @property
    def tail(self) -> float:
        """The 99th percentile while the webhook stalls, over the one while it works."""
        if self.working is None or self.stalled is None:
            return 0.0
        return self.stalled.p99 / self.working.p99

    @property
    def lost(self) -> int:
        """Events that are neither delivered nor counted as dropped, or that were delivered and have not arrived."""
        return abs(self.made - self.delivered - self.dropped) + max(0, self.delivered - self.received)

    def report(self) -> str:
        """The tables."""
        rows = []
        for name, samples in self.samples.items():
            ratios = [sample.cpu / off.cpu for sample, off in zip(samples, self.samples[_OFF], strict=True)]
            cpu = micros(median(sample.cpu for sample in samples))
            rows.append([name, cpu, times(median(ratios)), spread(ratios)])
        first = table(["APIService, plain upstream", "CPU a request", "to no auditing", "lowest–highest"], rows)
        assert self.working is not None and self.stalled is not None
        told = f"{self.made} events made, {self.delivered} delivered, {self.dropped} dropped, {self.received} received"
        second = table(
            ["webhook", "p99", "requests/s"],
            [
                ["works", millis(self.working.p99), f"{self.working.rate:.0f}"],
                [f"stalls for {self.stall:g} s", millis(self.stalled.p99), f"{self.stalled.rate:.0f}"],
            ],
        )
        grown = (self.peak - self.memory) / (1 << 20)
        return (
            f"{first}\n\n{second}\n\n{told}; memory grew by {grown:.1f} MiB at most; "
            f"all was delivered {self.recovery:.1f} s after the webhook worked again"
        )


def _metrics(gateway: Gateway) -> dict[str, float]:
    with urllib.request.urlopen(gateway.url("/metrics"), timeout=30) as answer:
        text = answer.read().decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("ksproxyd_audit")]
    return {name: float(value) for name, _, value in lines}
