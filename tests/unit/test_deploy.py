"""What we ship to deploy with: the manifests parse, name one another rightly, and hold a configuration that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ksproxyd.settings import load_text

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kustomize"


def documents() -> list[dict[str, Any]]:
    names = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in yaml.safe_load_all((FOLDER / name).read_text())]


def of_kind(kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents() if document["kind"] == kind]
    return found


def test_everything_is_in_the_kustomization() -> None:
    listed = set(yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"])
    assert listed == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


def test_the_configuration_loads_without_a_problem_of_ours() -> None:
    text = of_kind("ConfigMap")["data"]["kubesphere.yaml"]
    loaded = load_text(text, "config.yaml", {})
    assert loaded.settings.authorization.mode == "AlwaysDeny"


def test_the_pod_is_given_longer_than_the_drain_lasts() -> None:
    settings = load_text(of_kind("ConfigMap")["data"]["kubesphere.yaml"], "config.yaml", {}).settings
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.ksproxyd.timeouts.drain


def test_names_fit_together() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == of_kind("ServiceAccount")["metadata"]["name"]
    (config,) = [volume for volume in pod["volumes"] if "configMap" in volume]
    assert config["configMap"]["name"] == of_kind("ConfigMap")["metadata"]["name"]
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"].items() <= labels.items()
