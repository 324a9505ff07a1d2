"""The sections that ks-apiserver's configuration file has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr

from ksproxyd.settings.kinds import (
    Flag,
    GoDuration,
    Number,
    Range,
    Secret,
    Text,
    Whole,
    read_text,
    seconds,
    zero_means,
)
from ksproxyd.settings.section import Section, part, setting

#: Sections of the same file that belong to other components; whatever they hold is passed over.
FOREIGN_SECTIONS = frozenset({"composedApp", "extension", "helmExecutor", "kubeconfig", "kubesphere"})

_NO_SECRET = SecretStr("")


class KubernetesSettings(Section):
    """How the Kubernetes API server is reached."""

    kubeconfig: Text = setting(
        "",
        "Path of the kubeconfig file. Empty: `$HOME/.kube/config` if that file exists, otherwise the service account "
        "of the pod.",
    )
    master: Text = setting("", "Address of the API server, in place of the one that the kubeconfig names.")
    qps: Annotated[Number, Range(0)] = setting(1e6, "Requests a second to the API server by the gateway itself.")
    burst: Annotated[Whole, Range(0)] = setting(1_000_000, "Requests above `qps` that may be sent in one go.")


class CacheOptions(Section):
    """Options of the cache: `cleanupPeriod` is for `InMemoryCache`, the others are for `redis`."""

    cleanup_period: Annotated[GoDuration, seconds(0), zero_means(7200.0)] = setting(
        7200.0, "How often expired entries are removed from memory; 0 means 2h."
    )
    host: Text = setting("", "Host of the Redis server. Required for `redis`.")
    port: Annotated[Whole, Range(0, 65535)] = setting(0, "Port of the Redis server. Required for `redis`.")
    password: Secret = setting(_NO_SECRET, "Password of the Redis server.")
    password_file: Text = setting("", "File that holds the password, instead of `password`.")
    db: Annotated[Whole, Range(0)] = setting(0, "Number of the Redis database.")


class CacheSettings(Section):
    """Where what replicas must share is kept: tokens, revocations, login state."""

    type: Annotated[Literal["InMemoryCache", "redis"], BeforeValidator(read_text)] = setting(
        "InMemoryCache", "`InMemoryCache` (each replica has its own) or `redis`."
    )
    options: CacheOptions = part(CacheOptions)


class IssuerSettings(Section):
    """The issuer of tokens."""

    url: Text = setting("", "URL that tokens and the OpenID discovery document name as their issuer.")
    jwt_secret: Secret = setting(
        _NO_SECRET, "Key of the HMAC that signs tokens, at least 32 bytes. While it is empty no token can be verified."
    )
    jwt_secret_file: Text = setting("", "File that holds the key, instead of `jwtSecret`.")
    sign_key: Text = setting("", "PEM file with the RSA key that signs id tokens. Wins over `signKeyData`.")
    sign_key_data: Secret = setting(_NO_SECRET, "The same key in the configuration: base64 of the PEM text.")
    access_token_max_age: Annotated[GoDuration, seconds(0)] = setting(
        7200.0, "Lifetime of an access token; 0 means that it does not expire."
    )
    access_token_inactivity_timeout: Annotated[GoDuration, seconds(0)] = setting(
        7200.0, "How much longer than the access token a refresh token lives."
    )
    maximum_clock_skew: Annotated[GoDuration, seconds(0)] = setting(
        10.0, "How far the clock of another issuer may be ahead."
    )


class AuthenticationSettings(Section):
    """Who a request is from."""

    authenticate_rate_limiter_max_tries: Annotated[Whole, Range(0)] = setting(
        5, "Failed logins within `authenticateRateLimiterDuration` after which an account is locked."
    )
    authenticate_rate_limiter_duration: Annotated[GoDuration, seconds(0)] = setting(
        1800.0, "Time in which failed logins are counted, and for which an account stays locked."
    )
    login_history_retention_period: Annotated[GoDuration, seconds(0)] = setting(
        604800.0, "How long login records are kept."
    )
    login_history_maximum_entries: Annotated[Whole, Range(0)] = setting(
        100, "Login records kept for each user; not less than `authenticateRateLimiterMaxTries`."
    )
    multiple_login: Flag = setting(False, "Whether a user may be logged in more than once at a time.")
    issuer: IssuerSettings = part(IssuerSettings)


class AuthorizationSettings(Section):
    """What a request may do."""

    mode: Annotated[Literal["AlwaysDeny", "AlwaysAllow", "RBAC"], BeforeValidator(read_text)] = setting(
        "RBAC", "`RBAC`, `AlwaysAllow` or `AlwaysDeny`."
    )


class MulticlusterSettings(Section):
    """This cluster's place among others."""

    cluster_role: Text = setting("", "`host`, `member`, or empty.")
    cluster_name: Text = setting("", "Name of this cluster.")
    host_cluster_name: Text = setting("host", "Name of the cluster that the alias `host` stands for.")
    proxy_publish_service: Text = setting("", "Service through which agents of member clusters connect.")
    proxy_publish_address: Text = setting("", "Address that agents of member clusters connect to.")
    chart_path: Text = setting("", "Path of the chart that is installed in member clusters.")
    agent_image: Text = setting("kubesphere/tower:v1.0", "Image of the agent in member clusters.")
    cluster_controller_resync_period: Annotated[GoDuration, seconds(0)] = setting(
        900.0, "How often the state of member clusters is looked at again."
    )


class AuditWebhookSettings(Section):
    """Audit events over HTTP."""

    webhook_url: Text = setting("", "URL that audit events are sent to; empty for none.")
    event_senders_num: Annotated[Whole, Range(0), zero_means(100)] = setting(
        100, "Batches that may be on their way at once; 0 means 100."
    )


class AuditLogSettings(Section):
    """Audit events in a file."""

    path: Text = setting("", "File that audit events are written to; empty for none.")
    max_age: Annotated[Whole, Range(0), zero_means(7)] = setting(7, "Days that old files are kept; 0 means 7.")
    max_backups: Annotated[Whole, Range(0), zero_means(10)] = setting(10, "Old files that are kept; 0 means 10.")
    max_size: Annotated[Whole, Range(0), zero_means(100)] = setting(
        100, "Megabytes after which a new file is begun; 0 means 100."
    )


class AuditingSettings(Section):
    """The record of who did what."""

    enable: Flag = setting(False, "Whether audit events are made.")
    audit_level: Annotated[
        Literal["None", "Metadata", "Request", "RequestResponse"],
        BeforeValidator(lambda value: read_text(value) or "Metadata"),
    ] = setting("Metadata", "`None`, `Metadata`, `Request` or `RequestResponse`; empty means `Metadata`.")
    event_batch_size: Annotated[Whole, Range(0), zero_means(100)] = setting(100, "Events in one batch; 0 means 100.")
    event_batch_interval: Annotated[GoDuration, seconds(0), zero_means(3.0)] = setting(
        3.0, "How long a batch waits to become full; 0 means 3s."
    )
    webhook_options: AuditWebhookSettings = part(AuditWebhookSettings)
    log_options: AuditLogSettings = part(AuditLogSettings)


class S3Settings(Section):
    """Object storage for application packages."""

    endpoint: Text = setting("", "Address of the object storage; empty for none.")
    region: Text = setting("us-east-1", "Region of the bucket.")
    disable_ssl: Flag = setting(True, "Whether the storage is spoken to without TLS.")
    force_path_style: Flag = setting(True, "Whether the bucket is named in the path instead of the host.")
    access_key_id: Text = setting("", "Access key.")
    secret_access_key: Secret = setting(_NO_SECRET, "Secret of the access key.")
    secret_access_key_file: Text = setting("", "File that holds the secret, instead of `secretAccessKey`.")
    session_token: Secret = setting(_NO_SECRET, "Token of a temporary session.")
    session_token_file: Text = setting("", "File that holds the token, instead of `sessionToken`.")
    bucket: Text = setting("s2i-binaries", "Name of the bucket.")


class ExperimentalSettings(Section):
    """Options of the Kubernetes passthrough."""

    validation_directive: Text = setting(
        "",
        "`fieldValidation` of writes that do not choose one themselves: `Ignore`, `Warn` or `Strict`; empty for none.",
    )
