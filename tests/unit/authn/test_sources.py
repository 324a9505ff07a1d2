"""Addresses as they are counted and recorded, and the note of a lock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authn.lock_note import LOCKED, MOST_SOURCES, LockNote, read_lock, read_time, write_lock, write_time
from ksproxyd.authn.source import network_of, recorded


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("unix", "unix"),
        ("192.0.2.7:80", "192.0.2.7:80"),
    ],
)
def test_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("::1", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_recorded(address: str, written: str) -> None:
    assert recorded(address) == written


@given(st.text() | st.ip_addresses().map(str))
def test_any_address(address: str) -> None:
    assert network_of(address) and len(network_of(address)) <= 64
    assert len(recorded(address)) <= 64
    assert network_of(recorded(address)) in (network_of(address), "127.0.0.0/24", "unknown")


def locked(note: object, since: str = "2026-01-02T03:04:05Z") -> dict[str, object]:
    status = {"state": "AuthLimitExceeded", "lastTransitionTime": since}
    return {"metadata": {"name": "alice", "annotations": {LOCKED: note}}, "status": status}


NET, OTHER = "192.0.2.0/24", "198.51.100.0/24"


def test_written_and_read() -> None:
    ends = ((NET, 1_700_000_600.0), (OTHER, 1_700_000_060.5))
    note, since = write_lock(1_700_000_000.9, LockNote(None, 1_700_000_600, ends))
    found = read_lock(locked(note, since))
    assert found == LockNote(1_700_000_000, 1_700_000_600, ((OTHER, 1_700_000_061), (NET, 1_700_000_600)))
    now = 1_700_000_050
    assert [found.left(now, 5.0, source) for source in (NET, OTHER, "another", None)] == [550, 11, 0, 550]
    note, since = write_lock(1_700_000_000, LockNote(None, 1_700_000_600))
    assert read_lock(locked(note, since)).left(now, 5.0, "anything") == 550


def test_of_another_lock() -> None:
    """Somebody has locked the account since: then it is locked for everybody."""
    note, _ = write_lock(1_700_000_000, LockNote(None, 1_700_000_600, ((NET, 1_700_000_600.0),)))
    found = read_lock(locked(note))
    assert found.sources is None and found.until is None
    assert found.left(found.since or 0, 600, OTHER) == 600


def test_without_a_time() -> None:
    assert LockNote().left(1e9, 600, "a") == 600


@pytest.mark.parametrize(
    "note", ["", "{}", "[]", "nonsense", 7, None, '{"since": 1, "until": 2}', '{"since":"\ud800"}']
)
def test_nonsense_locks_everybody(note: object) -> None:
    assert read_lock(locked(note)).sources is None


def test_not_too_many() -> None:
    note, since = write_lock(0, LockNote(None, 200, tuple((f"net-{n}", float(n)) for n in range(100, 0, -1))))
    sources = read_lock(locked(note, since)).sources
    assert sources is not None and len(sources) == MOST_SOURCES and sources[-1] == ("net-100", 100)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01T01:01:00+01:00", 60),
        ("1970-01-01T00:01:00.123456789Z", 60.123456789),
        ("1970-01-01t00:01:00z", 60),
        ("1970-13-01T00:01:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(value: str, seconds: float | None) -> None:
    assert read_time(value) == (seconds if seconds is None else pytest.approx(seconds))


@given(st.integers(0, 4_000_000_000))
def test_times_there_and_back(seconds: int) -> None:
    assert read_time(write_time(seconds)) == seconds
