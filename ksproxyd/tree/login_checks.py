"""What ``/readyz?verbose`` says of logins. Nothing of it fails: a gateway without Redis, or with a provider that is
wrong, still serves everything else, and the other gateways are no better off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ksproxyd.tree.health import Check, Finding


class Problem(Protocol):
    """See :class:`ksproxyd.authn.providers.registry.ProviderProblem`."""

    @property
    def secret(self) -> str: ...
    @property
    def fatal(self) -> bool: ...


def shared_store(common: bool, away: Callable[[], str]) -> Check:
    """Whether what gateways share can be asked. ``away()`` is why not, empty while it can; it may name addresses."""

    def run() -> Finding:
        if not common:
            return True, "in the memory of this process"
        if away():
            return True, "Redis is away, see the log; nobody logs in, and tokens are answered 503"
        return True, "Redis answers"

    return Check("shared-store", run)


def identity_providers(problems: Callable[[], Sequence[Problem]], count: Callable[[], int]) -> Check:
    """How many providers there are, and which of their Secrets something is wrong with."""

    def run() -> Finding:
        wrong = sorted({problem.secret for problem in problems() if problem.fatal})
        odd = sorted({problem.secret for problem in problems()} - {*wrong})
        parts = [f"{count()} in use"]
        if wrong:
            parts.append(f"Secrets that are not used as they are: {', '.join(wrong)}")
        if odd:
            parts.append(f"Secrets with remarks: {', '.join(odd)}")
        if wrong or odd:
            parts.append("see the log")
        return True, "; ".join(parts)

    return Check("identity-providers", run)
