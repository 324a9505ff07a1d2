"""What an identity provider is to the rest of us, and who it says somebody is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from ksproxyd.authn.providers.configuration import Configuration

#: Largest identifier that a provider may give somebody, in bytes. It becomes an annotation.
LARGEST_UID = 256

Kind = Literal["unknown", "disabled", "not-password", "credentials", "unavailable", "answer"]


class External(msgspec.Struct, frozen=True):
    """Somebody, as a provider knows them.

    ``uid`` never changes and never becomes somebody else's; ``username`` is for people and may be empty. ``email`` is
    only to be used where ``email_verified``.
    """

    uid: str
    username: str
    email: str = ""
    email_verified: bool = False
    display_name: str = ""


class ProviderError(Exception):
    """A provider does not tell who somebody is. The text is for the log, and holds no secret.

    ``unknown``: there is no such provider. ``disabled``: it is switched off. ``not-password``: it does not check
    passwords (or only does that, where a browser was to be sent there). ``credentials``: what was shown is not good:
    a wrong password, a code that was used before. ``unavailable``: it cannot be reached, or says that it has a
    problem. ``answer``: what it says is not what such a provider says, or not allowed to pass.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Flow(NamedTuple):
    """One sign-in at a provider's page, from the browser's departure to its return.

    ``state`` returns with the browser, ``nonce`` in the id_token, and the challenge of ``verifier`` was shown before
    it (RFC 7636). ``redirect_uri`` is where the browser returns to. Empty: the sign-in began elsewhere, and nothing of
    the kind is known (``ksproxyd.compat.legacyCallback``).
    """

    state: str = ""
    nonce: str = ""
    verifier: str = ""
    redirect_uri: str = ""

    def __repr__(self) -> str:
        return "<Flow>"


class Step(NamedTuple):
    """One step of :meth:`Provider.walk`: what was done, how it went, and what to do if it failed.

    ``external`` is somebody that the step has found.
    """

    title: str
    ok: bool
    text: str
    advice: str = ""
    external: External | None = None


class Provider(Protocol):
    """An identity provider, configured. Nothing is asked of it before somebody wants to sign in."""

    @property
    def configuration(self) -> Configuration: ...

    def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        """Try everything that can be tried, step by step; ends with the first that fails. For ``check-idp``.

        Without a user name nobody is signed in.
        """
        ...

    def close(self) -> None:
        """It is not used any more; what is under way comes to its end."""
        ...


@runtime_checkable
class PasswordProvider(Provider, Protocol):
    """A provider that checks passwords which people type in here."""

    async def check(self, username: str, password: str) -> External:
        """Who has this password. Raises :class:`ProviderError`."""
        ...


@runtime_checkable
class BrowserProvider(Provider, Protocol):
    """A provider that people sign in to on its own page."""

    @property
    def redirect_uri(self) -> str:
        """Where browsers come back to."""
        ...

    async def begin(self, flow: Flow) -> str:
        """The address that the browser is sent to. Raises :class:`ProviderError`."""
        ...

    async def finish(self, parameters: Mapping[str, str], flow: Flow) -> External:
        """Who has come back with these ``parameters``. Raises :class:`ProviderError`."""
        ...
