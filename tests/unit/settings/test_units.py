"""Durations of Go and quantities of Kubernetes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ksproxyd.settings.units import format_duration, format_size, parse_duration, parse_size

NANOSECONDS = st.integers(-(2**63) + 1, 2**63 - 1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("+0", 0.0),
        ("-0", 0.0),
        ("0s", 0.0),
        ("10m0s", 600.0),
        ("1h30m", 5400.0),
        ("168h", 604800.0),
        ("100ms", 0.1),
        ("1.5s", 1.5),
        ("-1.5h", -5400.0),
        ("+5s", 5.0),
        ("1us", 0.000001),
        ("1\u00b5s", 0.000001),
        ("1\u03bcs", 0.000001),
        ("1ns", 0.000000001),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("1h1ms1h", 7200.001),
        ("9223372036854775807ns", 9223372036.854775807),
    ],
)
def test_durations_that_go_takes(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "-", "5", "1", ".", "s", ".s", "1x", "1 s", " 1s", "1s ", "1S", "--1s", "+-1s", "1e3s", "1h30"),
        *("1d", "\u0661s", "9223372036854775808ns", "2562048h", "1s" * 101),
    ],
)
def test_durations_that_go_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0s"), (600, "10m"), (5400, "1h30m"), (90, "1m30s"), (3600.5, "1h0.5s"), (0.1, "100ms")),
        *((0.0000015, "1.5us"), (1e-9, "1ns"), (-2.5, "-2.5s"), (1e-12, "0s"), (14400, "4h")),
    ],
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(NANOSECONDS)
@example(1)
@example(2**63 - 1)
def test_a_duration_written_and_read_is_the_same(nanoseconds: int) -> None:
    seconds = nanoseconds / 1_000_000_000
    written = format_duration(seconds)
    assert parse_duration(written) == seconds
    assert format_duration(parse_duration(written)) == written


@given(st.text(alphabet="0123456789.+-hmsnu\u00b5 e", max_size=30))
def test_a_duration_that_is_read_can_be_written(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("131072", 131072), ("128Ki", 131072), ("100Mi", 104857600), ("1G", 10**9), ("1e6", 10**6)),
        *(("1E6", 10**6), ("1E", 10**18), ("1.5Gi", 1610612736), ("1500m", 2), ("1n", 1), (".5Ki", 512), ("+1k", 1000)),
        *(("5.", 5), ("9223372036854775807", 2**63 - 1), ("0e99", 0)),
    ],
)
def test_sizes_that_kubernetes_takes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "-1", "-1Ki", "abc", "1KB", "1ki", "1K", "1 Ki", "Ki", "1Kii", "1e", "1e100", "1e999999999", "10E"),
        *("9223372036854775808", "8Ei", "1_000", "\u0661", "0x10", "9" * 300),
    ],
)
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_the_largest_exabytes() -> None:
    assert parse_size("7Ei") == 7 * 2**60


@given(st.integers(0, 2**63 - 1))
@example(2**10)
@example(3 * 2**60)
def test_a_size_written_and_read_is_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(1, 1023), st.sampled_from(["Ki", "Mi", "Gi", "Ti", "Pi"]))
def test_a_quantity_read_and_written_is_the_same(amount: int, suffix: str) -> None:
    assert format_size(parse_size(f"{amount}{suffix}")) == f"{amount}{suffix}"
