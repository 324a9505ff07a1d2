"""The ``ksproxyd`` section: what ks-apiserver's file has no keys for."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from ksproxyd.settings.audit import AuditSettings
from ksproxyd.settings.authorization import RightsSettings
from ksproxyd.settings.controllers import ControllersSettings
from ksproxyd.settings.kinds import (
    ITEMS,
    Address,
    Duration,
    Endpoint,
    Flag,
    Network,
    Origin,
    Range,
    Size,
    Text,
    Token,
    TriState,
    Variable,
    Whole,
    read_text,
    seconds,
    size,
)
from ksproxyd.settings.section import Section, part, required, setting
from ksproxyd.settings.tenancy import TenancySettings


class ListenerTLS(Section):
    """TLS of a listener. The files are read again when they change and on reload."""

    cert_file: Text = required("PEM file with the certificate, followed by those that lead to its authority.")
    key_file: Text = required("PEM file with the certificate's private key, not encrypted.")
    client_ca_file: Text = setting(
        "", "PEM file with authorities of client certificates; empty: clients are not asked for one."
    )


class Listener(Section):
    """Where the gateway listens. An item of the list is a mapping, or just the text of `endpoint`."""

    shorthand: ClassVar[str] = "endpoint"
    replaced_by_shorthand: ClassVar[frozenset[str]] = frozenset({"address", "port"})

    endpoint: Endpoint = setting("", "Twisted server endpoint, such as `tcp:9090`, instead of `address` and `port`.")
    address: Address = setting("0.0.0.0", "IP address to listen on; `::` for all of IPv6.")
    port: Annotated[Whole, Range(0, 65535)] = setting(9090, "Port to listen on; 0 for any that is free.")
    tls: ListenerTLS | None = setting(None, "Certificate and key; without them the listener speaks plain HTTP.")
    proxy_protocol: Flag = setting(
        False, "Whether every connection begins with a PROXY protocol header (version 1 or 2) that names the client."
    )

    def server_endpoint(self) -> str:
        """The listener as a Twisted server endpoint description (without TLS, which the server adds)."""
        if self.endpoint:
            return self.endpoint
        kind = "tcp6" if ip_address(self.address).version == 6 else "tcp"
        interface = self.address.replace(":", "\\:")
        return f"{kind}:{self.port}:interface={interface}"


class CorsSettings(Section):
    """Cross-origin requests from browsers. Off while `allowedOrigins` is empty."""

    allowed_origins: Annotated[tuple[Origin, ...], ITEMS] = setting(
        (),
        "Origins that may ask, such as `https://console.example.org`; `https://*.apps.example.org` is every name below "
        "`apps.example.org`, `*` is any origin.",
        reload=True,
    )
    allowed_methods: Annotated[tuple[Token, ...], ITEMS] = setting(
        ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), "Methods that they may use.", reload=True
    )
    allowed_headers: Annotated[tuple[Token, ...], ITEMS] = setting(
        ("Accept", "Authorization", "Content-Type", "If-None-Match", "X-Requested-With"),
        "Request headers that they may send.",
        reload=True,
    )
    exposed_headers: Annotated[tuple[Token, ...], ITEMS] = setting(
        (), "Response headers that scripts may read.", reload=True
    )
    allow_credentials: Flag = setting(
        False, "Whether cookies and credentials may come along; not together with origin `*`.", reload=True
    )
    max_age: Annotated[Duration, seconds(0, 86400)] = setting(
        600.0, "How long a browser may remember the answer to a preflight request.", reload=True
    )


class LimitsSettings(Section):
    """How much of anything one client may use."""

    target_bytes: Annotated[Size, size(256, 2**20)] = setting(
        16384, "Longest request target; a longer one is answered 414.", reload=True
    )
    head_bytes: Annotated[Size, size(1024, 2**24)] = setting(
        131072, "Largest request line and header together; a larger one is answered 431.", reload=True
    )
    header_count: Annotated[Whole, Range(10, 10000)] = setting(
        200, "Most header fields of a request; more are answered 431.", reload=True
    )
    body_bytes: Annotated[Size, size(0)] = setting(
        0, "Largest request body; a larger one is answered 413. 0 for no limit.", reload=True
    )
    connections: Annotated[Whole, Range(1)] = setting(
        20000, "Client connections at a time; requests on further ones are answered 503.", reload=True
    )
    pipelined: Annotated[Whole, Range(1, 1000)] = setting(
        16, "Requests of one connection that are read ahead of their answers.", reload=True
    )
    drained_bytes: Annotated[Size, size(0, 2**30)] = setting(
        262144, "Unread rest of a refused request's body that is read and dropped to keep the connection.", reload=True
    )


class TimeoutsSettings(Section):
    """How long anything may take."""

    header: Annotated[Duration, seconds(0.1)] = setting(
        10.0, "From the first byte of a request to the end of its header.", reload=True
    )
    idle: Annotated[Duration, seconds(0.1)] = setting(120.0, "A client connection without a request.", reload=True)
    body: Annotated[Duration, seconds(0.1)] = setting(
        60.0, "A request body of which nothing more arrives.", reload=True
    )
    write: Annotated[Duration, seconds(0.1)] = setting(60.0, "A client that does not read its answer.", reload=True)
    drain: Annotated[Duration, seconds(0)] = setting(
        30.0, "From the signal to stop to the end of requests that are still going on.", reload=True
    )
    connect: Annotated[Duration, seconds(0.1)] = setting(10.0, "Connecting to an upstream.", reload=True)
    linger: Annotated[Duration, seconds(0)] = setting(
        2.0, "A connection that is being closed may still send for this long, so that it reads our answer.", reload=True
    )
    tunnel_linger: Annotated[Duration, seconds(0)] = setting(
        10.0, "The last bytes of a tunnel that is over.", reload=True
    )
    tls_handshake: Annotated[Duration, seconds(0.1)] = setting(
        10.0, "A TLS handshake, with a client or an upstream.", reload=True
    )
    response_header: Annotated[Duration, seconds(0.1, off=True)] = setting(
        300.0, "From the end of a request to the header of the upstream's answer; 0 for no limit.", reload=True
    )
    upstream_idle: Annotated[Duration, seconds(0)] = setting(
        90.0, "An unused connection to an upstream is kept for this long.", reload=True
    )
    stream_idle: Annotated[Duration, seconds(0.1, off=True)] = setting(
        0.0, "An upstream's response body of which nothing more arrives; 0 for no limit.", reload=True
    )
    tunnel_idle: Annotated[Duration, seconds(0.1, off=True)] = setting(
        14400.0, "A tunnel (WebSocket, SPDY) without a byte in either direction; 0 for no limit.", reload=True
    )
    tunnel_half_closed: Annotated[Duration, seconds(0.1, off=True)] = setting(
        60.0,
        "A tunnel of which one side has ended, without a byte from the other: at most `tunnelIdle`; 0 for all of that.",
        reload=True,
    )
    expect_continue: Annotated[Duration, seconds(0)] = setting(
        1.0, "Waiting for an upstream's `100 Continue` before the body is sent anyway.", reload=True
    )
    kube_request: Annotated[Duration, seconds(0.1)] = setting(
        30.0, "A request of the gateway itself to the Kubernetes API, other than a watch.", reload=True
    )
    watch_silence: Annotated[Duration, seconds(1)] = setting(
        90.0, "A watch without an event or bookmark; then it is taken for dead and begun again.", reload=True
    )
    probe: Annotated[Duration, seconds(0.1)] = setting(5.0, "A health probe of an extension.", reload=True)
    identity_provider: Annotated[Duration, seconds(0.1)] = setting(
        10.0, "A request to an identity provider, connecting included."
    )
    redis: Annotated[Duration, seconds(0.1)] = setting(
        2.0, "A request to Redis, connecting included; then it counts as unavailable."
    )
    recheck: Annotated[Duration, seconds(0.5)] = setting(
        2.0, "Interval at which watches and tunnels are looked at again: whether their users still may.", reload=True
    )
    resync: Annotated[Duration, seconds(1)] = setting(
        300.0, "Interval at which what was derived from watches is checked against them.", reload=True
    )


class PoolSettings(Section):
    """Connections to upstreams."""

    max_idle_per_target: Annotated[Whole, Range(0)] = setting(
        100, "Unused connections that are kept open to one upstream.", reload=True
    )
    max_connections_per_target: Annotated[Whole, Range(0)] = setting(
        0, "Connections to one upstream at a time; further requests wait. 0 for no limit.", reload=True
    )


class LoggingSettings(Section):
    """What is logged and how."""

    level: Annotated[Literal["debug", "info", "warn", "error", "critical"], BeforeValidator(read_text)] = setting(
        "info", "Least important level that is logged: `debug`, `info`, `warn`, `error` or `critical`.", reload=True
    )
    format: Annotated[Literal["auto", "text", "json"], BeforeValidator(read_text)] = setting(
        "auto", "`text`, `json` (one object a line), or `auto`: text on a terminal, JSON elsewhere.", reload=True
    )
    access: Annotated[Literal["errors", "all", "off"], BeforeValidator(read_text)] = setting(
        "errors",
        "Requests that are logged: `errors` (status 400 and above, and slow ones), `all` or `off`.",
        reload=True,
    )
    slow: Annotated[Duration, seconds(0)] = setting(
        5.0, "Duration from which a request is slow; 0 for never. Watches and tunnels are never slow.", reload=True
    )


class MetricsSettings(Section):
    """The Prometheus metrics at `/metrics`."""

    enabled: Flag = setting(True, "Whether metrics are served.")
    max_series: Annotated[Whole, Range(100)] = setting(
        5000, "Most series of one metric whose labels come from requests; what is beyond is counted as `other`."
    )


class ExtensionsSettings(Section):
    """APIService, ReverseProxy and JSBundle objects."""

    manage_status: TriState = setting(
        "auto", "Whether the gateway writes the status of these objects; `auto`: unless another controller does."
    )
    openapi: Flag = setting(
        True, "Whether the OpenAPI documents of extensions are merged into `/openapi/v2` and `/openapi/v3`."
    )
    probe_interval: Annotated[Duration, seconds(1)] = setting(
        10.0, "Interval of health probes for objects that ask for probes without naming one."
    )
    join_endpoint_path: Flag = setting(
        False, "Whether the path of an endpoint's URL is put in front of the request's path."
    )
    env_placeholders: Annotated[tuple[Variable, ...], ITEMS] = setting(
        (), "Environment variables that `{env.NAME}` in ReverseProxy directives may show; all others are empty."
    )


class CredentialSettings(Section):
    """How requests show who they are from."""

    anonymous: Flag = setting(True, "Whether a request without credentials is `system:anonymous`; else it is 401.")
    basic: Flag = setting(True, "Whether user name and password may come with each request (HTTP Basic).")
    groups: Flag = setting(
        True, "Whether a token's user has the groups of its User object and of GroupBindings, too, as with a password."
    )
    remembered_tokens: Annotated[Whole, Range(100)] = setting(
        10000, "Verified tokens that are remembered with their users."
    )
    believed_for: Annotated[Duration, seconds(0.1, 5)] = setting(
        0.8, "For so long a verified token is good without asking Redis again, which is how late a revocation may be."
    )
    trusted_issuers: Annotated[tuple[Text, ...], ITEMS] = setting(
        (),
        "Issuers whose tokens are accepted. Empty: `authentication.issuer.url` on the host cluster, any on a member, "
        "where the tokens are the host's.",
    )
    password_processes: Annotated[Whole, Range(0, 64)] = setting(
        0, "Processes that compare passwords. 0: one less than there are processors, but one at least and two at most."
    )
    password_queue: Annotated[Whole, Range(1)] = setting(
        256, "Passwords that may wait for such a process; with more, logins are answered 503."
    )
    password_timeout: Annotated[Duration, seconds(1, 600)] = setting(
        30.0, "Time that such a process may take over one password; then it is killed, and another one asked, once."
    )


class OAuthSettings(Section):
    """The OAuth 2.0 and OpenID Connect endpoints below `/oauth`."""

    sign_in_url: Text = setting(
        "", "Page on which people sign in, as a URL or an absolute path; empty: the gateway's own at `/oauth/login`."
    )
    code_lifetime: Annotated[Duration, seconds(1, 600)] = setting(60.0, "Lifetime of an authorization code.")
    session_lifetime: Annotated[Duration, seconds(60)] = setting(
        2592000.0, "Time after which a login cannot be refreshed any more, however active it is."
    )
    browser_session: Annotated[Duration, seconds(60)] = setting(
        28800.0, "For so long a browser that has signed in is not asked for a password again."
    )
    device_lifetime: Annotated[Duration, seconds(30, 3600)] = setting(600.0, "Lifetime of a device code.")
    device_interval: Annotated[Duration, seconds(1, 60)] = setting(
        5.0, "Time that a device waits between two questions for its token."
    )
    registration_lifetime: Annotated[Duration, seconds(30, 3600)] = setting(
        600.0, "Time in which somebody from an identity provider may create their account."
    )
    require_pkce: Flag = setting(
        False, "Whether clients with a secret need PKCE for the code flow, too; those without one always do."
    )
    implicit_flow: Flag = setting(False, "Whether `response_type=id_token` is allowed.")
    retired_keys: Annotated[tuple[Text, ...], ITEMS] = setting(
        (), "PEM files of keys that have signed id tokens before and are still published, so that those stay good."
    )


class IdentityProvidersSettings(Section):
    """What identity providers may be reached at."""

    allow_http: Flag = setting(False, "Whether providers other than LDAP may be spoken to without TLS.")
    allow_private: Flag = setting(
        True, "Whether providers may be at loopback, link-local or private addresses, as those of a company often are."
    )


class IamSettings(Section):
    """Users."""

    manage_users: TriState = setting(
        "auto",
        "Whether the gateway keeps User objects in order (password hashes, state, records of logins, what belongs to a "
        "deleted user); `auto`: unless another controller does.",
    )


class CompatSettings(Section):
    """Where ksproxyd is stricter than ks-apiserver, and clients that depend on it are not ready."""

    default_client_secret: Flag = setting(
        True, "Whether the OAuth client `kubesphere` may have the secret `kubesphere`, which everybody knows."
    )
    url_claim: Flag = setting(True, "Whether id tokens and userinfo have the user's name as `url`, besides `name`.")
    unbound_static_tokens: Flag = setting(
        False, "Whether the token of a ServiceAccount is good without the Secret that it was written to."
    )
    legacy_callback: Flag = setting(
        False, "Whether `/oauth/callback/…` answers tokens to requests that did not begin at `/oauth/login/…`."
    )
    kubesphere_token_store: Flag = setting(
        False, "Whether tokens are kept in Redis as ks-apiserver keeps them, for running beside it."
    )
    short_jwt_secret: Flag = setting(False, "Whether `authentication.issuer.jwtSecret` may be shorter than 32 bytes.")


class RedisSettings(Section):
    """How the Redis server of `cache.options` is spoken to, beyond what ks-apiserver knows."""

    username: Text = setting("", "User of the access control list; empty: the default user.")
    tls: Flag = setting(False, "Whether TLS is used.")
    ca_file: Text = setting("", "PEM file with the authorities of its certificate; empty: the system's.")
    server_name: Text = setting("", "Name that its certificate must have; empty: the host.")


class StandaloneSettings(Section):
    """The embedded Kubernetes API, for trying the gateway and for tests."""

    enabled: Flag = setting(False, "Whether the gateway runs on the embedded API instead of a cluster.")
    listen: Endpoint = setting(
        "tcp:6444:interface=127.0.0.1",
        "Twisted server endpoint of the embedded API; empty: only the gateway can use it.",
    )
    data: Text = setting("", "SQLite file that keeps the objects; empty: they are kept in memory.")
    demo: Flag = setting(False, "Whether a sample extension with its own backend is added.")
    admin_password_file: Text = setting(
        "", "File with the password of the user `admin`, made at the first start; empty: one is made up and shown."
    )


class HealthSettings(Section):
    """The health checks `/readyz`, `/livez` and `/healthz`."""

    stale_after: Annotated[Duration, seconds(1)] = setting(
        120.0,
        "Time without a sign of life after which `/readyz?verbose` calls the Kubernetes API lost. The gateway stays "
        "ready, with what it last knew.",
        reload=True,
    )


class KsproxydSettings(Section):
    """Keys of ksproxyd itself."""

    listeners: Annotated[tuple[Listener, ...], ITEMS] = setting(
        (Listener(),), "Where the gateway listens: endpoints as text, or mappings."
    )
    trusted_proxies: Annotated[tuple[Network, ...], ITEMS] = setting(
        (),
        "Networks of the proxies in front of the gateway: what they say about a client is believed, "
        "what anybody else says is not.",
        reload=True,
    )
    state_dir: Text = setting(
        "", "Directory for what outlives the process, such as `admin.kubeconfig`; empty for none."
    )
    cors: CorsSettings = part(CorsSettings)
    limits: LimitsSettings = part(LimitsSettings)
    timeouts: TimeoutsSettings = part(TimeoutsSettings)
    pool: PoolSettings = part(PoolSettings)
    logging: LoggingSettings = part(LoggingSettings)
    metrics: MetricsSettings = part(MetricsSettings)
    health: HealthSettings = part(HealthSettings)
    extensions: ExtensionsSettings = part(ExtensionsSettings)
    credentials: CredentialSettings = part(CredentialSettings)
    oauth: OAuthSettings = part(OAuthSettings)
    identity_providers: IdentityProvidersSettings = part(IdentityProvidersSettings)
    iam: IamSettings = part(IamSettings)
    controllers: ControllersSettings = part(ControllersSettings)
    authorization: RightsSettings = part(RightsSettings)
    audit: AuditSettings = part(AuditSettings)
    tenancy: TenancySettings = part(TenancySettings)
    redis: RedisSettings = part(RedisSettings)
    compat: CompatSettings = part(CompatSettings)
    standalone: StandaloneSettings = part(StandaloneSettings)
