"""Metrics of logins, read when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ksproxyd.observe.exposition import Samples, labels


class Passwords(Protocol):
    """The part of :class:`ksproxyd.authn.passwords.Passwords` that is read here."""

    compares: int
    refused: int

    @property
    def waiting(self) -> int: ...


class Records(Protocol):
    """The part of :class:`ksproxyd.authn.records.LoginRecords` that is read here."""

    lost: int
    joined: int

    def __len__(self) -> int: ...


class Problem(Protocol):
    """See :class:`ksproxyd.authn.providers.registry.ProviderProblem`."""

    @property
    def fatal(self) -> bool: ...


class LoginMetrics:
    """The families. ``away()`` is why the shared store cannot be asked, empty while it can."""

    def __init__(
        self,
        passwords: Passwords,
        records: Records,
        away: Callable[[], str],
        problems: Callable[[], Sequence[Problem]],
    ) -> None:
        self._passwords = passwords
        self._records = records
        self._away = away
        self._problems = problems

    def families(self) -> Iterator[tuple[str, str, str, Callable[[], Samples]]]:
        """Name, kind, help and reader of each, for :meth:`ksproxyd.observe.metrics.Registry.add`."""
        passwords, records = self._passwords, self._records
        yield (
            "ksproxyd_shared_store_up",
            "gauge",
            "1 while what gateways share (sessions, lock-outs) can be asked.",
            lambda: [("", int(not self._away()))],
        )
        yield (
            "ksproxyd_identity_provider_problems",
            "gauge",
            "What is wrong with Secrets of identity providers; fatal: the Secret is not used as it is.",
            self._wrong,
        )
        yield (
            "ksproxyd_passwords_compared_total",
            "counter",
            "Password hashes that were compared, with dummies for unknown users.",
            lambda: [("", passwords.compares)],
        )
        yield (
            "ksproxyd_passwords_waiting",
            "gauge",
            "Passwords that are being compared or wait for it.",
            lambda: [("", passwords.waiting)],
        )
        yield (
            "ksproxyd_passwords_refused_total",
            "counter",
            "Logins refused because too many passwords waited.",
            lambda: [("", passwords.refused)],
        )
        yield (
            "ksproxyd_login_records_waiting",
            "gauge",
            "Login records that are not written yet.",
            lambda: [("", len(records))],
        )
        yield (
            "ksproxyd_login_records_lost_total",
            "counter",
            "Login records that were not written.",
            lambda: [("", records.lost)],
        )
        yield (
            "ksproxyd_login_records_joined_total",
            "counter",
            "Successful logins told by the record of another one like it.",
            lambda: [("", records.joined)],
        )

    def _wrong(self) -> Samples:
        found = [problem.fatal for problem in self._problems()]
        for fatal in (True, False):
            yield labels(fatal=str(fatal).lower()), found.count(fatal)
