"""What gateways share, and where they keep it."""

from __future__ import annotations

from typing import Any

from ksproxyd.authn.shared.memory import MemoryStore
from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.settings import Settings

__all__ = ["MemoryStore", "SharedStore", "shared_store"]


def shared_store(reactor: Any, settings: Settings) -> SharedStore:
    """The store that ``cache.type`` asks for. One of Redis connects at the first question."""
    if settings.cache.type == "redis":
        # Its protocol comes from a package that takes the global reactor as soon as it is imported.
        from ksproxyd.authn.shared.redis import RedisStore

        ours = settings.ksproxyd
        return RedisStore(reactor, settings.cache.options, ours.redis, ours.timeouts.redis)
    return MemoryStore(reactor, settings.cache.options.cleanup_period)
