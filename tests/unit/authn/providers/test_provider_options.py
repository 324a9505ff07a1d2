"""Options and documents of identity providers (spec 02, 4.1)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_parts import provider, secret

from ksproxyd.authn.providers.configuration import Configuration, document_of, is_provider, parse, switched_off
from ksproxyd.authn.providers.options import BadConfiguration, Options, problem_of_url
from ksproxyd.testing import Authority


def problems(options: dict[str, Any], kind: str = "OIDCIdentityProvider", **more: Any) -> str:
    with pytest.raises(BadConfiguration) as caught:
        provider(kind, options, **more)
    return "\n".join(caught.value.problems)


GOOD = {"issuer": "https://idp.test", "clientID": "ks", "clientSecret": "s3cr3t-value"}


def test_keys_are_the_same_in_any_case() -> None:
    provider("OIDCIdentityProvider", {"ISSUER": "https://idp.test", "clientid": "ks", "CLIENTSECRET": "x"})


def test_two_spellings_of_a_key_are_told() -> None:
    assert "clientid: the same key as clientID" in problems({**GOOD, "clientid": "other"})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"clientID": 5}, "provider.clientID: found 5, expected text (put it in quotes)"),
        ({"getUserInfo": "true"}, "provider.getUserInfo: found 'true', expected true or false"),
        ({"clockSkew": "300"}, "provider.clockSkew: found '300', expected a whole number, without quotes"),
        ({"clockSkew": 86400}, "provider.clockSkew: found 86400, expected a number from 0 to 900"),
        ({"scopes": "openid"}, "provider.scopes: found 'openid', expected a list of texts"),
        ({"scopes": ["openid", 1]}, "provider.scopes: found a list, expected a list of texts"),
        ({"endpoint": []}, "provider.endpoint: found a list, expected a mapping"),
        ({"endpoint": {"jwksURL": "ftp://x"}}, "provider.endpoint.jwksURL: must begin with https://"),
        ({"issuer": "http://idp.test"}, "provider.issuer: must begin with https:// (http needs ksproxyd.identity"),
        ({"clientAuth": "magic"}, "provider.clientAuth: found 'magic', expected auto or client_secret_basic or"),
        ({"rootCAData": "!!"}, "provider.rootCAData: found a secret, expected base64 of PEM certificates"),
        ({"rootCA": "/does/not/exist"}, "provider.rootCA: cannot be read: No such file"),
    ],
)
def test_wrong_values_are_named(more: dict[str, Any], said: str) -> None:
    assert said in problems({**GOOD, **more})


def test_every_problem_is_told_at_once_and_no_secret() -> None:
    said = problems({"issuer": 1, "clientSecret": ["s3cr3t-value"], "getUserInfo": 1})
    assert said.count("\n") >= 3
    assert "clientSecret: found a secret, expected text" in said
    assert "s3cr3t" not in said


def test_without_discovery_there_must_be_keys() -> None:
    said = problems({"clientID": "ks", "endpoint": {"authURL": "https://a.test/a", "tokenURL": "https://a.test/t"}})
    assert said == "provider.issuer: is required, unless endpoint.jwksURL says which keys sign id_tokens"


def test_where_browsers_come_back_to_must_be_known() -> None:
    assert "redirectURL: is required" in problems(GOOD, callback=lambda name: "")
    provider(
        "OIDCIdentityProvider", {**GOOD, "redirectURL": "https://ks.test/oauth/callback/corp"}, callback=lambda n: ""
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"host": "http://x"}, "provider.host: must be host, host:port"),
        ({"host": "ldap://x:notaport"}, "provider.host: must be"),
        ({"host": "ldap://a b"}, "provider.host: must be"),
        ({"host": "ldaps://x", "startTLS": True}, "provider.startTLS: is for ldap://"),
        ({"managerPassword": ""}, "provider.managerPassword: is required with managerDN"),
        ({"loginAttribute": "uid)(cn=*"}, "provider.loginAttribute: found 'uid)(cn=*', expected the name of an LDAP"),
        ({"userSearchFilter": "objectClass=person"}, "provider.userSearchFilter: is not an LDAP filter"),
        ({"readTimeout": "15000"}, "provider.readTimeout: found '15000', expected a whole number"),
        ({"userSearchBase": ""}, "provider.userSearchBase: is required"),
    ],
)
def test_wrong_values_for_ldap(more: dict[str, Any], said: str) -> None:
    good = {
        "host": "ldap.test:389",
        "managerDN": "cn=m",
        "managerPassword": "x",
        "userSearchBase": "dc=x",
        "loginAttribute": "uid",
    }
    assert said in problems({**good, **more}, "LDAPIdentityProvider")


def test_roots_that_are_no_certificates() -> None:
    pem = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").decode()
    said = problems(
        {"host": "x", "userSearchBase": "dc=x", "loginAttribute": "uid", "rootCAData": pem}, "LDAPIdentityProvider"
    )
    assert said == "provider.rootCAData: a certificate in it cannot be read"
    pem = base64.b64encode(Authority().pem).decode()
    provider(
        "LDAPIdentityProvider", {"host": "x", "userSearchBase": "dc=x", "loginAttribute": "uid", "rootCAData": pem}
    )


def test_an_unknown_type_is_named() -> None:
    assert "type: there is no 'SAMLIdentityProvider'; it is one of LDAP" in problems({}, "SAMLIdentityProvider")


@pytest.mark.parametrize(
    "url",
    [
        "https://", "https:///x", "//x", "x", "https://a b", "https://x\r\nHost: y", "https://u:p@x", "https://x#f",
        "https://x:0", "https://x:99999", "https://[::1", "javascript:alert(1)", "https://x\\@y", "https://é.test",
    ],
)  # fmt: skip
def test_urls_that_no_provider_has(url: str) -> None:
    assert problem_of_url(url, http=False)
    assert problem_of_url(url, http=True)


def test_urls_that_a_provider_may_have() -> None:
    for url in ("https://x", "https://x:8443/a/b?c=d", "https://[2001:db8::1]/x", "https://x/a%20b"):
        assert problem_of_url(url, http=False) == ""
    assert problem_of_url("http://x", http=True) == ""


# -- documents -----------------------------------------------------------------------------------------------------


def test_a_document() -> None:
    text = "name: corp\ntype: OIDCIdentityProvider\nMappingMethod: auto\nhidden: true\nprovider: {clientSecret: s}\n"
    found = parse(document_of(secret(text)))
    assert found == Configuration("corp", "OIDCIdentityProvider", "auto", False, True, "", {"clientSecret": "s"})
    assert "clientSecret" not in repr(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "it is not YAML in line"),
        ("- a", "it is not a mapping"),
        ("# nothing", "it is not a mapping"),
        ("type: x", "name: is required"),
        ("name: a b\ntype: x", "name: must be at most 45"),
        ("name: " + "a" * 46 + "\ntype: x", "name: must be at most 45"),
        ("name: x\ntype: y\ndisabled: maybe", "disabled: found 'maybe', expected true or false"),
        ("name: x\ntype: y\nprovider: 5", "provider: found 5, expected a mapping"),
        ("[" * 5000, "it is not YAML"),
        ("name: x\nprovider: {clientSecret: 'topsecret}", "it is not YAML"),
    ],
)
def test_documents_that_are_wrong(text: str, said: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(document_of(secret(text)))
    assert said in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_secrets_that_are_wrong() -> None:
    for changed in ({"data": {}}, {"data": None}, {"data": {"configuration.yaml": "%%%"}}, {"type": "Opaque"}):
        with pytest.raises(BadConfiguration):
            document_of(secret("name: x", **changed))
    assert is_provider(secret("x", type="Opaque"))
    assert not is_provider({"metadata": {"name": "x"}, "type": "config.kubesphere.io/oauthclient"})
    with pytest.raises(BadConfiguration, match="65536 are allowed"):
        document_of(secret("#" * 70000))


def test_what_everybody_may_know_holds_no_secret() -> None:
    options = {
        "clientID": "c",
        "clientSecret": "s",
        "managerPassword": "p",
        "endpoint": {"tokenURL": "t", "aSECRETb": 1},
    }
    found = Configuration("n", "t", options=options).published()
    assert found["provider"] == {"clientID": "c", "endpoint": {"tokenURL": "t"}}


def test_switched_off_counts_in_a_document_that_is_wrong_otherwise() -> None:
    assert switched_off("name: x\ndisabled: true\nhidden: maybe")
    assert not switched_off("name: [")
    assert not switched_off("disabled: 'true'")


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_told_to_be_none(text: str) -> None:
    try:
        parse(text)
    except BadConfiguration as error:
        assert error.problems


@given(st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=4))
def test_any_mapping_is_read(values: dict[str, Any]) -> None:
    options = Options(values, "provider.")
    for key in values:
        options.text(key)
        options.flag(key)
        options.whole(key, 1, 0, 5)
        options.texts(key)
        options.part(key)
        options.url(key, http=False)
    assert options.unread() == []
