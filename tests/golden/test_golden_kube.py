"""All golden cases, judged by their own judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .site import GOLDEN, Site

pytestmark = pytest.mark.timeout(1800)

GROUPS = ("basic", "authn", "oauth", "authz", "iam", "tenant", "ext", "rp", "js", "kube")


def cases(group: str) -> list[str]:
    """The ids of a group's cases, in order."""
    document = yaml.safe_load((GOLDEN / "cases.yaml").read_text())
    return [case["id"] for case in document["cases"] if case["id"].split("-")[0] == group]


def test_summary(site: Site) -> None:
    """What is judged is everything; how much of it is right is for the others to say."""
    done = site.judge()
    print(done.stdout)
    table = done.stdout.split("\n")
    assert table[0].split() == ["group", "passed", "failed", "any"], done.stdout + done.stderr
    total = next(line.split() for line in table if line.startswith("total"))
    everything = yaml.safe_load((GOLDEN / "cases.yaml").read_text())["cases"]
    assert sum(map(int, total[1:])) == len(everything)


@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_what_they_should_be(site: Site, group: str, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    ids.write_text("".join(f"{case}\n" for case in cases(group)))
    done = site.judge("--ids", str(ids))
    assert done.returncode == 0, done.stdout + done.stderr
