"""The record of who did what, beyond the keys of ``auditing``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from ksproxyd.settings.kinds import ITEMS, Duration, Flag, Range, Size, Text, Whole, read_text, seconds, size
from ksproxyd.settings.section import Section, part, setting


class AuditQueueSettings(Section):
    """What waits to be sent. Each sink has a queue of its own; what finds it full is dropped and counted."""

    events: Annotated[Whole, Range(100)] = setting(10000, "Most events that wait for one sink.")
    bytes: Annotated[Size, size(2**20)] = setting(
        32 * 2**20, "Most memory that events waiting for one sink may take, roughly."
    )
    batch_bytes: Annotated[Size, size(2**16)] = setting(
        2**20, "Largest batch, beside `auditing.eventBatchSize`; a single event may be larger."
    )
    flush: Annotated[Duration, seconds(0)] = setting(
        5.0, "How long the end of the gateway waits for events that are not sent yet.", reload=True
    )


class AuditDeliverySettings(Section):
    """How events are posted to `auditing.webhookOptions.webhookUrl`."""

    framing: Annotated[Literal["auto", "concatenated", "lines", "list"], BeforeValidator(read_text)] = setting(
        "auto",
        "How the events of a batch are put together: `concatenated` (one JSON object right behind the other, as "
        "ks-apiserver does), `lines` (one object a line), `list` (an `EventList`, or an array for `kubesphere`); "
        "`auto`: `concatenated` for the format `kubesphere`, `list` for `kubernetes`.",
    )
    timeout: Annotated[Duration, seconds(0.1)] = setting(
        10.0, "How long the receiver may take for a batch.", reload=True
    )
    ca_file: Text = setting("", "PEM file with the authorities of the receiver's certificate; empty: the system's.")
    insecure: Flag = setting(False, "Whether the receiver's certificate is not verified, as ks-apiserver never does.")
    retry_first: Annotated[Duration, seconds(0.05)] = setting(
        0.5, "Wait after the first failure; it doubles with each that follows.", reload=True
    )
    retry_most: Annotated[Duration, seconds(0.1)] = setting(
        15.0, "Longest wait between two attempts while the receiver does not take events.", reload=True
    )
    give_up: Annotated[Duration, seconds(0)] = setting(
        3600.0, "Age at which a batch that is not taken is dropped; 0 for never.", reload=True
    )
    refusals: Annotated[Whole, Range(1)] = setting(
        5, "Attempts at a batch that the receiver refuses (4xx), after which it is dropped.", reload=True
    )


class AuditSettings(Section):
    """Audit events."""

    format: Annotated[Literal["kubesphere", "kubernetes"], BeforeValidator(read_text)] = setting(
        "kubesphere", "The form of events: `kubesphere`, or `kubernetes` for `audit.k8s.io/v1`."
    )
    body_bytes: Annotated[Size, size(0, 2**23)] = setting(
        64 * 2**10, "Largest body that is recorded; of a larger one only the size is.", reload=True
    )
    omit_paths: Annotated[tuple[Text, ...], ITEMS] = setting(
        ("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/metrics"),
        "Paths that no events are made of, unless the request is answered 401 or 403; a `*` at the end is anything.",
        reload=True,
    )
    kubernetes_events: Annotated[Literal["none", "denied", "writes"], BeforeValidator(read_text)] = setting(
        "none",
        "Which requests also become Event objects of Kubernetes: `none`, those that were `denied`, or `writes` and "
        "those that were denied.",
    )
    kubernetes_events_rate: Annotated[Whole, Range(1, 1000)] = setting(
        5, "Most Event objects that are written in a second."
    )
    queue: AuditQueueSettings = part(AuditQueueSettings)
    webhook: AuditDeliverySettings = part(AuditDeliverySettings)
