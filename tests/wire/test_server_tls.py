"""TLS towards clients: what is agreed on, how it ends, and how it fails."""

from __future__ import annotations

import ssl
import warnings

import pytest
from support_server import Later, body_back, get, path_back, post

from ksproxyd.model.message import Response
from ksproxyd.server.certificates import Certificate, server_context
from ksproxyd.server.exchange import Exchange
from ksproxyd.testing import Authority, MemoryServer

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("gateway.example")


def serving(handle: object = path_back) -> MemoryServer:
    return MemoryServer(handle, tls=ISSUED.server_context())  # type: ignore[arg-type]


def test_requests_and_answers() -> None:
    with serving(body_back) as server:
        client = server.connect(tls=AUTHORITY.client_context())
        assert client.secured
        assert client.tls is not None
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        for body in (b"", b"hello", b"x" * 1_000_000):
            client.send(post(body))
            assert client.answer().body == body
        assert all(exchange.secure for exchange in server.finished)


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_in_pieces(at_once: int) -> None:
    # The bytes of the records in pieces, not those of the request.
    with serving() as server:
        client = server.connect(tls=AUTHORITY.client_context(), capacity=at_once)
        client.send(get("/1") + get("/2"))
        assert [client.answer().body, client.answer().body] == [b"/1", b"/2"]


def test_the_goodbye_comes_before_the_end() -> None:
    with serving() as server:
        client = server.connect(tls=AUTHORITY.client_context())
        client.send(get("/", "Connection: close"))
        assert client.answer().body == b"/"
        assert client.notified, "without close_notify the client cannot tell the end from a cut"
        assert not client.reset


def test_the_goodbye_of_a_refusal_that_lingers() -> None:
    with serving() as server:
        client = server.connect(tls=AUTHORITY.client_context())
        client.send(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 50_000)
        client.send(b"x" * 50_000)
        assert client.answer().status == 400
        assert client.notified
        assert not client.reset
        client.finish()
        assert not client.transport.connected
        assert server.server.counters.tls_failures == 0


def test_a_client_that_says_goodbye() -> None:
    later = Later()
    with serving(later) as server:
        idle, busy = (server.connect(tls=AUTHORITY.client_context()) for _ in range(2))
        busy.send(get())
        idle.finish()
        busy.finish()
        assert idle.notified
        assert not idle.reset
        assert later.gone == later.exchanges
        assert server.server.counters.tls_failures == 0


def test_a_client_whose_line_is_cut() -> None:
    later = Later()
    with serving(later) as server:
        idle, busy = (server.connect(tls=AUTHORITY.client_context()) for _ in range(2))
        busy.send(get())
        idle.truncate()
        busy.truncate()
        assert not idle.transport.connected
        assert not busy.transport.connected
        assert later.gone == later.exchanges


def test_plain_http_on_a_tls_port() -> None:
    with serving() as server:
        client = server.connect()
        client.send(get())
        assert not client.transport.connected
        assert not server.handled
        assert server.server.counters.tls_failures == 1


@pytest.mark.parametrize("junk", [b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"\x17\x03\x03\x00\x10" + b"x" * 16])
def test_junk_before_the_handshake(junk: bytes) -> None:
    with serving() as server:
        client = server.connect()
        client.send(junk)
        assert not client.transport.connected
        assert server.server.counters.tls_failures == 1


def test_junk_behind_the_handshake() -> None:
    later = Later()
    with serving(later) as server:
        client = server.connect(tls=AUTHORITY.client_context())
        client.send(get())
        client._unsent += b"\x17\x03\x03\x00\x20" + b"x" * 32
        server.reactor.settle()
        assert not client.transport.connected
        assert later.gone == later.exchanges
        assert server.server.counters.tls_failures == 1


@pytest.mark.parametrize("leave", ["cut", "truncate"])
def test_a_handshake_that_breaks_off(leave: str) -> None:
    with serving() as server:
        hello = ssl.MemoryBIO()
        engine = AUTHORITY.client_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="gateway.example")
        with pytest.raises(ssl.SSLWantReadError):
            engine.do_handshake()
        client = server.connect()
        client.send(hello.read()[:-20])
        getattr(client, leave)()
        assert not client.transport.connected
        assert not server.server.connections


def test_old_versions_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = AUTHORITY.client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with MemoryServer(path_back, tls=_from_files()) as server:
        client = server.connect(tls=old)
        assert not client.secured
        assert client.tls_error is not None
        assert not client.transport.connected
        new = AUTHORITY.client_context()
        new.maximum_version = ssl.TLSVersion.TLSv1_2
        client = server.connect(tls=new)
        client.send(get())
        assert client.answer().status == 200


def _from_files() -> ssl.SSLContext:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return server_context(*ISSUED.write(Path(folder)))


def test_http_2_is_not_offered() -> None:
    with MemoryServer(path_back, tls=_from_files()) as server:
        client = server.connect(tls=AUTHORITY.client_context(protocols=("h2", "http/1.1")))
        assert client.tls is not None
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        client = server.connect(tls=AUTHORITY.client_context(protocols=("h2",)))
        client.send(get())
        assert client.answer().status == 200, "a client that ignores what was agreed on is still served"


def test_a_new_certificate_counts_for_new_connections(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    with MemoryServer(path_back) as server:
        files = AUTHORITY.issue("gateway.example").write(folder)
        certificate = Certificate(
            *files, "", server.reactor, lambda context: setattr(server.server, "tls_context", context)
        )
        server.server.tls_context = certificate.context
        certificate.start()

        def shown() -> bytes:
            assert client.tls is not None
            found = client.tls.getpeercert(binary_form=True)
            assert found is not None
            return found

        client = server.connect(tls=AUTHORITY.client_context())
        before = shown()
        old = client
        AUTHORITY.issue("gateway.example").write(folder)
        server.wait(6)
        client = server.connect(tls=AUTHORITY.client_context())
        assert shown() != before
        for connection in (old, client):
            connection.send(get())
            assert connection.answer().status == 200
        certificate.stop()


def test_early_data_of_the_same_flight_is_read() -> None:
    # TLS 1.2: the client's Finished and its first request may come in one piece.
    context = AUTHORITY.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving() as server:
        client = server.connect()
        client.write(get("/at-once"))
        client._unsealed += client._unsent
        client._unsent.clear()
        client.start_tls(context, server_side=False, server_name="gateway.example")
        server.reactor.settle()
        assert client.answer().body == b"/at-once"


def test_an_answer_that_is_cut() -> None:
    def handle(exchange: Exchange) -> None:
        exchange.start(200, [], None)
        exchange.write(b"some of it")
        exchange.abort()

    with serving(handle) as server:
        client = server.connect(tls=AUTHORITY.client_context())
        client.send(get())
        assert client.reset
        assert not client.notified


def test_a_large_answer_and_the_next_request_meanwhile() -> None:
    with serving(lambda exchange: exchange.respond(Response(200, (), b"x" * 3_000_000))) as server:
        client = server.connect(tls=AUTHORITY.client_context())
        client.reading = False
        client.write(get() + get())
        client.reading = True
        server.reactor.settle()
        assert len(client.answer().body) == 3_000_000
        assert len(client.answer().body) == 3_000_000
