"""All sections of the configuration file."""

from __future__ import annotations

from ksproxyd.settings.daemon import KsproxydSettings
from ksproxyd.settings.kubesphere import (
    AuditingSettings,
    AuthenticationSettings,
    AuthorizationSettings,
    CacheSettings,
    ExperimentalSettings,
    KubernetesSettings,
    MulticlusterSettings,
    S3Settings,
)
from ksproxyd.settings.section import Section, part
from ksproxyd.settings.terminal import TerminalSettings


class Settings(Section):
    """The whole configuration: the sections of ks-apiserver, and ksproxyd's own.

    Immutable and comparable. A loaded one has its secrets read from their files.
    """

    kubernetes: KubernetesSettings = part(KubernetesSettings)
    cache: CacheSettings = part(CacheSettings)
    authentication: AuthenticationSettings = part(AuthenticationSettings)
    authorization: AuthorizationSettings = part(AuthorizationSettings)
    multicluster: MulticlusterSettings = part(MulticlusterSettings)
    auditing: AuditingSettings = part(AuditingSettings)
    terminal: TerminalSettings = part(TerminalSettings)
    s3: S3Settings = part(S3Settings)
    experimental: ExperimentalSettings = part(ExperimentalSettings)
    ksproxyd: KsproxydSettings = part(KsproxydSettings)
