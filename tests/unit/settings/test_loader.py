"""What is loaded, and how everything that is wrong with a file is reported at once."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from ksproxyd.settings import (
    Listener,
    Loaded,
    Settings,
    SettingsError,
    defaults,
    find_file,
    load_file,
    load_text,
)

KEY = "0123456789abcdef0123456789abcdef"


def load(text: str) -> Loaded:
    return load_text(text, "x.yaml", {})


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in load(text).warnings if warning.path != "authentication.issuer.jwtSecret"]


def test_an_empty_file_has_the_defaults() -> None:
    assert load("").settings == defaults() == Settings()


def test_what_the_defaults_are() -> None:
    own = defaults().ksproxyd
    assert [listener.server_endpoint() for listener in own.listeners] == ["tcp:9090:interface=0.0.0.0"]
    assert (own.limits.target_bytes, own.limits.head_bytes) == (16384, 131072)
    assert (own.timeouts.header, own.timeouts.tunnel_idle, own.timeouts.stream_idle) == (10.0, 14400.0, 0.0)
    assert (own.cors.allowed_origins, own.trusted_proxies, own.standalone.enabled) == ((), (), False)
    assert own.timeouts.tunnel_half_closed == 60.0
    assert defaults().authorization.mode == "RBAC"


def test_a_file_of_ks_apiserver() -> None:
    loaded = load(
        f"""
authentication:
  authenticateRateLimiterMaxTries: 10
  authenticateRateLimiterDuration: 10m0s
  multipleLogin: true
  issuer:
    url: "http://console.example.org:30880"
    jwtSecret: "{KEY}"
    accessTokenMaxAge: 0
s3:
  endpoint: ""
  disableSSL: false
  accessKeyID: key
multicluster:
  clusterRole: "host"
kubeconfig:
  authMode: client-certificate
terminal:
  uploadFileLimit: 50Mi
helmExecutor:
  timeout: 10m
  resources: {{limits: {{cpu: 500m}}}}
extension:
  imageRegistry: ""
composedApp:
  appSelector: ""
kubesphere:
  tls: false
auditing:
  logOptions: {{maxAge: 0, maxSize: 5}}
"""
    )
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.authentication.authenticate_rate_limiter_max_tries == 10
    assert settings.authentication.authenticate_rate_limiter_duration == 600.0
    assert settings.authentication.issuer.jwt_secret.get_secret_value() == KEY
    assert settings.authentication.issuer.access_token_max_age == 0.0
    assert (settings.s3.disable_ssl, settings.s3.access_key_id) == (False, "key")
    assert settings.terminal.upload_file_limit == 50 * 2**20
    assert (settings.auditing.log_options.max_age, settings.auditing.log_options.max_size) == (7, 5)
    assert settings.kubernetes.qps == 1e6


def test_the_own_section() -> None:
    own = load(
        """
ksproxyd:
  listeners:
  - tcp:80:interface=127.0.0.1
  - address: "::"
    port: 8443
  - endpoint: systemd:domain=INET:index=0
    proxyProtocol: true
  trustedProxies: [10.0.0.0/8, 192.0.2.7, "2001:db8::/32"]
  cors: {allowedOrigins: ["HTTPS://Console.Example.org:443", "http://[2001:db8::1]:8080"], maxAge: 1h}
  limits: {headBytes: 64Ki, bodyBytes: 1e6, headerCount: 1e2}
  timeouts: {idle: 1m30s, streamIdle: 0}
  extensions: {manageStatus: false, envPlaceholders: [REGION]}
  logging: {access: off, level: warn}
"""
    ).settings.ksproxyd
    assert own.listeners == (
        Listener(endpoint="tcp:80:interface=127.0.0.1"),
        Listener(address="::", port=8443),
        Listener(endpoint="systemd:domain=INET:index=0", proxy_protocol=True),
    )
    assert own.listeners[1].server_endpoint() == "tcp6:8443:interface=\\:\\:"
    assert own.trusted_proxies == (
        IPv4Network("10.0.0.0/8"),
        IPv4Network("192.0.2.7/32"),
        IPv6Network("2001:db8::/32"),
    )
    assert own.cors.allowed_origins == ("https://console.example.org", "http://[2001:db8::1]:8080")
    assert (own.limits.head_bytes, own.limits.body_bytes, own.limits.header_count) == (65536, 1000000, 100)
    assert (own.timeouts.idle, own.timeouts.stream_idle, own.cors.max_age) == (90.0, 0.0, 3600.0)
    assert own.extensions.manage_status is False
    assert own.extensions.env_placeholders == ("REGION",)
    assert (own.logging.access, own.logging.level) == ("off", "warn")


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("true", True), ("'false'", False)])
def test_three_states(text: str, value: object) -> None:
    assert (
        load(f"ksproxyd: {{extensions: {{manageStatus: {text}}}}}").settings.ksproxyd.extensions.manage_status is value
    )


@pytest.mark.parametrize("text", ["t", "T", "1", "true", "TRUE", "True", '"true"'])
def test_flags_are_those_of_go(text: str) -> None:
    assert load(f"authentication: {{multipleLogin: {text}}}").settings.authentication.multiple_login is True


def test_keys_of_ks_apiserver_have_no_case() -> None:
    text = """
MULTICLUSTER: {hostclustername: h}
KSPROXYD: {limits: {pipelined: 3}}
S3: {DisableSSL: false}
Helmexecutor: 1
"""
    settings = load(text).settings
    assert (settings.multicluster.host_cluster_name, settings.s3.disable_ssl) == ("h", False)
    assert settings.ksproxyd.limits.pipelined == 3
    assert warnings(text) == []


def test_text_is_what_stands_there() -> None:
    assert load("multicluster: {clusterName: 007, hostClusterName: yes}").settings.multicluster.cluster_name == "007"


def test_nothing_is_the_default() -> None:
    assert (
        load("cache:\n  type:\n  options: ~\nauditing:\nksproxyd: {limits: , stateDir: null, listeners: }").settings
        == Settings()
    )


def test_empty_means_the_default_where_ks_apiserver_says_so() -> None:
    auditing = load('auditing: {auditLevel: "", eventBatchSize: 0, eventBatchInterval: 0s}').settings.auditing
    assert (auditing.audit_level, auditing.event_batch_size, auditing.event_batch_interval) == ("Metadata", 100, 3.0)
    assert load("cache: {options: {cleanupPeriod: 0}}").settings.cache.options.cleanup_period == 7200.0


OWN = [
    ("limits: {headBytes: abc}", 'limits.headBytes: found "abc", expected a number of bytes such as 131072 or 128Ki'),
    ("limits: {headBytes: 10}", "limits.headBytes: found 10, expected a value from 1Ki to 16Mi"),
    ("limits: {pipelined: 1.5}", "limits.pipelined: found 1.5, expected a whole number"),
    ("limits: {pipelined: 010}", "limits.pipelined: found 010, expected a whole number"),
    ("limits: {pipelined: \u0661}", 'limits.pipelined: found "\u0661", expected a whole number'),
    ("limits: {pipelined: 1e999}", 'limits.pipelined: found "1e999", expected a whole number'),
    ("limits: {pipelined: [1]}", "limits.pipelined: found a list, expected a whole number"),
    ("limits: [1]", "limits: found a list, expected a mapping"),
    ("limits: 3", "limits: found 3, expected a mapping"),
    ("timeouts: {idle: 5}", "timeouts.idle: found 5, expected a duration with a unit such as 500ms, 10s or 1h30m"),
    ("timeouts: {idle: 1ms}", 'timeouts.idle: found "1ms", expected a value of at least 100ms'),
    ("timeouts: {idle: -5s}", 'timeouts.idle: found "-5s", expected a value of at least 100ms'),
    (
        "timeouts: {tunnelHalfClosed: 1ms}",
        'timeouts.tunnelHalfClosed: found "1ms", expected a value of at least 100ms (or 0 for off)',
    ),
    (
        "timeouts: {tunnelIdle: 1ms}",
        'timeouts.tunnelIdle: found "1ms", expected a value of at least 100ms (or 0 for off)',
    ),
    ("logging: {level: loud}", 'logging.level: found "loud", expected debug, info, warn, error or critical'),
    ("metrics: {enabled: yes}", 'metrics.enabled: found "yes", expected true or false'),
    ("extensions: {manageStatus: maybe}", 'extensions.manageStatus: found "maybe", expected auto, true or false'),
    (
        "extensions: {envPlaceholders: [a b]}",
        'extensions.envPlaceholders[0]: found "a b", expected the name of an environment variable such as REGION',
    ),
    ("extensions: {envPlaceholders: A}", 'extensions.envPlaceholders: found "A", expected a list'),
    ("trustedProxies: [10.0.0.1/8]", 'trustedProxies[0]: found "10.0.0.1/8", expected the network 10.0.0.0/8'),
    (
        "trustedProxies: [10.0.0.0/8, any]",
        'trustedProxies[1]: found "any", expected a network such as 10.0.0.0/8 or 2001:db8::/32, or an address',
    ),
    ("trustedProxies: [null]", "trustedProxies[0]: found nothing, expected a network such as 10.0.0.0/8"),
    ("listeners: []", "listeners: found an empty list, expected at least one listener"),
    ("listeners: [{port: 65536}]", "listeners[0].port: found 65536, expected a value from 0 to 65535"),
    (
        "listeners: [{address: localhost}]",
        'listeners[0].address: found "localhost", expected an IP address such as 0.0.0.0 or ::',
    ),
    ("listeners: [[]]", "listeners[0]: found a list, expected a mapping or text"),
    ("listeners: [~]", "listeners[0]: found nothing, expected a mapping or text"),
    (
        "listeners: [9090]",
        "listeners[0].endpoint: found 9090, expected a Twisted endpoint such as tcp:9090:interface=127.0.0.1",
    ),
    ("listeners: {port: 1}", "listeners: found a mapping, expected a list"),
    (
        "listeners: [{endpoint: 'tcp:1', port: 2}]",
        "listeners[0]: found both, expected either endpoint, or address and port",
    ),
    (
        "listeners: [{port: 1}, 'tcp:1:interface=0.0.0.0']",
        'listeners[1]: found "tcp:1:interface=0.0.0.0", as listener 0 has, expected each address and port once',
    ),
    (
        "listeners: [{tls: {certFile: c}}]",
        "listeners[0].tls.keyFile: found nothing, expected a value: the key is required here",
    ),
    ("listeners: [{tls: x}]", 'listeners[0].tls: found "x", expected a mapping'),
    (
        "cors: {allowedOrigins: [example.org]}",
        'cors.allowedOrigins[0]: found "example.org", expected an origin such as https://console.example.org or '
        "https://*.apps.example.org, or *",
    ),
    (
        "cors: {allowedMethods: ['a b']}",
        'cors.allowedMethods[0]: found "a b", expected a method or header name without spaces',
    ),
    (
        "cors: {allowedOrigins: ['*'], allowCredentials: true}",
        "cors.allowCredentials: found true, "
        "expected false while allowedOrigins has *: any site could act as its visitors",
    ),
    (
        "limits: {targetBytes: 64Ki, headBytes: 32Ki}",
        "limits.targetBytes: found 65536, expected at most headBytes, which is 32768",
    ),
    (
        "limits: {headByte: 1}",
        "limits.headByte: found an unknown key, expected a key that exists, did you mean headBytes?",
    ),
    (
        "limits: {headbytes: 1}",
        "limits.headbytes: found an unknown key, expected a key that exists, did you mean headBytes?",
    ),
    ("metrics: {zzz: 1}", "metrics.zzz: found an unknown key, expected one of enabled, maxSeries"),
    (
        "listeners: [{prot: 1}]",
        "listeners[0].prot: found an unknown key, expected a key that exists, did you mean port?",
    ),
    ("stateDir: {a: 1}", "stateDir: found a mapping, expected text"),
]


@pytest.mark.parametrize(("text", "problem"), OWN)
def test_problems_of_the_own_section(text: str, problem: str) -> None:
    assert problems(f"# a comment\nksproxyd:\n  {text}\n") == [f"x.yaml:3: ksproxyd.{problem}"]


@pytest.mark.parametrize(
    "origin",
    [
        *("https://", "ftp://a", "https://a/", "https://a/b", "https://a?", "https://a#", "https://u@a", "https://a:b"),
        *("https://a:99999", "https://[::1", "https://a b", "https://a:", "null", "https://*.a", "//a", "https:a"),
    ],
)
def test_origins_that_are_none(origin: str) -> None:
    assert len(problems(f"ksproxyd: {{cors: {{allowedOrigins: ['{origin}']}}}}")) == 1


KUBESPHERE = [
    ("authorization: {mode: rbac}", 'authorization.mode: found "rbac", expected AlwaysDeny, AlwaysAllow or RBAC'),
    ("cache: {type: memcached}", 'cache.type: found "memcached", expected InMemoryCache or redis'),
    (
        "auditing: {auditLevel: All}",
        'auditing.auditLevel: found "All", expected None, Metadata, Request or RequestResponse',
    ),
    (
        "terminal: {uploadFileLimit: lots}",
        'terminal.uploadFileLimit: found "lots", expected a number of bytes such as 131072 or 128Ki',
    ),
    ("kubernetes: {qps: fast}", 'kubernetes.qps: found "fast", expected a number'),
    (
        "kubernetes: {kubeconfig: /nonexistent/config}",
        'kubernetes.kubeconfig: found "/nonexistent/config", expected the path of a file that exists',
    ),
    (
        "cache: {type: redis, options: {port: 1}}",
        "cache.options.host: found nothing, expected the host of the Redis server",
    ),
    (
        "cache: {type: redis, options: {host: h}}",
        "cache.options.port: found nothing, expected the port of the Redis server, usually 6379",
    ),
    (
        "authentication: {authenticateRateLimiterMaxTries: 101}",
        "authentication.authenticateRateLimiterMaxTries: found 101, "
        "expected at most loginHistoryMaximumEntries, which is 100",
    ),
    (
        "authentication: {issuer: {accessTokenMaxAge: -1s}}",
        'authentication.issuer.accessTokenMaxAge: found "-1s", expected a value of at least 0s',
    ),
    (
        "authentication: {issuer: {signKey: /nonexistent}}",
        'authentication.issuer.signKey: found "/nonexistent", expected the path of a file that exists',
    ),
    (
        "multicluster: {clusterName: a, clustername: b}",
        'multicluster.clusterName: found the key again, expected it once (line 1 has "clusterName")',
    ),
]


@pytest.mark.parametrize(("text", "problem"), KUBESPHERE)
def test_problems_of_the_sections_of_ks_apiserver(text: str, problem: str) -> None:
    assert problems(text) == [f"x.yaml:1: {problem}"]


def test_a_kubeconfig_does_not_matter_to_the_embedded_kubernetes() -> None:
    load("kubernetes: {kubeconfig: /nonexistent/config}\nksproxyd: {standalone: {enabled: true}}")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "nonsense: {a: [1]}",
            "nonsense: found an unknown key, expected one of kubernetes, cache, "
            "authentication, authorization, multicluster, auditing, terminal, s3, experimental, ksproxyd",
        ),
        ("ksproxy: {}", "ksproxy: found an unknown key, expected a key that exists, did you mean ksproxyd?"),
        (
            "cache: {option: {}}",
            "cache.option: found an unknown key, expected a key that exists, did you mean options?",
        ),
        (
            "authentication: {issuer: {maximumClockSkew: 10}}",
            "authentication.issuer.maximumClockSkew: found 10, "
            "expected a duration with a unit such as 10m: without one it is nanoseconds",
        ),
        (
            "multicluster: {clusterRole: none}",
            'multicluster.clusterRole: found "none", expected host, member or nothing: it counts as nothing',
        ),
        (
            "experimental: {validationDirective: strict}",
            'experimental.validationDirective: found "strict", '
            "expected Ignore, Warn, Strict or nothing: it is sent to Kubernetes as it is",
        ),
    ],
)
def test_warnings(text: str, warning: str) -> None:
    assert warnings(text) == [f"x.yaml:1: {warning}"]


def test_nanoseconds() -> None:
    issuer = load("authentication: {issuer: {maximumClockSkew: 5000000000}}").settings.authentication.issuer
    assert issuer.maximum_clock_skew == 5.0


def test_a_quoted_number_is_no_duration() -> None:
    assert len(problems('authentication: {issuer: {maximumClockSkew: "10"}}')) == 1


def test_everything_is_reported_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """\
authorization: {mode: rbac}
authentication:
  authenticateRateLimiterMaxTries: 1000
  issuer: {jwtSecretFile: /nonexistent}
ksproxyd:
  limits: {headByte: 1, pipelined: x}
  limits: {}
  listeners: [{port: x}, {port: 1}, {port: 1}, [], {tls: {certFile: [], keyFile: b}}]
  trustedProxies: [a, 10.0.0.0/8, b]
  cors: {allowedOrigins: ["*"], allowCredentials: true}
  timeouts: 3
cache: {type: redis}
"""
    )
    assert [line.split(": found")[0] for line in found] == [
        "x.yaml:1: authorization.mode",
        "x.yaml:3: authentication.authenticateRateLimiterMaxTries",
        "x.yaml:4: authentication.issuer.jwtSecretFile",
        "x.yaml:6: ksproxyd.limits.headByte",
        "x.yaml:6: ksproxyd.limits.pipelined",
        "x.yaml:7",
        "x.yaml:8: ksproxyd.listeners[0].port",
        "x.yaml:8: ksproxyd.listeners[2]",
        "x.yaml:8: ksproxyd.listeners[3]",
        "x.yaml:8: ksproxyd.listeners[4].tls.certFile",
        "x.yaml:9: ksproxyd.trustedProxies[0]",
        "x.yaml:9: ksproxyd.trustedProxies[2]",
        "x.yaml:10: ksproxyd.cors.allowCredentials",
        "x.yaml:11: ksproxyd.timeouts",
        "x.yaml:12: cache.options.host",
        "x.yaml:12: cache.options.port",
    ]


def test_nothing_is_said_that_only_follows_from_another_problem() -> None:
    assert len(problems("authentication: {authenticateRateLimiterMaxTries: 200, loginHistoryMaximumEntries: x}")) == 1
    assert len(problems("ksproxyd: {listeners: [{port: x}, 'tcp:9090:interface=0.0.0.0']}")) == 1
    assert len(problems("ksproxyd: {limits: {headBytes: x, targetBytes: 512Ki}}")) == 1
    assert len(problems("ksproxyd: {cors: {allowCredentials: true, allowedOrigins: ['*', x]}}")) == 1


def test_the_same_port_may_be_any_free_one_twice() -> None:
    load("ksproxyd: {listeners: [{port: 0}, {port: 0}]}")


def test_long_and_odd_values_stay_on_one_short_line() -> None:
    line = problems(f'ksproxyd: {{stateDir: , limits: {{pipelined: "a\\n{"b" * 500}"}}}}')[0]
    assert "\n" not in line and len(line) < 200 and '"a\\nbbb' in line


def test_odd_keys_are_quoted() -> None:
    assert problems('ksproxyd: {"a\\nb": 1}')[0].startswith('x.yaml:1: ksproxyd."a\\nb": found an unknown key')


def test_settings_cannot_be_changed_and_can_be_compared() -> None:
    settings = defaults()
    with pytest.raises(ValueError, match="frozen"):
        settings.ksproxyd.limits.pipelined = 3
    assert hash(settings) == hash(Settings())


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("multicluster: {clusterName: a}\n")
    assert load_file(path, {}).settings.multicluster.cluster_name == "a"
    assert load_file(str(path), {}).settings.multicluster.cluster_name == "a"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.yaml", "No such file or directory"), (".", "Is a directory"), ("a\0b", "not a file name")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(SettingsError) as caught:
        load_file(path, {})
    assert str(caught.value) == f"{path}: found a file that cannot be read ({reason}), expected a configuration file"


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(SettingsError, match="more than 1048576 bytes"):
        load_file(path, {})


def test_the_first_file_that_exists_is_found(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    assert find_file([str(first), str(second)]) is None
    second.touch()
    assert find_file([str(first), str(second)]) == str(second)
    first.touch()
    assert find_file([str(first), str(second)]) == str(first)
