"""A gateway that records to a webhook in memory, and what the webhook was sent."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any

from ksproxyd.testing import Answer, Backend, Conversation, MemoryGateway, Request
from ksproxyd.testing.backend import answer

SETTINGS = """
authorization: {mode: %(mode)s}
authentication:
  multipleLogin: true
  issuer: {url: "https://ks.test", jwtSecret: 0123456789012345678901234567890123456789}
multicluster: {clusterRole: host}
auditing:
  enable: true
  auditLevel: %(level)s
  eventBatchSize: %(batch)s
  webhookOptions: {webhookUrl: "http://audit.example:8080/receive?x=1", eventSendersNum: %(senders)s}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
%(more)s
"""

RECEIVER = "http://audit.example:8080"


def objects(body: bytes) -> list[Any]:
    """JSON objects back to back."""
    found, text, at = [], body.decode(), 0
    while at < len(text):
        value, at = json.JSONDecoder().raw_decode(text, at)
        found.append(value)
    return found


class Recorded:
    """The gateway (``gateway``) and the webhook's backend (``receiver``). A context manager."""

    def __init__(
        self,
        level: str = "Metadata",
        *,
        mode: str = "AlwaysAllow",
        more: str = "",
        batch: int = 1,
        senders: int = 100,
        embedded: bool = True,
        environ: dict[str, str] | None = None,
    ) -> None:
        text = SETTINGS % {"level": level, "mode": mode, "more": more, "batch": batch, "senders": senders}
        surroundings = environ or {"HOSTNAME": "ks-apiserver-0", "POD_IP": "10.0.0.7"}
        self.gateway = MemoryGateway(text, environ=surroundings, embedded=embedded)
        self.receiver = self.gateway.serve(RECEIVER, Backend(self._receive))
        #: What the receiver answers; 0: nothing.
        self.status = 200

    def _receive(self, _: Conversation, request: Request) -> bytes | None:
        return answer(self.status, b"") if self.status else None

    def request(self, method: str, target: str, body: Any = None, *headers: tuple[bytes, bytes], **more: Any) -> Answer:
        """A request with a JSON body, or with bytes as they are."""
        sent = list(headers)
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None and not any(name.lower() == b"content-type" for name, _ in sent):
            sent.append((b"Content-Type", b"application/json"))
        return self.gateway.request(method, target, sent, content, **more)

    def events(self, settle: float = 0.0) -> list[Any]:
        """Every event that was received, in the order of batches."""
        if settle:
            self.gateway.wait(settle)
        self.gateway.reactor.settle()
        return [event for request in self.receiver.complete for event in objects(request.body)]

    def one(self, **wanted: Any) -> Any:
        """The one event that has these values."""
        found = [event for event in self.events() if all(event[key] == value for key, value in wanted.items())]
        assert len(found) == 1, [(event["Verb"], event["RequestURI"], event["Stage"]) for event in self.events()]
        return found[0]

    def __enter__(self) -> Recorded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.gateway.close()
