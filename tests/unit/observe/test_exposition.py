from __future__ import annotations

import gzip
import itertools
import math
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ksproxyd.observe.exposition import Family, Histogram, Latency, Scrape, labels, number

text = st.text(st.characters(exclude_categories=["Cs"]))


def parse(blocks: Iterator[str]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels, as prometheus-client's parser reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families("".join(blocks)):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


class TestNumber:
    def test_integers_have_no_point(self) -> None:
        assert [number(0), number(12), number(12.0), number(-3.0)] == ["0", "12", "12", "-3"]

    def test_the_bounds_of_the_spec_are_written_as_go_writes_them(self) -> None:
        assert [number(x) for x in (0.05, 1.0, 1.25, 60.0)] == ["0.05", "1", "1.25", "60"]

    def test_what_is_no_number(self) -> None:
        assert [number(x) for x in (math.inf, -math.inf, math.nan)] == ["+Inf", "-Inf", "NaN"]

    @given(st.floats(allow_nan=False))
    def test_nothing_is_lost(self, value: float) -> None:
        assert float(number(value)) == value


class TestLabels:
    def test_sorted_by_name(self) -> None:
        assert labels(verb="get", code="200") == 'code="200",verb="get"'

    @given(text)
    def test_any_value_is_read_back(self, value: str) -> None:
        family = Family("m", "gauge", "help", lambda: [(labels(a=value), 1)])
        assert parse(family.blocks()) == {"m": {(("a", value),): 1.0}}


class TestFamily:
    def test_help_and_type_come_once(self) -> None:
        family = Family("m_total", "counter", "Of\nwhat.", lambda: [('a="1"', 1), ('a="2"', 2)])
        assert "".join(family.blocks()) == (
            '# HELP m_total Of\\nwhat.\n# TYPE m_total counter\nm_total{a="1"} 1\nm_total{a="2"} 2\n'
        )

    def test_without_labels(self) -> None:
        assert "".join(Family("m", "gauge", "h", lambda: [("", 0.5)]).blocks()).endswith("\nm 0.5\n")

    def test_without_samples_it_is_left_out(self) -> None:
        assert list(Family("m", "gauge", "h", list).blocks()) == []


class TestHistogram:
    @given(st.lists(st.floats(min_value=0, max_value=100)))
    def test_buckets_are_cumulative_and_inclusive(self, values: list[float]) -> None:
        bounds = (0.5, 1.0, 10.0)
        cell = Latency(bounds)
        for value in values:
            cell.observe(value)
        parsed = parse(Histogram("m", "h", bounds, lambda: [('a="x"', cell)]).blocks())
        expected = {
            (("a", "x"), ("le", le)): float(sum(value <= bound for value in values))
            for le, bound in (("0.5", 0.5), ("1", 1.0), ("10", 10.0), ("+Inf", math.inf))
        }
        assert parsed["m_bucket"] == expected
        assert parsed["m_count"] == {(("a", "x"),): float(len(values))}
        assert math.isclose(parsed["m_sum"][(("a", "x"),)], sum(values), abs_tol=1e-9)
        assert cell.count == len(values)

    def test_without_labels(self) -> None:
        cell = Latency((1.0,))
        cell.observe(1.0)
        assert "".join(Histogram("m", "h", (1.0,), lambda: [("", cell)]).blocks()).splitlines()[2:] == [
            'm_bucket{le="1"} 1',
            'm_bucket{le="+Inf"} 1',
            "m_sum 1",
            "m_count 1",
        ]


class TestScrape:
    @staticmethod
    def blocks() -> Iterator[str]:
        return (f"block {i:05} {'x' * 1000}\n" for i in range(500))

    def run(self, gzip_: bool) -> tuple[int, bytes]:
        # The clock moves by 1 ms each time it is looked at: a slice of 2 ms ends after two looks.
        ticks = itertools.count(0.0, 0.001)
        scrape = Scrape(self.blocks(), gzip_, lambda: next(ticks))
        slices = 1
        while not scrape.advance(0.002):
            slices += 1
        return slices, b"".join(scrape.parts)

    def test_stops_when_its_time_is_up_and_loses_nothing(self) -> None:
        slices, body = self.run(False)
        assert slices == 8  # 16 chunks of 32 KiB, two a slice
        assert body == "".join(self.blocks()).encode()

    def test_gzip_holds_the_same(self) -> None:
        slices, body = self.run(True)
        assert slices == 8
        assert gzip.decompress(body) == "".join(self.blocks()).encode()
        assert len(body) < 50_000

    def test_an_empty_block_is_a_place_to_stop(self) -> None:
        ticks = itertools.count(0.0, 0.001)
        scrape = Scrape(iter(["", "", "", "end\n"]), False, lambda: next(ticks))
        assert [scrape.advance(0.0015) for _ in range(3)] == [False, True, True]
        assert scrape.parts == [b"end\n"]

    def test_everything_at_once_if_there_is_time(self) -> None:
        scrape = Scrape(self.blocks(), False)
        assert scrape.advance(60.0)
