"""Logins with the passwords of identity providers, for :class:`ksproxyd.authn.login.Login`."""

from __future__ import annotations

from twisted.logger import Logger

from ksproxyd.authn.login import Kind, LoginRefused
from ksproxyd.authn.providers.mapper import Mapper, MappingRefused
from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.user_record import UserRecord

#: What a provider's failure is to whoever logs in. A disabled one is like an account that may not be used (T-087).
_KINDS: dict[str, Kind] = {
    "unknown": "unknown-provider",
    "not-password": "unknown-provider",
    "disabled": "mapping",
    "credentials": "password",
    "unavailable": "provider",
    "answer": "provider",
}


class ProviderLogins:
    """Asks a provider, and finds the user."""

    log = Logger()

    def __init__(self, providers: Providers, mapper: Mapper) -> None:
        self._providers = providers
        self._mapper = mapper

    async def by_password(self, provider: str, username: str, password: str) -> UserRecord | Registration:
        """Who that is. Raises :class:`LoginRefused`, of kind ``password`` for one that is counted.

        :class:`~ksproxyd.authn.rejection.SharedUnavailable` where the users are not known, or one cannot be made.
        """
        try:
            external = await self._providers.check_password(provider, username, password)
            return await self._mapper.resolve(self._providers.usable(provider), external)
        except ProviderError as error:
            if error.kind in ("unavailable", "answer"):
                self.log.warn("identity provider {name} failed: {why}", name=provider, why=error.message)
            raise LoginRefused(_KINDS[error.kind], error.message) from None
        except MappingRefused as error:
            self.log.warn("a login was refused: {why}", why=error.message)
            raise LoginRefused("mapping", error.message) from None
