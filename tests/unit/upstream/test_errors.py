"""What clients are told when a backend cannot be reached: what is wrong, and nothing of the inner network."""

from __future__ import annotations

import ssl

import pytest
from twisted.internet import error
from twisted.python.failure import Failure

from ksproxyd.upstream.errors import UpstreamError, connect_error, tls_error

ADDRESS = "10.9.8.7"


@pytest.mark.parametrize(
    ("reason", "kind", "message"),
    [
        (error.ConnectionRefusedError(ADDRESS), "connect", "connection refused"),
        (error.DNSLookupError(f"lookup x on {ADDRESS}"), "connect", "the upstream's host name does not resolve"),
        (error.TimeoutError(ADDRESS), "timeout", "connecting timed out"),
        (error.TCPTimedOutError(ADDRESS), "timeout", "connecting timed out"),
        (error.NoRouteError(ADDRESS), "connect", "no route to the upstream"),
        (error.ConnectError(ADDRESS), "connect", "the connection could not be made"),
        (OSError(24, f"too many open files {ADDRESS}"), "connect", "the connection could not be made"),
        (ValueError(ADDRESS), "connect", "the connection could not be made"),
        (ssl.SSLError(1, f"[X] {ADDRESS}"), "tls", "TLS with the upstream failed: error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_failed_attempts(reason: Exception, kind: str, message: str) -> None:
    found = connect_error(Failure(reason))
    assert (found.kind, found.message, str(found)) == (kind, message, message)
    assert ADDRESS not in found.message
    # The log gets it all.
    assert ADDRESS in found.detail


def test_what_is_known_already_stays() -> None:
    known = UpstreamError("closed", "it was closed", "by 10.9.8.7")
    assert connect_error(Failure(known)) is known
    assert UpstreamError("closed", "it was closed").detail == "it was closed"


def verification(text: str) -> ssl.SSLCertVerificationError:
    reason = ssl.SSLCertVerificationError(1, f"verify failed {ADDRESS}")
    reason.verify_message = text
    return reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("certificate has expired", "certificate has expired"),
        ("self-signed certificate", "self-signed certificate"),
        (f"Hostname mismatch, certificate is not valid for '{ADDRESS}'.", "it is not valid for the upstream's name"),
        (f"IP address mismatch, certificate is not valid for '{ADDRESS}'.", "it is not valid for the upstream's name"),
    ],
)
def test_certificates(text: str, told: str) -> None:
    found = tls_error(verification(text))
    assert found.kind == "tls"
    assert found.message == f"the upstream's certificate was not accepted: {told}"
    assert ADDRESS in found.detail
