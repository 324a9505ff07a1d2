"""The embedded API, in memory."""

from __future__ import annotations

import pytest

from contract.client import Client
from contract.fixtures import five, namespace, widgets
from contract.in_memory import MemoryClient

__all__ = ["api", "five", "namespace", "widgets"]


@pytest.fixture
def api() -> Client:
    """A server of its own for each test."""
    return MemoryClient()
