"""How numbers become tables: medians and ratios of rounds, aligned Markdown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.contenders import Running
from bench.download import GO, Downloads
from bench.download import Row as DownloadRow
from bench.load import Sample
from bench.requests import FLAT, NGINX, Requests, Row, large_name
from bench.site import Site
from bench.table import mebibytes, micros, millis, spread, table, times
from bench.watches import most

SITE = cast(Site, SimpleNamespace(big=1 << 30))
NOBODY = cast(Running, None)


def requests(**cpu: list[float]) -> Requests:
    """Requests with samples of these CPU times."""
    found = Requests(SITE, Path(), None, tls=False, peers=False)
    for name, times_ in cpu.items():
        samples = [Sample(rate=1000.0, p50=0.001, p99=0.002, cpu=cpu_, memory=1 << 20) for cpu_ in times_]
        found.rows.append(Row(name, NOBODY, ("/",), samples))
    return found


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was slow in the second round; a ratio of medians would say 2.5.
    found = requests(**{NGINX: [10e-6, 40e-6, 12e-6], "ours": [20e-6, 80e-6, 30e-6]})
    assert found.ratios("ours", NGINX) == pytest.approx([2.0, 2.0, 2.5])
    assert "| 2.00× |" in found.report().splitlines()[-1].replace("      ", " ")
    assert "2.00–2.50" in found.report()


def test_without_nginx_there_is_no_ratio() -> None:
    found = requests(ours=[20e-6])
    assert found.ratios("ours", NGINX) == []
    assert found.report().splitlines()[-1].split("|")[3].strip() == "—"


def test_flatness_compares_the_large_installation_with_the_small_one() -> None:
    found = requests(**{FLAT[0]: [20e-6, 20e-6, 40e-6], large_name(FLAT[0]): [21e-6, 22e-6, 42e-6]})
    assert found.flatness() == {FLAT[0]: pytest.approx(1.05)}


def test_the_rate_of_a_download_is_compared_round_by_round() -> None:
    found = Downloads(SITE, Path(), None, tls=False)
    found.rows = [
        DownloadRow("ksproxyd", NOBODY, "/", [9e8, 4e8, 8e8], [1.0] * 3, [0] * 3),
        DownloadRow(GO, NOBODY, "/", [1e9, 5e8, 1e9], [1.0] * 3, [0] * 3),
    ]
    assert found.ratio("ksproxyd", GO) == pytest.approx(0.8)
    assert found.ratio("ksproxyd", NGINX) is None
    assert "800 MB/s" in found.report()


def test_a_table_is_aligned_markdown() -> None:
    assert table(["what", "a"], [["x", "1.0"], ["longer", "12.0"]]).splitlines() == [
        "| what   |    a |",
        "| ------ | ---: |",
        "| x      |  1.0 |",
        "| longer | 12.0 |",
    ]


def test_units() -> None:
    assert micros(12.34e-6) == "12.3 µs"
    assert millis(0.00123) == "1.23 ms"
    assert mebibytes(3 << 19) == "1.5 MiB"
    assert times(None) == "—"
    assert spread([]) == "—"
    assert spread([2.0, 1.5]) == "1.50–2.00"


def test_watches_are_as_many_as_files_allow() -> None:
    assert most(20000, 5000) == 5000
    assert most(1024, 5000) == 412


@pytest.mark.parametrize(("words", "expected"), [([], (5, 2.0, 5000, True)), (["--quick"], (2, 1.0, 1000, False))])
def test_options(words: list[str], expected: tuple[Any, ...]) -> None:
    from bench.__main__ import SUBJECTS, parse

    options = parse(words)
    assert (options.rounds, options.seconds, options.watches, options.peers) == expected
    assert options.only == SUBJECTS
    assert parse([*words, "--only", "drain", "--rounds", "1"]).only == ["drain"]
