"""Fixtures besides ``api``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from contract.client import Client
from contract.objects import CRDS, Widgets, config_map, config_maps, definition

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def fresh(stem: str) -> str:
    """A name that no other test uses."""
    return f"{stem}-{''.join(random.choices(_LETTERS, k=8))}"


@pytest.fixture
def namespace(api: Client) -> Iterator[str]:
    """A namespace of its own for each test."""
    name = fresh("contract")
    api.make("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def widgets(api: Client, namespace: str) -> Iterator[Widgets]:
    """A custom kind of its own for each test, in the test's namespace."""
    group = f"{fresh('g')}.example.com"
    made: dict[str, Any] = api.make(CRDS, definition(group))
    name = made["metadata"]["name"]
    found = Widgets(group, namespace)
    api.eventually(lambda: api.get(found.path).status == 200)
    yield found
    api.delete(f"{CRDS}/{name}")


@pytest.fixture
def five(api: Client, namespace: str) -> str:
    """The path of five ConfigMaps, c0 to c4, each with its number as label ``i``."""
    for number in range(5):
        labels = {"i": str(number), **({"odd": "yes"} if number % 2 else {})}
        api.make(config_maps(namespace), config_map(f"c{number}", labels))
    return config_maps(namespace)
