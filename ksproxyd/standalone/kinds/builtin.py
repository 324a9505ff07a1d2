"""The kinds that are served without a definition."""

from __future__ import annotations

from ksproxyd.standalone.kinds.core import core_kinds
from ksproxyd.standalone.kinds.groups import other_kinds, workload_kinds
from ksproxyd.standalone.kinds.registry import Kind


def builtin_kinds() -> list[Kind]:
    """Every built-in kind but CustomResourceDefinition, whose rules depend on the registry."""
    return [*core_kinds(), *workload_kinds(), *other_kinds()]
