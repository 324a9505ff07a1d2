"""Runs the kubectl that was built, unmodified, with a kubeconfig of the test's choice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

FALLBACK = "fallback"
"""What kubectl logs at ``-v=4`` when a WebSocket was refused and it turns to SPDY."""


class Kubectl:
    """One kubectl for one kubeconfig, in one namespace, with a home and discovery cache of its own."""

    def __init__(self, program: Path, kubeconfig: Path, home: Path, namespace: str = "default") -> None:
        self.program = program
        self.kubeconfig = kubeconfig
        self.home = home
        self.namespace = namespace

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(self.program, self.kubeconfig, self.home, namespace)

    def argv(self, *arguments: str) -> list[str]:
        return [str(self.program), f"--namespace={self.namespace}", *arguments]

    def environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HTTP", "http"))}
        return {**kept, "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig), **(more or {})}

    def run(
        self,
        *arguments: str,
        input: bytes | None = None,
        environ: Mapping[str, str] | None = None,
        timeout: float = 60,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, whatever that is; without ``input`` it has no standard input."""
        return subprocess.run(
            self.argv(*arguments),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env=self.environ(environ),
            timeout=timeout,
            cwd=cwd,
            check=False,
        )

    def __call__(self, *arguments: str, input: bytes | None = None, timeout: float = 60) -> str:
        """What it printed; fails the test if it ended with another code than 0."""
        done = self.run(*arguments, input=input, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode()

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start it with pipes on all three streams; the caller ends it, best by ``with``."""
        return subprocess.Popen(
            self.argv(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environ(environ),
            start_new_session=True,
        )
