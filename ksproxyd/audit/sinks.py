"""The sinks that the settings ask for."""

from __future__ import annotations

import ssl
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ksproxyd.audit.event import Place
from ksproxyd.audit.file import FileSink, Writable
from ksproxyd.audit.form import kubesphere_writer
from ksproxyd.audit.kube_events import KubeEvents
from ksproxyd.audit.kubernetes_form import kubernetes_writer
from ksproxyd.audit.queue import Bounds, Queue
from ksproxyd.audit.rotation import Output, RotatingFile
from ksproxyd.audit.webhook import Webhook, framing
from ksproxyd.audit.writing import Writing
from ksproxyd.kube.client import KubeClient
from ksproxyd.settings import Settings
from ksproxyd.settings.kubesphere import AuditingSettings
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.target import Target, TrustPolicy, client_context

_MEGABYTE = 1024 * 1024


class AuditProblem(Exception):
    """Auditing cannot do what the settings ask for; the message is one line that says why and what to do."""


class Sink(Protocol):
    """Where events end."""

    name: str
    failures: int

    @property
    def queue(self) -> Queue: ...
    @property
    def in_flight(self) -> int: ...

    def stop(self, seconds: float) -> Deferred[None]: ...


class Means:
    """What sinks are made of."""

    def __init__(
        self,
        clock: IReactorTime,
        client: Client,
        kube: KubeClient,
        in_thread: Callable[..., Deferred[Any]],
        random: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.client = client
        self.kube = kube
        self.in_thread = in_thread
        self.random = random


def sinks(settings: Settings, place: Place, means: Means) -> tuple[list[Sink], Writing]:
    """Every sink of the settings, and what writes for them. Raises :class:`AuditProblem`."""
    ours = settings.ksproxyd.audit
    form = kubernetes_writer if ours.format == "kubernetes" else kubesphere_writer
    writing = Writing(form(place), means.clock)
    return list(_sinks(settings, writing, means)), writing


def _sinks(settings: Settings, writing: Writing, means: Means) -> Iterator[Sink]:
    auditing, ours = settings.auditing, settings.ksproxyd.audit
    bounds = Bounds(
        events=ours.queue.events,
        bytes=ours.queue.bytes,
        batch=auditing.event_batch_size,
        batch_bytes=ours.queue.batch_bytes,
        interval=auditing.event_batch_interval,
    )
    if auditing.webhook_options.webhook_url:
        target, path, headers = receiver(settings)
        yield Webhook(
            means.clock,
            means.client,
            target,
            path,
            writing,
            framing(ours.webhook.framing, ours.format),
            bounds,
            auditing.webhook_options.event_senders_num,
            ours.webhook,
            means.random,
            headers,
        )
    if auditing.log_options.path:
        yield FileSink(means.clock, _file(auditing), writing, bounds, means.in_thread, means.random)
    if ours.kubernetes_events != "none":
        yield KubeEvents(means.clock, means.kube, ours.kubernetes_events, ours.kubernetes_events_rate)


def receiver(settings: Settings) -> tuple[Target, bytes, list[tuple[bytes, bytes]]]:
    """The target, path and header fields of the webhook. Raises :class:`AuditProblem`."""
    url = settings.auditing.webhook_options.webhook_url
    where = "auditing.webhookOptions.webhookUrl"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("ascii")
        path = ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("ascii")
    except ValueError:
        raise AuditProblem(f"{where} is not a URL; write it as https://host:port/path") from None
    if parts.scheme not in ("http", "https") or not host:
        raise AuditProblem(f"{where} must be an http or https URL with a host, such as https://host:port/path")
    trust = _trust(settings) if parts.scheme == "https" else None
    target = Target(parts.scheme, host, port or (443 if trust is not None else 80), trust)
    headers = []
    if parts.username is not None:
        known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append((b"Authorization", b"Basic " + b64encode(known.encode())))
    return target, path, headers


def _trust(settings: Settings) -> TrustPolicy:
    ours = settings.ksproxyd.audit.webhook
    pem = None
    if ours.ca_file:
        try:
            pem = Path(ours.ca_file).read_bytes()
        except OSError as error:
            raise AuditProblem(f"ksproxyd.audit.webhook.caFile cannot be read: {error}") from error
    trust = TrustPolicy(ca_pem=pem, insecure=ours.insecure)
    try:
        client_context(trust)
    except (ssl.SSLError, ValueError) as error:
        raise AuditProblem(f"ksproxyd.audit.webhook.caFile {ours.ca_file} has no usable certificate") from error
    return trust


def _file(auditing: AuditingSettings) -> Writable:
    options = auditing.log_options
    if options.path == "-":
        # Twisted replaces sys.stdout by a file that logs; the original stays in __stdout__.
        return Output(1 if sys.__stdout__ is None else sys.__stdout__.fileno())
    return RotatingFile(
        Path(options.path), options.max_size * _MEGABYTE, options.max_backups, options.max_age, time.time
    )
