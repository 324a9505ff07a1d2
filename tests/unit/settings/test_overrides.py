"""Environment variables and options over the values of a file."""

from __future__ import annotations

import re

import pytest

from ksproxyd.settings import Listener, Loaded, Override, Settings, SettingsError, load_text
from ksproxyd.settings.overrides import OWN_PREFIX, variables
from ksproxyd.settings.section import OWN, keys


def load(text: str, environ: dict[str, str], *overrides: Override) -> Loaded:
    return load_text(text, "x.yaml", environ, overrides)


def warnings(loaded: Loaded) -> list[str]:
    return [str(each) for each in loaded.warnings if each.path != "authentication.issuer.jwtSecret"]


def test_a_variable_sets_a_key_that_the_file_has() -> None:
    environ = {"KUBESPHERE_CACHE_OPTIONS_PASSWORD": "from the environment"}
    for text in (
        "cache: {options: {password: x}}",
        "cache: {options: {password: }}",
        "Cache: {OPTIONS: {passWord: x}}",
    ):
        loaded = load(text, environ)
        assert loaded.settings.cache.options.password.get_secret_value() == "from the environment"
        assert warnings(loaded) == []


@pytest.mark.parametrize("text", ["", "cache: {}", "cache: {options: {type: x}}", "cache: ", "type: redis"])
def test_a_variable_for_a_key_that_the_file_lacks_does_nothing(text: str) -> None:
    loaded = load(text, {"KUBESPHERE_CACHE_TYPE": "redis"})
    assert loaded.settings.cache.type == "InMemoryCache"
    assert [line for line in warnings(loaded) if line.startswith("environment")] == [
        "environment variable KUBESPHERE_CACHE_TYPE: cache.type: found a value, expected the key in the file: without "
        "it the variable has no effect"
    ]


def test_an_empty_variable_is_none() -> None:
    loaded = load(
        "multicluster: {clusterName: a}", {"KUBESPHERE_MULTICLUSTER_CLUSTERNAME": "", "KSPROXYD_STATEDIR": ""}
    )
    assert loaded.settings.multicluster.cluster_name == "a"
    assert warnings(loaded) == []


def test_a_variable_replaces_a_value_that_would_be_refused() -> None:
    loaded = load("terminal: {node: {timeout: never}}", {"KUBESPHERE_TERMINAL_NODE_TIMEOUT": "5"})
    assert loaded.settings.terminal.node.timeout == 5


def test_own_variables_need_no_key_in_the_file() -> None:
    environ = {
        "KSPROXYD_LIMITS_HEADBYTES": "64Ki",
        "KSPROXYD_TRUSTEDPROXIES": "10.0.0.0/8, 192.168.0.0/16,",
        "KSPROXYD_LISTENERS": "tcp:80,tcp:81:interface=127.0.0.1",
        "KSPROXYD_STATEDIR": "null",
        "KSPROXYD_TIMEOUTS_STREAMIDLE": "0",
    }
    for text in ("", "ksproxyd:", "ksproxyd: {limits: {headBytes: 2Ki}, listeners: [{port: 1}]}"):
        own = load(text, environ).settings.ksproxyd
        assert own.limits.head_bytes == 65536
        assert [str(network) for network in own.trusted_proxies] == ["10.0.0.0/8", "192.168.0.0/16"]
        assert own.listeners == (Listener(endpoint="tcp:80"), Listener(endpoint="tcp:81:interface=127.0.0.1"))
        assert own.state_dir == "null"
        assert own.timeouts.stream_idle == 0.0


def test_both_kinds_of_variables_reach_the_own_section() -> None:
    text = "ksproxyd: {limits: {pipelined: 1}}"
    general = {"KUBESPHERE_KSPROXYD_LIMITS_PIPELINED": "2"}
    assert load(text, general).settings.ksproxyd.limits.pipelined == 2
    assert load("", general).settings.ksproxyd.limits.pipelined == 16
    assert load(text, {**general, "KSPROXYD_LIMITS_PIPELINED": "3"}).settings.ksproxyd.limits.pipelined == 3


def test_options_win() -> None:
    environ = {"KSPROXYD_LISTENERS": "tcp:80", "KSPROXYD_STATEDIR": "/a"}
    overrides = (
        Override("ksproxyd.listeners", ["tcp:81"], "option --listen"),
        Override("authorization.mode", "AlwaysAllow", "option --authorization"),
    )
    settings = load("ksproxyd: {listeners: [tcp:82]}\n", environ, *overrides).settings
    assert settings.ksproxyd.listeners == (Listener(endpoint="tcp:81"),)
    assert (settings.ksproxyd.state_dir, settings.authorization.mode) == ("/a", "AlwaysAllow")


def test_problems_name_the_variable_or_option() -> None:
    environ = {"KSPROXYD_TIMEOUTS_IDLE": "10", "KUBESPHERE_AUTHORIZATION_MODE": "rbac"}
    with pytest.raises(SettingsError) as caught:
        load("authorization: {mode: RBAC}", environ, Override("ksproxyd.listeners", ["80"], "option --listen"))
    assert [str(problem) for problem in caught.value.problems] == [
        'environment variable KSPROXYD_TIMEOUTS_IDLE: ksproxyd.timeouts.idle: found "10", expected a duration with '
        "a unit such as 500ms, 10s or 1h30m",
        'environment variable KUBESPHERE_AUTHORIZATION_MODE: authorization.mode: found "rbac", expected AlwaysDeny, '
        "AlwaysAllow or RBAC",
        'option --listen: ksproxyd.listeners[0].endpoint: found "80", expected a Twisted endpoint such as '
        "tcp:9090:interface=127.0.0.1",
    ]


def test_a_bare_number_in_a_variable_is_no_duration() -> None:
    with pytest.raises(SettingsError, match='found "10"'):
        load(
            "authentication: {issuer: {maximumClockSkew: 1s}}",
            {"KUBESPHERE_AUTHENTICATION_ISSUER_MAXIMUMCLOCKSKEW": "10"},
        )


@pytest.mark.parametrize("key", ["ksproxyd", "ksproxyd.limits", "ksproxyd.nothing", "Ksproxyd.stateDir", ""])
def test_an_override_of_no_key_is_an_error_of_the_caller(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        load("", {}, Override(key, "x", "option --x"))


def test_several_values_for_one_are_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="one value"):
        load("", {}, Override("ksproxyd.stateDir", ["a", "b"], "option --x"))


def test_a_misspelt_variable_is_a_warning() -> None:
    loaded = load("", {"KSPROXYD_LIMIT_HEADBYTES": "1", "KSPROXYD_Z": "1", "OTHER": "1"})
    assert warnings(loaded) == [
        "environment variable KSPROXYD_LIMIT_HEADBYTES: found a variable that sets nothing, expected the name of a "
        "key, did you mean KSPROXYD_LIMITS_HEADBYTES?",
        "environment variable KSPROXYD_Z: found a variable that sets nothing, expected the name of a key",
    ]


SERVICE_LINKS = [
    *("KSPROXYD_SERVICE_HOST", "KSPROXYD_SERVICE_PORT", "KSPROXYD_SERVICE_PORT_HTTP", "KSPROXYD_PORT"),
    *("KSPROXYD_PORT_9090_TCP", "KSPROXYD_PORT_9090_TCP_PROTO", "KSPROXYD_PORT_9090_TCP_PORT"),
    *("KSPROXYD_PORT_9090_TCP_ADDR", "KSPROXYD_METRICS_SERVICE_HOST", "KSPROXYD_METRICS_PORT_80_UDP_ADDR"),
]


@pytest.mark.parametrize("name", SERVICE_LINKS)
def test_variables_of_a_service_are_no_business_of_ours(name: str) -> None:
    assert warnings(load("", {name: "tcp://10.0.0.1:9090"})) == []


def test_no_key_takes_the_variable_of_a_service_or_of_another_key() -> None:
    own = [variables(key)[0] for key in keys(Settings) if key.path[0] == OWN]
    links = re.compile(r"KSPROXYD(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
    assert all(name.startswith(OWN_PREFIX) and not links.fullmatch(name) for name in own)
    names = [name for key in keys(Settings) for name in variables(key)]
    assert len(names) == len(set(names))


def test_the_environment_of_the_process_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSPROXYD_STATEDIR", "/elsewhere")
    assert load("", {}).settings.ksproxyd.state_dir == ""
