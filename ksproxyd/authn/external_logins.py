"""Passwords that an identity provider checks, in the terms of :mod:`ksproxyd.authn.login`."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.logger import Logger

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Kind, LoginRefused
from ksproxyd.authn.providers.mapper import MappingRefused
from ksproxyd.authn.providers.provider import External, ProviderError
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.user_record import DISABLED, UserRecord

#: What a provider's trouble is to whoever logs in. A provider that is switched off knows nobody (T-087).
_KINDS: dict[str, Kind] = {
    "unknown": "unknown-provider",
    "not-password": "unknown-provider",
    "credentials": "password",
    "disabled": "mapping",
    "unavailable": "provider",
    "answer": "provider",
}


class PasswordProviders(Protocol):
    """The part of :class:`ksproxyd.authn.providers.registry.Providers` that is needed here."""

    def find(self, name: str) -> Any: ...

    async def check_password(self, name: str, username: str, password: str) -> External: ...


class UserMapper(Protocol):
    """The part of :class:`ksproxyd.authn.providers.mapper.Mapper` that is needed here."""

    async def resolve(self, provider: Any, external: External) -> UserRecord | Registration: ...


class ProviderLogins:
    """Implements :class:`ksproxyd.authn.login.ExternalLogins`."""

    log = Logger()

    def __init__(self, providers: PasswordProviders, mapper: UserMapper, directory: Directory) -> None:
        self._providers = providers
        self._mapper = mapper
        self._directory = directory

    async def by_password(self, provider: str, username: str, password: str) -> UserRecord | Registration:
        """Who has this password at the identity provider. Raises :class:`LoginRefused`.

        :class:`~ksproxyd.authn.rejection.SharedUnavailable` where the users are not known, or one cannot be made.
        """
        try:
            external = await self._providers.check_password(provider, username, password)
        except ProviderError as error:
            if error.kind in ("unavailable", "answer"):
                self.log.warn("identity provider {name} failed: {why}", name=provider, why=error.message)
            raise LoginRefused(_KINDS[error.kind], error.message) from None
        found = self._providers.find(provider)
        if found is None:
            raise LoginRefused("unknown-provider", f"identity provider {provider} was removed just now")
        for record in self._directory.by_link(provider, external.uid):
            # They have shown that they are this user, so they may be told what becomes of them.
            if record.state == DISABLED or record.deleting:
                raise LoginRefused("suspended", f"user {record.name} is disabled or being deleted")
        try:
            return await self._mapper.resolve(found, external)
        except MappingRefused as refused:
            self.log.warn("a login was refused: {why}", why=refused.message)
            raise LoginRefused("mapping", refused.message) from None
