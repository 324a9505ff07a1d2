"""Getting a connection to a backend, plain and TLS: every way in which it fails, and what the client is told."""

from __future__ import annotations

import ssl

import pytest
from support_gate import OK, Gate, ok, take_head

from ksproxyd.testing import Authority
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.target import Target, TrustPolicy

AUTHORITY = Authority()
STRANGER = Authority("somebody else")
GOOD = AUTHORITY.issue("backend.example")


def https(trust: TrustPolicy, host: str = "backend.example", port: int = 443) -> Target:
    return Target("https", host, port, trust)


TRUSTING = TrustPolicy(ca_pem=AUTHORITY.pem)


def refused(gate: Gate, status: int) -> str:
    """Send a request; returns the message of the refusal."""
    client = gate.get()
    gate.wait(30.0)
    answer = client.answer()
    assert answer.status == status
    assert client.nothing_more()
    assert gate.pool.size == 0
    return answer.message().removeprefix("Error while proxying request: ")


# -- plain -----------------------------------------------------------------------------------------------------


def test_refused() -> None:
    with Gate() as gate:
        gate.dialer.refusing.add(("backend.example", 80))
        assert refused(gate, 502) == "connection refused"
        assert (gate.pool.dials, gate.pool.dial_failures) == (1, 1)


def test_unknown_host() -> None:
    with Gate() as gate:
        gate.dialer._backends.clear()
        # Neither the name nor what the resolver said: the inner network is nobody's business.
        assert refused(gate, 502) == "the upstream's host name does not resolve"


def test_silent_host() -> None:
    with Gate(timeouts=UpstreamTimeouts(connect=3.0)) as gate:
        gate.dialer.silent.add(("backend.example", 80))
        assert refused(gate, 504) == "connecting timed out"


def test_client_leaves_while_connecting() -> None:
    with Gate() as gate:
        gate.dialer.silent.add(("backend.example", 80))
        client = gate.get()
        assert gate.pool.size == 1
        client.close()
        assert gate.pool.size == 0
        # Whoever gives up has not failed.
        assert gate.pool.dial_failures == 0
        assert [exchange.status for exchange in gate.finished] == [499]


def test_a_body_that_breaks_off_while_connecting_is_a_bad_request() -> None:
    with Gate() as gate:
        gate.dialer.silent.add(("backend.example", 80))
        client = gate.connect()
        client.send(b"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        answer = client.answer()
        assert answer.status == 400
        assert client.nothing_more()
        assert gate.pool.size == 0


# -- TLS -------------------------------------------------------------------------------------------------------


def test_verified() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.get()
        assert gate.peer.secured
        assert gate.peer.tls is not None
        assert gate.peer.tls.selected_alpn_protocol() == "http/1.1"
        take_head(gate.peer)
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"
        assert gate.pool.idle == 1


BAD = [
    ("unknown-authority", https(TrustPolicy(ca_pem=STRANGER.pem)), GOOD, "unable to get local issuer certificate"),
    ("system-roots", https(TrustPolicy()), GOOD, "unable to get local issuer certificate"),
    ("wrong-name", https(TRUSTING, "other.example"), GOOD, "it is not valid for the upstream's name"),
    ("expired", https(TRUSTING), AUTHORITY.issue("backend.example", expired=True), "certificate has expired"),
    ("client-certificate", https(TRUSTING), AUTHORITY.issue("backend.example", client=True), "certificate purpose"),
    ("wrong-server-name", https(TrustPolicy(ca_pem=AUTHORITY.pem, server_name="x.example")), GOOD, "it is not valid"),
    ("address-for-a-name", https(TRUSTING, "192.0.2.80"), GOOD, "it is not valid for the upstream's name"),
]


@pytest.mark.parametrize(("target", "shown", "why"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_certificate_is_not_accepted(target: Target, shown: object, why: str) -> None:
    with Gate(target, tls=shown.server_context()) as gate:  # type: ignore[attr-defined]
        message = refused(gate, 502)
        assert message.startswith("the upstream's certificate was not accepted: ")
        assert why in message
        # Not a byte of the request was sent.
        assert gate.backend.peers[0].received == b""
        assert gate.pool.dial_failures == 1


def test_insecure_accepts_anything() -> None:
    target = https(TrustPolicy(insecure=True), "whoever.example")
    with Gate(target, tls=STRANGER.issue("backend.example", expired=True).server_context()) as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


def test_server_name_is_sent_and_verified_instead_of_the_host() -> None:
    asked: list[str | None] = []
    context = AUTHORITY.issue("inner.example").server_context()
    context.sni_callback = lambda _, name, __: asked.append(name)  # type: ignore[assignment]
    trust = TrustPolicy(ca_pem=AUTHORITY.pem, server_name="inner.example")
    with Gate(https(trust, "192.0.2.80"), tls=context) as gate:
        client = gate.get()
        assert b"\r\nHost: 192.0.2.80\r\n" in take_head(gate.peer)
        gate.peer.send(ok(b"fine"))
        assert client.answer().status == 200
        assert asked == ["inner.example"]


def test_address_is_verified_as_one() -> None:
    with Gate(https(TRUSTING, "192.0.2.80"), tls=AUTHORITY.issue("192.0.2.80").server_context()) as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine"))
        assert client.answer().status == 200


def _with_client_certificates() -> ssl.SSLContext:
    context = GOOD.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=AUTHORITY.pem.decode("ascii"))
    return context


def test_client_certificate_is_shown() -> None:
    shown = AUTHORITY.issue("gateway", client=True)
    trust = TrustPolicy(ca_pem=AUTHORITY.pem, client_cert_pem=shown.certificate, client_key_pem=shown.key)
    with Gate(https(trust), tls=_with_client_certificates()) as gate:
        client = gate.get()
        assert gate.peer.tls is not None
        assert gate.peer.tls.getpeercert() is not None
        gate.peer.send(ok(b"fine"))
        assert client.answer().status == 200


def test_client_certificate_is_missing() -> None:
    with Gate(https(TRUSTING), tls=_with_client_certificates()) as gate:
        message = refused(gate, 502)
        assert message.startswith("TLS with the upstream failed: ")


def test_old_tls_is_refused() -> None:
    context = GOOD.server_context()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Gate(https(TRUSTING), tls=context) as gate:
        assert refused(gate, 502).startswith("TLS with the upstream failed: ")


def test_plain_server_on_a_tls_port() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        _serve_raw(gate)
        client = gate.get()
        gate.peer.send(ok(b"hello"))
        assert client.answer().message() == (
            "Error while proxying request: TLS with the upstream failed: wrong version number"
        )
        assert gate.pool.size == 0


def _serve_raw(gate: Gate) -> None:
    """Let the backend's TLS be in the test's hands, too."""
    gate.dialer._backends[gate.target.host, gate.target.port] = (gate.backend, None)


def test_handshake_without_an_answer() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context(), timeouts=UpstreamTimeouts(tls_handshake=3.0)) as gate:
        _serve_raw(gate)
        assert refused(gate, 504) == "the TLS handshake with the upstream timed out"
        assert gate.peer.reset


@pytest.mark.parametrize("way", ["finish", "cut"])
def test_handshake_is_broken_off(way: str) -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        _serve_raw(gate)
        client = gate.get()
        getattr(gate.peer, way)()
        answer = client.answer()
        assert answer.status == 502
        assert answer.message().endswith("the connection was lost during the handshake")
        assert gate.pool.size == 0


def test_client_leaves_during_the_handshake() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        _serve_raw(gate)
        client = gate.get()
        assert gate.pool.size == 1
        client.close()
        assert gate.pool.size == 0
        assert gate.peer.reset
        assert gate.pool.dial_failures == 0


def test_trust_that_cannot_be_loaded() -> None:
    """Checked where it is configured, but that must not be relied on for more than a message."""
    with Gate(https(TrustPolicy(ca_pem=b"nothing")), tls=GOOD.server_context()) as gate:
        assert refused(gate, 502) == "TLS with the upstream cannot be set up"


def test_broken_record() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.get()
        gate.peer._unsent += b"\x17\x03\x03\x00\x20" + bytes(32)
        gate.reactor.settle()
        assert client.answer().status == 502
        assert not gate.peer.open


def test_body_until_the_end_of_a_tls_connection() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.get()
        gate.peer.send(OK + b"\r\nfine")
        gate.peer.finish()
        assert client.answer().body == b"fine"
        assert gate.pool.size == 0


def test_body_until_the_end_without_close_notify_is_truncated() -> None:
    """RFC 9112, 9.8: anybody on the line may have ended it."""
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.get()
        gate.peer.send(OK + b"\r\nfine")
        gate.peer.truncate()
        assert client.next_answer() is None
        assert client.partial is not None
        assert client.partial.body == b"fine"
        assert client.reset


def test_complete_answer_without_close_notify_is_complete() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine", b"Connection: close"))
        gate.peer.truncate()
        assert client.answer().body == b"fine"
        assert gate.pool.size == 0


def test_answer_and_goodbye_in_one_piece() -> None:
    """A pipelined request that began on the connection in between is sent again on another."""
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.connect()
        client.send(b"GET /1 HTTP/1.1\r\nHost: g\r\n\r\nGET /2 HTTP/1.1\r\nHost: g\r\n\r\n")
        first = gate.peer
        assert first.tls is not None
        first.tls.write(ok(b"one"))
        first._notify()
        first._unsent += first._outgoing.read()
        gate.reactor.settle()
        assert client.answer().body == b"one"
        assert len(gate.backend.peers) == 2
        gate.peer.send(ok(b"two"))
        assert client.answer().body == b"two"
        assert gate.proxy.retries == 1


def test_two_answers_in_two_records_of_one_piece() -> None:
    with Gate(https(TRUSTING), tls=GOOD.server_context()) as gate:
        client = gate.connect()
        client.send(b"GET /1 HTTP/1.1\r\nHost: g\r\n\r\nGET /2 HTTP/1.1\r\nHost: g\r\n\r\n")
        first = gate.peer
        assert first.tls is not None
        first.tls.write(ok(b"one"))
        first.tls.write(ok(b"EVIL"))
        first._unsent += first._outgoing.read()
        gate.reactor.settle()
        assert client.answer().body == b"one"
        assert len(gate.backend.peers) == 2
        gate.peer.send(ok(b"two"))
        assert client.answer().body == b"two"
        assert client.nothing_more()
