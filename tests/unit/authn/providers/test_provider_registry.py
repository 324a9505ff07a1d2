"""The identity providers, as their Secrets come, change and go (spec 02, 4.1)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from provider_parts import CannedWeb, error_of, result_of, secret
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from ksproxyd.authn.providers.provider import External
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.settings import load_text
from ksproxyd.state.store import Store

GITHUB = {"name": "gh", "type": "GitHubIdentityProvider", "mappingMethod": "auto", "provider": {"clientID": "c"}}
LDAP = {
    "name": "ad",
    "type": "LDAPIdentityProvider",
    "mappingMethod": "lookup",
    "displayName": "Head office",
    "provider": {"host": "ldap.test", "userSearchBase": "dc=x", "loginAttribute": "uid"},
}


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


class Site:
    def __init__(self, text: str = "authentication: {issuer: {url: 'https://ks.test'}}") -> None:
        self.clock = Clock()
        self.store = Store("LoginConfig", self.clock)
        settings = load_text(text, "settings", {}).settings
        self.web = CannedWeb()
        self.providers = Providers(self.clock, settings, self.store, web=self.web)

    def said(self) -> list[str]:
        return [problem.text for problem in self.providers.problems()]


def test_they_come_change_and_go() -> None:
    site = Site()
    assert site.providers.find("gh") is None
    assert error_of(_usable(site, "gh")).kind == "unknown"
    site.store.put(secret(GITHUB, "one"))
    first = site.providers.find("gh")
    assert first is not None
    assert first.configuration.mapping == "auto"
    assert site.providers.buttons() == [("gh", "gh")]
    assert site.providers.with_passwords() == []
    site.store.put(secret({**GITHUB, "displayName": "GitHub"}, "one"))
    second = site.providers.find("gh")
    assert second is not first
    assert site.providers.buttons() == [("gh", "GitHub")]
    site.store.put(secret(LDAP, "two"))
    assert site.providers.with_passwords() == [("ad", "Head office")]
    assert site.providers.buttons() == [("gh", "GitHub")]
    site.store.remove(("kubesphere-system", "one"))
    assert site.providers.find("gh") is None
    assert site.said() == []
    site.providers.stop()


def test_what_changes_around_the_document_makes_no_new_provider() -> None:
    site = Site()
    site.store.put(secret(GITHUB))
    first = site.providers.find("gh")
    changed = secret(GITHUB)
    changed["metadata"]["annotations"] = {"x": "y"}
    site.store.put(changed)
    assert site.providers.find("gh") is first


def test_a_bad_change_leaves_the_provider_as_it_was(warnings: list[str]) -> None:
    site = Site()
    site.store.put(secret(GITHUB))
    first = site.providers.find("gh")
    bad = secret({**GITHUB, "provider": {"clientID": 5}})
    site.store.put(bad)
    assert site.providers.find("gh") is first
    assert site.said() == ["provider.clientID: found 5, expected text (put it in quotes); it stays as it was before"]
    # Once, however often it is seen again.
    count = len(warnings)
    site.store.put({**bad, "metadata": {**bad["metadata"], "annotations": {"a": "b"}}})
    assert len(warnings) == count
    site.store.put(secret("name: ["))
    assert site.providers.find("gh") is first
    site.store.put(secret(GITHUB))
    assert site.said() == []
    assert site.providers.find("gh") is not None


def test_a_bad_change_that_switches_it_off_counts() -> None:
    site = Site()
    site.store.put(secret(GITHUB))
    site.store.put(secret({**GITHUB, "disabled": True, "hidden": "maybe"}))
    assert error_of(_usable(site, "gh")).kind == "disabled"
    assert site.providers.buttons() == []
    assert site.providers.published()[0]["disabled"] is True
    # And a bad one afterwards does not switch it on again.
    site.store.put(secret({**GITHUB, "hidden": "maybe"}))
    assert error_of(_usable(site, "gh")).kind == "disabled"
    site.store.put(secret(GITHUB))
    assert result_of(_usable(site, "gh")) is site.providers.find("gh")


def test_disabled_and_hidden() -> None:
    site = Site()
    site.store.put(secret({**GITHUB, "disabled": True}, "one"))
    site.store.put(secret({**LDAP, "hidden": True}, "two"))
    assert (site.providers.buttons(), site.providers.with_passwords()) == ([], [])
    assert site.providers.find("gh") is not None
    assert error_of(site.providers.check_password("gh", "a", "b")).kind == "disabled"
    assert result_of(_usable(site, "ad")) is site.providers.find("ad")


def test_of_two_with_one_name_the_oldest_counts_whatever_the_order() -> None:
    young = secret({**GITHUB, "displayName": "young"}, "a", "2026-02-01T00:00:00Z")
    old = secret({**GITHUB, "displayName": "old"}, "z", "2026-01-01T00:00:00Z")
    for order in ((young, old), (old, young)):
        site = Site()
        for value in order:
            site.store.put(value)
        assert site.providers.buttons() == [("gh", "old")]
        assert site.said() == ["the Secret z describes this provider, too, and is older; this one is not used"]
        site.store.remove(("kubesphere-system", "z"))
        assert site.providers.buttons() == [("gh", "young")]
        assert site.said() == []


def test_what_is_wrong_is_told_with_the_secret(warnings: list[str]) -> None:
    site = Site()
    site.store.put(secret({"name": "x", "type": "Nope"}, "idp-x"))
    assert warnings == [
        "identity provider x (Secret idp-x): type: there is no 'Nope'; it is one of LDAPIdentityProvider, "
        "OIDCIdentityProvider, GitHubIdentityProvider, AliyunIDaaSProvider, CASIdentityProvider"
    ]
    assert site.providers.problems()[0].fatal


def test_unknown_options_and_mapping_methods_are_told_and_do_no_harm() -> None:
    site = Site()
    site.store.put(
        secret({**GITHUB, "mappingMethod": "mixed", "provider": {"clientID": "c", "endpoint": {"authUrk": "x"}}})
    )
    assert site.providers.find("gh") is not None
    assert site.said() == [
        "provider.endpoint.authUrk: there is no such option; it is passed over",
        "mappingMethod: found 'mixed', expected one of auto, lookup, manual; only users who are linked already can "
        "sign in",
    ]
    assert not any(problem.fatal for problem in site.providers.problems())


def test_other_secrets_are_none_of_our_business() -> None:
    site = Site()
    client = secret("name: c", type="config.kubesphere.io/oauthclient")
    client["metadata"]["labels"] = {"config.kubesphere.io/type": "oauthclient"}
    site.store.put(client)
    site.store.remove(("kubesphere-system", "idp"))
    assert site.said() == []


def test_without_ldaptor_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == "ldaptor":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "ldaptor", None)
    for name in ("ldap", "directory_server"):
        monkeypatch.delitem(sys.modules, f"ksproxyd.authn.providers.{name}", raising=False)
    site = Site()
    site.store.put(secret(LDAP))
    assert site.said() == [
        "type: LDAPIdentityProvider needs ldaptor, which is not installed: pip install 'ksproxyd[ldap]'"
    ]


def test_providers_with_a_page_check_no_passwords() -> None:
    site = Site()
    site.store.put(secret(GITHUB, "one"))
    site.store.put(secret(LDAP, "two"))
    assert error_of(site.providers.check_password("gh", "a", "b")).kind == "not-password"
    assert error_of(site.providers.check_password("nope", "a", "b")).kind == "unknown"
    assert error_of(_by_browser(site, "ad")).kind == "not-password"
    assert result_of(_by_browser(site, "gh")).redirect_uri == "https://ks.test/oauth/callback/gh"


def test_passwords_are_checked_by_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.store.put(secret(LDAP))

    async def check(username: str, password: str) -> External:
        return External(username, username, password)

    monkeypatch.setattr(site.providers.find("ad"), "check", check)
    assert result_of(site.providers.check_password("ad", "al", "pw")) == External("al", "al", "pw")


async def _usable(site: Site, name: str) -> Any:
    return site.providers.usable(name)


async def _by_browser(site: Site, name: str) -> Any:
    return site.providers.by_browser(name)
