"""Where attempts come from: addresses, as they are counted and as they are recorded. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

#: Whoever has one address has its neighbours, too.
_V4_PREFIX, _V6_PREFIX = 24, 64

#: Addresses of which is remembered what was made of them. Logins come again and again from the same ones.
_REMEMBERED = 1024


@lru_cache(_REMEMBERED)
def network_of(address: str) -> str:
    """The network by which attempts from ``address`` are counted: a /24, or a /64 of IPv6.

    Anything that is not an address (the name of a Unix socket) is one source by itself.
    """
    found = _parse(address)
    if found is None:
        return address[:64] or "unknown"
    prefix = _V6_PREFIX if found.version == 6 else _V4_PREFIX
    return str(ip_network(f"{found}/{prefix}", strict=False))


@lru_cache(_REMEMBERED)
def recorded(address: str) -> str:
    """``address`` as login records have it: that of loopback is IPv4's (spec 02, 5.4)."""
    found = _parse(address)
    if found is None:
        return address[:64]
    return "127.0.0.1" if found.version == 6 and found.is_loopback else str(found)


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        # A zone is our own interface's name, not theirs.
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
