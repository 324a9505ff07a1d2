"""Asks the backend of an extension object whether it is well, for the object's ``status.state``.

Only objects with an active health check (``spec.healthCheck.active``) are asked for: the author has said how.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ksproxyd.state.store import Object
from ksproxyd.state.validation import API_SERVICE, REVERSE_PROXY, field
from ksproxyd.tree.endpoint import EndpointError, resolve
from ksproxyd.tree.policy import parse_policy
from ksproxyd.upstream.client import Answer, Client
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.health import PROBE_ANSWER_BYTES, ActiveCheck

_WHERE = {API_SERVICE: ("spec",), REVERSE_PROXY: ("spec", "upstream")}


class StatusProbe:
    """A :data:`ksproxyd.state.probing.Probe`. ``timeout`` (seconds) is that of checks which name none."""

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    def __call__(self, kind: str, value: Object) -> Deferred[str] | None:
        """Send one probe; fires with why the backend is not well, empty if it is. None where none is asked for."""
        where = _WHERE.get(kind)
        if where is None:
            return None
        annotations = field(value, "metadata", "annotations")
        policy = parse_policy(field(value, "spec"), annotations, timeout=self._timeout)
        check = policy.protection.active
        if check is None:
            return None
        try:
            target = resolve(field(value, *where)).target
        except EndpointError:
            # It is reported as such, and no probe would say it better.
            return None
        headers = [(b"User-Agent", b"ksproxyd-probe"), (b"Accept", b"*/*")]
        if check.hostname:
            headers.append((b"Host", check.hostname.encode("ascii")))
        asked = self._client.request(
            target,
            check.method.encode("ascii"),
            check.path.encode("ascii"),
            headers,
            timeout=check.timeout,
            limit=PROBE_ANSWER_BYTES,
        )
        return asked.addCallbacks(_judged, _failed, callbackArgs=(check,))


def _judged(answer: Answer, check: ActiveCheck) -> str:
    return "" if check.expects(answer.status) else f"{check.method} {check.path} is answered {answer.status}"


def _failed(failure: Failure) -> str:
    failure.trap(UpstreamError)
    error: Any = failure.value
    return f"{error.kind}: {error.detail}"
