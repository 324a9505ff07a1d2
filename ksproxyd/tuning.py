"""What the parts take of the settings, in their own words."""

from __future__ import annotations

from ksproxyd.chain.cors import Cors
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.settings import KsproxydSettings
from ksproxyd.upstream.pool import UpstreamTimeouts


def cors(ours: KsproxydSettings) -> Cors | None:
    """The policy for other origins in the settings, None where none is let in."""
    return Cors(ours.cors) if ours.cors.allowed_origins else None


def limits(ours: KsproxydSettings) -> Limits:
    """The server's limits in the settings."""
    found = ours.limits
    return Limits(
        target_bytes=found.target_bytes,
        head_bytes=found.head_bytes,
        header_count=found.header_count,
        body_bytes=found.body_bytes,
        connections=found.connections,
        pipelined=found.pipelined,
        drained_bytes=found.drained_bytes,
    )


def client_timeouts(ours: KsproxydSettings) -> Timeouts:
    """The server's timeouts in the settings."""
    found = ours.timeouts
    return Timeouts(
        header=found.header,
        idle=found.idle,
        body=found.body,
        write=found.write,
        linger=found.linger,
        tls_handshake=found.tls_handshake,
    )


def upstream_timeouts(ours: KsproxydSettings) -> UpstreamTimeouts:
    """The upstream side's timeouts in the settings."""
    found = ours.timeouts
    return UpstreamTimeouts(
        connect=found.connect,
        tls_handshake=found.tls_handshake,
        response_header=found.response_header,
        upstream_idle=found.upstream_idle,
        stream_idle=found.stream_idle,
        tunnel_idle=found.tunnel_idle,
        tunnel_half_closed=found.tunnel_half_closed,
        expect_continue=found.expect_continue,
        linger=found.tunnel_linger,
    )
