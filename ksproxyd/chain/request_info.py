"""First step: what the request is about (spec 01, 1.5 and 2).

KubeSphere's host-to-member hop goes through the Kubernetes service proxy, which drops ``Authorization`` and, for
upgrades, the query; the hop carries them in fields of its own. They are believed on a member cluster and from trusted
proxies, and from nobody else (D44); :mod:`ksproxyd.upstream.headers` drops them in any case. The hop also spells
``dryRun`` in lower case, and so do clients that have learnt it from ks-apiserver: to the Kubernetes API that would be
a parameter which it does not know, and the write would be done.
"""

from __future__ import annotations

import re

from ksproxyd.chain import Step
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import bad_request
from ksproxyd.server.exchange import Exchange

# What the server lets into a request target; a field's value may hold more, such as the space that ends one.
_QUERY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@/%?\[\]|{}^`-]*")


def request_info_step(member: bool) -> Step:
    """The step, for a cluster whose role is member or not."""

    def plain(exchange: Exchange) -> None:
        if exchange.trusted:
            take_hop_fields(exchange)
        head = exchange.head
        info = head.info
        if info is None or exchange.query is not head.query:
            info = classify(exchange.method, exchange.path, exchange.query)
            if b"dryrun" in exchange.query and info.is_kubernetes:
                exchange.route(exchange.path, rename_dry_run(exchange.query, b"dryrun", b"dryRun"))
            elif exchange.query is head.query:
                # The head alone has said it, and nothing was made of it.
                head.info = info
        exchange.info = info

    def on_member(exchange: Exchange) -> None:
        take_hop_fields(exchange)
        exchange.info = classify(exchange.method, exchange.path, exchange.query)

    return on_member if member else plain


def take_hop_fields(exchange: Exchange) -> None:
    """Undo what the host's dispatcher did to get through a service proxy. Raises a 400 for what is no query."""
    fields = exchange.fields
    credentials = fields.get(b"x-kubesphere-authorization")
    if credentials is not None and not (fields.get(b"authorization") or b"").strip():
        fields.replace(b"Authorization", credentials)
    query = fields.get(b"x-kubesphere-rawquery")
    if query and not exchange.query:
        if _QUERY.fullmatch(query) is None:
            raise bad_request("X-KubeSphere-Rawquery has a character that must be percent-encoded")
        exchange.route(exchange.path, query)
    if b"dryrun" in exchange.query:
        exchange.route(exchange.path, rename_dry_run(exchange.query, b"dryrun", b"dryRun"))


def rename_dry_run(query: bytes, old: bytes, new: bytes) -> bytes:
    """``query`` with the parameter ``old`` called ``new``; nothing but that key is touched (D45)."""
    pairs = []
    for pair in query.split(b"&"):
        key, mark, value = pair.partition(b"=")
        pairs.append(new + mark + value if key == old else pair)
    return b"&".join(pairs)
