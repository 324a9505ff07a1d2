"""What the tests of identity providers share: Secrets, a web of canned answers, waiting without waiting."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.providers.registry import make
from ksproxyd.authn.providers.trust import Trust
from ksproxyd.authn.providers.web import WebAnswer


def secret(document: Any, name: str = "idp", created: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    """The Secret with a document: text, or what becomes YAML."""
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    return {
        "metadata": {
            "name": name,
            "namespace": "kubesphere-system",
            "creationTimestamp": created,
            "labels": {"config.kubesphere.io/type": "identityprovider"},
        },
        "type": "config.kubesphere.io/identityprovider",
        "data": {"configuration.yaml": base64.b64encode(text.encode()).decode()},
        **more,
    }


class CannedWeb:
    """Answers by the beginning of the address; keeps what was asked. An exception is raised."""

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self.answers: dict[str, Any] = dict(answers or {})
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = []

    async def get(self, url: str, trust: Trust, headers: Mapping[str, str] | None = None) -> WebAnswer:
        return self._answer("GET", url, {}, headers or {})

    async def post(
        self, url: str, trust: Trust, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> WebAnswer:
        return self._answer("POST", url, form, headers or {})

    def _answer(self, method: str, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> WebAnswer:
        self.asked.append((method, url, dict(form), dict(headers)))
        found = [key for key in self.answers if url.startswith(key)]
        if not found:
            raise ProviderError("unavailable", f"{url}: connection refused")
        answer = self.answers[max(found, key=len)]
        if callable(answer):
            answer = answer(url, dict(form), dict(headers))
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return WebAnswer(status, "application/json", raw)


def provider(kind: str, options: dict[str, Any], web: Any = None, **more: Any) -> Any:
    """A provider named ``corp``. Raises :class:`BadConfiguration`."""
    found = Configuration("corp", kind, more.pop("mapping", "auto"), options=options)
    made, _ = make(found, provider_means(web, **more))
    return made


def provider_means(web: Any = None, **more: Any) -> Means:
    values: dict[str, Any] = {
        "reactor": Clock(),
        "dialer": None,
        "web": web or CannedWeb(),
        "timeout": 10.0,
        "http": False,
        "callback": lambda name: f"https://ks.test/oauth/callback/{name}",
        **more,
    }
    return Means(**values)


def result_of(coroutine: Any) -> Any:
    """What a coroutine comes to that waits for nothing; raises its error."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    assert found, "it waits for something"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


def error_of(coroutine: Any, kind: str = "") -> ProviderError:
    """The error that a coroutine ends with."""
    try:
        found = result_of(coroutine)
    except ProviderError as error:
        assert not kind or error.kind == kind, (error.kind, error.message)
        return error
    raise AssertionError(f"there is no error but {found!r}")
