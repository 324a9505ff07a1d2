"""Printed settings can be loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.settings import Settings, defaults, load_text, render

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "@" not in text)


def again(settings: Settings) -> Settings:
    return load_text(render(settings), "printed", {}).settings


def test_the_defaults_come_back() -> None:
    assert again(defaults()) == defaults()


def test_everything_has_the_notation_of_the_file() -> None:
    text = """
ksproxyd:
  listeners: [tcp:80, {address: "::", port: 1}]
  trustedProxies: [10.0.0.0/8]
  limits: {headBytes: 65536, bodyBytes: 1000}
  timeouts: {idle: 90000ms}
  extensions: {manageStatus: true}
  logging: {access: off}
"""
    settings = load_text(text, "x.yaml", {}).settings
    printed = yaml.safe_load(render(settings))["ksproxyd"]
    assert printed["trustedProxies"] == ["10.0.0.0/8"]
    assert (printed["limits"]["headBytes"], printed["limits"]["bodyBytes"]) == ("64Ki", 1000)
    assert printed["timeouts"]["idle"] == "1m30s"
    assert printed["extensions"]["manageStatus"] is True
    assert again(settings) == settings


def test_a_listener_with_tls_comes_back(tmp_path: Path) -> None:
    # The files need not exist to be printed.
    listener = {"tls": {"certFile": "/c.pem", "keyFile": "/k.pem"}}
    settings = Settings.model_validate({"ksproxyd": {"listeners": [listener]}})
    assert yaml.safe_load(render(settings))["ksproxyd"]["listeners"][0]["tls"]["keyFile"] == "/k.pem"


def test_a_secret_from_a_file_is_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456789")
    settings = load_text(f"s3: {{sessionTokenFile: {tmp_path}/secret}}", "x.yaml", {}).settings
    printed = yaml.safe_load(render(settings))["s3"]
    assert printed["sessionTokenFile"] == f"{tmp_path}/secret"
    assert "sessionToken" not in printed
    assert again(settings) == settings


@given(
    st.fixed_dictionaries(
        {
            "multicluster": st.fixed_dictionaries({"clusterName": TEXTS, "agentImage": TEXTS}),
            "terminal": st.fixed_dictionaries({"uploadFileLimit": st.integers(0, 2**63 - 1)}),
            "kubernetes": st.fixed_dictionaries(
                {"qps": st.floats(0, 1e9), "burst": st.integers(0, 2**53), "master": TEXTS}
            ),
            "authentication": st.fixed_dictionaries({"multipleLogin": st.booleans()}),
            "ksproxyd": st.fixed_dictionaries(
                {
                    "stateDir": TEXTS,
                    "timeouts": st.fixed_dictionaries(
                        {"idle": st.integers(10**8, 2**63 - 1).map(lambda nanoseconds: nanoseconds / 10**9)}
                    ),
                    "trustedProxies": st.lists(st.ip_addresses().map(str), max_size=3),
                    "extensions": st.fixed_dictionaries({"manageStatus": st.sampled_from(["auto", True, False])}),
                }
            ),
        }
    )
)
def test_any_settings_come_back(values: dict[str, object]) -> None:
    settings = Settings.model_validate(values)
    assert again(settings) == settings


@pytest.mark.parametrize("url", ["https://a:b@c/", "redis://x@c", "http://a:b/c@d@e/"])
def test_credentials_in_urls_are_hidden(url: str) -> None:
    settings = Settings.model_validate({"auditing": {"webhookOptions": {"webhookUrl": url}}})
    shown = yaml.safe_load(render(settings))["auditing"]["webhookOptions"]["webhookUrl"]
    assert shown == url if "/c@" in url else "<hidden>@" in shown
