"""YAML and environment become checked settings.

:func:`load_file` reads the configuration file of ks-apiserver, with a section ``ksproxyd`` of our own in it, and
returns frozen :class:`Settings` or raises :class:`SettingsError` with everything that is wrong, each with its line.
"""

from __future__ import annotations

from ksproxyd.settings.daemon import (
    CompatSettings,
    CorsSettings,
    CredentialSettings,
    ExtensionsSettings,
    HealthSettings,
    IamSettings,
    IdentityProvidersSettings,
    KsproxydSettings,
    LimitsSettings,
    Listener,
    ListenerTLS,
    LoggingSettings,
    MetricsSettings,
    OAuthSettings,
    PoolSettings,
    RedisSettings,
    StandaloneSettings,
    TimeoutsSettings,
)
from ksproxyd.settings.difference import Change, diff
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
from ksproxyd.settings.loader import SEARCH_PATH, Loaded, defaults, find_file, load_file, load_text
from ksproxyd.settings.model import Settings
from ksproxyd.settings.overrides import Override
from ksproxyd.settings.problems import Problem, SettingsError
from ksproxyd.settings.rendering import render
from ksproxyd.settings.terminal import KubectlSettings, NodeShellSettings, RecordingSettings, TerminalSettings

__all__ = [
    "SEARCH_PATH",
    "AuditingSettings",
    "AuthenticationSettings",
    "AuthorizationSettings",
    "CacheSettings",
    "Change",
    "CompatSettings",
    "CorsSettings",
    "CredentialSettings",
    "ExperimentalSettings",
    "ExtensionsSettings",
    "HealthSettings",
    "IamSettings",
    "IdentityProvidersSettings",
    "KsproxydSettings",
    "KubectlSettings",
    "KubernetesSettings",
    "LimitsSettings",
    "Listener",
    "ListenerTLS",
    "Loaded",
    "LoggingSettings",
    "MetricsSettings",
    "MulticlusterSettings",
    "NodeShellSettings",
    "OAuthSettings",
    "Override",
    "PoolSettings",
    "Problem",
    "RecordingSettings",
    "RedisSettings",
    "S3Settings",
    "Settings",
    "SettingsError",
    "StandaloneSettings",
    "TerminalSettings",
    "TimeoutsSettings",
    "defaults",
    "diff",
    "find_file",
    "load_file",
    "load_text",
    "render",
]
