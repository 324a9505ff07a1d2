"""What can go wrong between us and a backend, in words that may be shown to a client.

The words never hold an address or a resolver's answer: the inner network is nobody's business. The details go to
the log.
"""

from __future__ import annotations

import ssl

from twisted.internet import error
from twisted.python.failure import Failure


class UpstreamError(Exception):
    """A request could not be carried out.

    ``kind`` is one of ``connect``, ``tls``, ``timeout``, ``protocol``, ``closed``, ``cancelled``; ``message`` is for
    the client; ``detail`` is for the log.
    """

    def __init__(self, kind: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.detail = detail or message


def connect_error(failure: Failure) -> UpstreamError:
    """A failed connection attempt, for :attr:`UpstreamError.message` of a 502 or 504."""
    reason = failure.value
    detail = f"{type(reason).__name__}: {reason}"
    if isinstance(reason, UpstreamError):
        return reason
    if isinstance(reason, error.ConnectionRefusedError):
        return UpstreamError("connect", "connection refused", detail)
    if isinstance(reason, error.DNSLookupError):
        return UpstreamError("connect", "the upstream's host name does not resolve", detail)
    if isinstance(reason, (error.TimeoutError, error.TCPTimedOutError)):
        return UpstreamError("timeout", "connecting timed out", detail)
    if isinstance(reason, error.NoRouteError):
        return UpstreamError("connect", "no route to the upstream", detail)
    if isinstance(reason, ssl.SSLError):
        return tls_error(reason)
    return UpstreamError("connect", "the connection could not be made", detail)


def tls_error(reason: ssl.SSLError) -> UpstreamError:
    """A failed handshake. What a certificate lacks is worth telling; it holds no address."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        text = reason.verify_message
        if "mismatch" in text.lower():
            text = "it is not valid for the upstream's name"
        return UpstreamError("tls", f"the upstream's certificate was not accepted: {text}", str(reason))
    text = (getattr(reason, "reason", None) or "error").lower().replace("_", " ")
    return UpstreamError("tls", f"TLS with the upstream failed: {text}", str(reason))
