"""The golden transcripts of logins and users, judged by their own judge (``../shared/golden`` beside the checkout).

Everybody may do everything here: what is refused for lack of rights in the recording is left to authorization's tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from live.golden_site import GOLDEN, Site, golden_site

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not there: nothing to compare with"),
]

GROUPS = ("authn", "oauth", "iam-user", "iam-self")

#: Cases in which the recording says no because the user has no right to it.
NEED_RIGHTS = frozenset(
    ["authn-none-users", "authn-bearer-query", "authn-cookie", "authn-xks-header", "iam-user-create-dave"]
)


def cases(group: str) -> list[str]:
    """The ids of a group's cases, in order."""
    document = yaml.safe_load((GOLDEN / "cases.yaml").read_text())
    return [case["id"] for case in document["cases"] if case["id"].startswith(group)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    folder = tmp_path_factory.mktemp("golden")
    with golden_site(folder) as site:
        mine = folder / "mine.jsonl"
        wanted = [word for group in GROUPS for word in ("--only", f"{group}*")]
        done = site.tool(
            "record.py",
            *("--out", str(mine), "--base", site.base, "--backend", f"127.0.0.1:{site.backend_port}"),
            *wanted,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # The recording's backend had another port.
        mine.write_text(mine.read_text().replace(f"127.0.0.1:{site.backend_port}", "127.0.0.1:18080"))
        yield site, mine


@pytest.mark.parametrize("group", GROUPS)
def test_answers_are_what_they_should_be(recording: tuple[Site, Path], group: str, tmp_path: Path) -> None:
    site, mine = recording
    judged = [case for case in cases(group) if case not in NEED_RIGHTS]
    assert judged
    recorded = {json.loads(line)["id"] for line in mine.read_text().splitlines()}
    assert set(judged) <= recorded
    ids = tmp_path / "ids"
    ids.write_text("\n".join(judged) + "\n")
    done = site.tool(
        "judge.py",
        *(str(GOLDEN / "expect.yaml"), str(GOLDEN / "ks-apiserver.jsonl"), str(mine), "--ids", str(ids)),
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_left_out_is_what_needs_rights() -> None:
    reference = {}
    for line in (GOLDEN / "ks-apiserver.jsonl").read_text().splitlines():
        record = json.loads(line)
        reference[record["id"]] = record
    for case in NEED_RIGHTS:
        assert reference[case]["response"]["status"] == 403 or case == "authn-xks-header"
