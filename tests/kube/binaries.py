"""Finds or builds the programs the tests run: etcd, kube-apiserver, kubectl and the node that tests play.

``KUBEBUILDER_ASSETS`` names a folder that has the first three (the convention of ``setup-envtest``). Without it
they are built from the Go modules pinned in ``assets/go.mod``, once, into
``$XDG_CACHE_HOME/ksproxyd/kube-assets``. The node is always built: it is part of these tests.

``python tests/kube/binaries.py`` does the same and prints the folders; a CI job may do that as a step of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
KUBERNETES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
NODE = {"ksproxyd-node": "./node"}
BUILD_LIMIT = 1800.0
"""Seconds a build may take; a cold one takes about four minutes on two cores."""


class Unavailable(Exception):
    """This machine cannot have the programs; the message says what is missing."""


class BuildError(Exception):
    """The programs could be built here, but building them failed; the message is the compiler's."""


@dataclass(frozen=True)
class Binaries:
    """Where the programs are; ``node`` is None where there is no Go toolchain, and ``without_node`` says so."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    node: Path | None
    without_node: str = ""


def find_or_build(environ: Mapping[str, str], say: Callable[[str], None]) -> Binaries:
    """The programs, built if they are not there yet.

    :param say: called with a line about each long step.
    :raises Unavailable: neither ``KUBEBUILDER_ASSETS`` nor a Go toolchain and its modules can be had.
    :raises BuildError: compiling failed, or ``KUBEBUILDER_ASSETS`` names a folder that lacks a program.
    """
    given = environ.get("KUBEBUILDER_ASSETS", "")
    go = shutil.which("go", path=environ.get("PATH"))
    if given:
        folder = Path(given)
        missing = [name for name in KUBERNETES if not os.access(folder / name, os.X_OK)]
        if missing:
            raise BuildError(f"KUBEBUILDER_ASSETS={given} has no {', '.join(missing)}")
    elif go is None:
        raise Unavailable("KUBEBUILDER_ASSETS is not set and there is no Go toolchain to build kube-apiserver")
    else:
        folder = built(go, environ, KUBERNETES, (), say)
    node, reason = None, ""
    if go is None:
        reason = "there is no Go toolchain to build the node that runs exec, attach, logs and port-forward"
    else:
        sources = sorted((ASSETS / "node").glob("*.go"))
        node = built(go, environ, NODE, sources, say) / "ksproxyd-node"
    return Binaries(folder / "etcd", folder / "kube-apiserver", folder / "kubectl", node, reason)


def built(
    go: str,
    environ: Mapping[str, str],
    programs: Mapping[str, str],
    sources: Sequence[Path],
    say: Callable[[str], None],
) -> Path:
    """The folder that holds ``programs``, named after everything that decides what they are."""
    arguments = flags()
    digest = hashlib.sha256(repr((sorted(programs.items()), arguments)).encode())
    for file in (ASSETS / "go.mod", ASSETS / "go.sum", *sources):
        digest.update(file.read_bytes())
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ksproxyd" / "kube-assets"
    folder = cache / f"{sys.platform}-{platform.machine()}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):
        wanted = {name: package for name, package in programs.items() if not (folder / name).exists()}
        if wanted:
            deadline = time.monotonic() + BUILD_LIMIT
            settings = environment(environ)
            download(go, settings, list(wanted.values()), deadline)
            for name, package in wanted.items():
                say(f"building {name} (once; minutes on a cold Go build cache)")
                started = time.monotonic()
                unfinished = folder / f"{name}.unfinished"
                compile_program(go, settings, [*arguments, "-o", str(unfinished), package], deadline)
                unfinished.replace(folder / name)
                say(f"built {name} in {time.monotonic() - started:.0f} s: {folder / name}")
    return folder


def flags() -> list[str]:
    """Arguments of ``go build``; the version stamped in is the one of the pinned module."""
    pinned = re.search(r"^\s+k8s\.io/kubernetes v((\d+)\.(\d+)\.\S+)", (ASSETS / "go.mod").read_text(), re.MULTILINE)
    if pinned is None:
        raise BuildError("assets/go.mod does not pin k8s.io/kubernetes")
    stamps = {"gitVersion": f"v{pinned[1]}", "gitMajor": pinned[2], "gitMinor": pinned[3], "gitTreeState": "clean"}
    linker = ["-s", "-w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items())]
    return ["-p", "2", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(linker)]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}


def download(go: str, environ: Mapping[str, str], packages: Sequence[str], deadline: float) -> None:
    """Fetch what the packages need. That failing is the machine's lack of network, not an error in the build."""
    command = [go, "list", "-deps", "-f", "{{.ImportPath}}", *packages]
    try:
        subprocess.run(
            command, cwd=ASSETS, env=environ, check=True, capture_output=True, text=True, timeout=left(deadline)
        )
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"the Go modules of kube-apiserver cannot be had: {error.stderr.strip()[-500:]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"the Go modules of kube-apiserver did not arrive in {BUILD_LIMIT:.0f} s") from None


def compile_program(go: str, environ: Mapping[str, str], arguments: Sequence[str], deadline: float) -> None:
    command = ["nice", "-n", "10", go, "build", *arguments]
    try:
        subprocess.run(
            command, cwd=ASSETS, env=environ, check=True, capture_output=True, text=True, timeout=left(deadline)
        )
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{' '.join(command)} failed:\n{error.stderr[-4000:]}") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{' '.join(command)} did not end within {BUILD_LIMIT:.0f} s") from None


def left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two test runs at once must not build the same thing twice."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        found = find_or_build(os.environ, lambda line: print(line, file=sys.stderr))
    except (Unavailable, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    print(found.kube_apiserver.parent)
    print(found.node.parent if found.node is not None else found.without_node)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
