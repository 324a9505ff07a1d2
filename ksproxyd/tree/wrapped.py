"""The wrapped transport on the data path: what a backend is told of the outside, and its links (spec 01, 6.6)."""

from __future__ import annotations

from ksproxyd.model.message import Fields
from ksproxyd.server.client_address import client_facing
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree.links import LinkRewriter
from ksproxyd.upstream.plan import Answer
from ksproxyd.upstream.target import Target

#: The fields that :meth:`WrappedTransport.request_lines` writes, for :attr:`Plan.drop`: nobody else's go along.
OWN_FIELDS = frozenset([b"x-forwarded-uri", b"x-forwarded-host", b"x-forwarded-proto"])


class WrappedTransport:
    """Hooks for a :class:`~ksproxyd.upstream.plan.Plan` to ``target``, which is reached below ``prefix``.

    Where the client has put a cluster's name in front of its path, links lead there again: they stay below
    ``/clusters/<name>``, whichever of its names that was.
    """

    def __init__(self, prefix: bytes, target: Target) -> None:
        self._prefix = prefix
        hosts = {target.authority, f"{target.host}:{target.port}"}
        self._internal = frozenset(host.encode("ascii") for host in hosts)

    def _rewriter(self, exchange: Exchange) -> LinkRewriter:
        scheme, host = client_facing(exchange)
        prefix = self._prefix
        cluster = exchange.info.cluster
        if cluster:
            prefix = b"/clusters/" + cluster.encode() + prefix
        return LinkRewriter(prefix, self._internal, host, scheme)

    def request_lines(self, exchange: Exchange, target: bytes) -> bytes:
        """``X-Forwarded-Uri``, ``-Host`` and ``-Proto``, for :attr:`Plan.more`. The first not for upgrades.

        What follows an upgrade has no links, but an origin that the backend may want to compare with the host.
        """
        fields = self._rewriter(exchange).request_fields(target.partition(b"?")[0])
        if exchange.upgrade is not None:
            fields = [field for field in fields if field[0] != b"X-Forwarded-Uri"]
        return b"".join(name + b": " + value + b"\r\n" for name, value in fields)

    def on_answer(self, exchange: Exchange, answer: Answer) -> None:
        """Bring links back to the gateway, for :attr:`Plan.on_answer`."""
        fields = Fields()
        fields.items = answer.items
        answer.body = self._rewriter(exchange).response(exchange.method, answer.status, fields)
        answer.items = fields.items
