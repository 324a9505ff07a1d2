from __future__ import annotations

import math

from ksproxyd.observe.metrics import Registry

from .test_exposition import parse


class FakeStore:
    def __init__(self, kind: str, objects: int, synced: bool, age: float) -> None:
        self.kind = kind
        self.objects = objects
        self.synced = synced
        self.seconds = age

    def age(self) -> float:
        return self.seconds

    def __len__(self) -> int:
        return self.objects


class FakeWatch:
    def __init__(self, kind: str, objects: int, synced: bool = True, age: float = 1.0) -> None:
        self.store = FakeStore(kind, objects, synced, age)
        self.following = True
        self.restarts = 0
        self.failures = 0
        self.lag = 0.25


def scrape(registry: Registry, name: str) -> dict[str, float]:
    """The values of a metric by kind."""
    return {dict(labels)["kind"]: value for labels, value in parse(registry.blocks())[name].items()}


def watching(*watches: FakeWatch) -> tuple[Registry, list[FakeWatch]]:
    registry = Registry(lambda *_: True, 100)
    listed = list(watches)
    registry.add_watches(lambda: listed)
    return registry, listed


def test_by_kind() -> None:
    registry, watches = watching(FakeWatch("User", 12, age=3.5))
    watches.append(FakeWatch("Cluster", 0, synced=False, age=math.inf))
    assert scrape(registry, "ksproxyd_watch_synced") == {"User": 1, "Cluster": 0}
    assert scrape(registry, "ksproxyd_watch_following") == {"User": 1, "Cluster": 1}
    assert scrape(registry, "ksproxyd_watch_age_seconds") == {"User": 3.5, "Cluster": math.inf}
    assert scrape(registry, "ksproxyd_watch_lag_seconds") == {"User": 0.25, "Cluster": 0.25}
    assert scrape(registry, "ksproxyd_store_objects") == {"User": 12, "Cluster": 0}


def test_several_loops_of_one_kind_are_one_series_and_the_worst_counts() -> None:
    registry, watches = watching(FakeWatch("Secret", 1, age=1), FakeWatch("Secret", 1, age=60))
    watches[0].following = False
    watches[1].lag = 2.0
    assert scrape(registry, "ksproxyd_watch_following") == {"Secret": 0}
    assert scrape(registry, "ksproxyd_watch_age_seconds") == {"Secret": 60}
    assert scrape(registry, "ksproxyd_watch_lag_seconds") == {"Secret": 2}
    assert scrape(registry, "ksproxyd_store_objects") == {"Secret": 2}


def test_counters_do_not_go_down_when_a_loop_ends() -> None:
    registry, watches = watching(FakeWatch("Secret", 1), FakeWatch("Secret", 1))
    watches[0].restarts, watches[1].restarts, watches[1].failures = 3, 4, 5
    assert scrape(registry, "ksproxyd_watch_restarts_total") == {"Secret": 7}
    assert scrape(registry, "ksproxyd_watch_restarts_total") == {"Secret": 7}
    del watches[0]
    watches[0].restarts += 1
    assert scrape(registry, "ksproxyd_watch_restarts_total") == {"Secret": 8}
    watches.append(FakeWatch("Secret", 1))
    watches[-1].restarts = 2
    assert scrape(registry, "ksproxyd_watch_restarts_total") == {"Secret": 10}
    assert scrape(registry, "ksproxyd_watch_failures_total") == {"Secret": 5}
    watches.clear()
    assert scrape(registry, "ksproxyd_watch_restarts_total") == {"Secret": 10}
