"""What this build of the gateway is."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping

import msgspec

from ksproxyd import __version__

UNKNOWN = "unknown"


class BuildInfo(msgspec.Struct, frozen=True, rename="camel"):
    """The build's version as ``/version`` shows it (spec 01, 1.6), in its order of keys.

    ``go_version`` keeps its name for the sake of clients that decode it; it says which Python runs.
    """

    git_version: str
    git_major: str
    git_minor: str
    git_commit: str
    git_tree_state: str
    build_date: str
    go_version: str
    compiler: str
    platform: str

    @classmethod
    def current(cls, environ: Mapping[str, str] = os.environ) -> BuildInfo:
        """This process's build. An image's build stamps it with ``KSPROXYD_GIT_COMMIT``,
        ``KSPROXYD_GIT_TREE_STATE`` and ``KSPROXYD_BUILD_DATE``; without them these are ``unknown``.
        """
        major, minor = __version__.split(".")[:2]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return cls(
            git_version=f"v{__version__}",
            git_major=major,
            git_minor=minor,
            git_commit=environ.get("KSPROXYD_GIT_COMMIT") or UNKNOWN,
            git_tree_state=environ.get("KSPROXYD_GIT_TREE_STATE") or UNKNOWN,
            build_date=environ.get("KSPROXYD_BUILD_DATE") or UNKNOWN,
            go_version=f"python{platform.python_version()}",
            compiler=platform.python_implementation().lower(),
            platform=f"{sys.platform}/{machine}",
        )
