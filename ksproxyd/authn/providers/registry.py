"""The identity providers as the cluster's Secrets describe them, at any moment.

A change is in use at once; what is under way with the provider as it was before comes to its end. A provider that is
wrong is reported and not used; one that becomes wrong stays as it was, but for ``disabled: true``, which counts
whatever else is wrong. Of several Secrets that describe one provider the oldest counts, then the first by name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from twisted.logger import Logger

from ksproxyd.authn.providers.configuration import (
    MAPPINGS,
    Configuration,
    document_of,
    is_provider,
    parse,
    switched_off,
)
from ksproxyd.authn.providers.dialing import GuardedDialer
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.options import BadConfiguration, Options
from ksproxyd.authn.providers.provider import BrowserProvider, External, PasswordProvider, Provider, ProviderError
from ksproxyd.authn.providers.web import TreqWeb, Web
from ksproxyd.settings import Settings
from ksproxyd.state.store import Key, Object, Store, key_of
from ksproxyd.state.validation import text
from ksproxyd.upstream.pool import Dialer

#: Where the class of each type is. They are imported when there is such a provider: ``ldaptor`` need not be installed.
TYPES = {
    "LDAPIdentityProvider": ("ksproxyd.authn.providers.ldap", "LDAPProvider"),
    "OIDCIdentityProvider": ("ksproxyd.authn.providers.oidc", "OIDCProvider"),
    "GitHubIdentityProvider": ("ksproxyd.authn.providers.github", "GitHubProvider"),
    "AliyunIDaaSProvider": ("ksproxyd.authn.providers.aliyun", "AliyunProvider"),
    "CASIdentityProvider": ("ksproxyd.authn.providers.cas", "CASProvider"),
}

#: Sorts behind every date.
_NEVER = "~"


class ProviderProblem(NamedTuple):
    """Something is wrong with the Secret ``secret``. ``name`` is the provider's, as far as it is known.

    ``fatal``: there is no such provider, or it is still used as it was before.
    """

    secret: str
    name: str
    text: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"identity provider {self.name or '(without a name)'} (Secret {self.secret}): {self.text}"


class _Entry:
    """What is known of one Secret."""

    def __init__(self, created: str, secret: str) -> None:
        self.rank = created or _NEVER, secret
        self.data: Any = None
        self.provider: Provider | None = None
        #: Of ``provider``, or of what could not be made into one.
        self.name = ""
        self.switched_off = False
        self.problems: tuple[ProviderProblem, ...] = ()


class Providers:
    """``configs`` may be filled before or after. ``dialer`` and ``web`` are for tests."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        configs: Store,
        *,
        dialer: Dialer | None = None,
        web: Web | None = None,
    ) -> None:
        self._means = means(reactor, settings, dialer, web)
        self._entries: dict[Key, _Entry] = {}
        self._names: dict[str, _Entry] = {}
        self._doubles: list[ProviderProblem] = []
        self._said: set[ProviderProblem] = set()
        self._unsubscribe = configs.subscribe(self._changed, replay=True)

    def find(self, name: str) -> Provider | None:
        """The provider of that name, be it disabled; :meth:`usable` refuses those."""
        entry = self._names.get(name)
        return None if entry is None else entry.provider

    def usable(self, name: str) -> Provider:
        """The provider of that name. Raises :class:`ProviderError` ``unknown`` or ``disabled``."""
        entry = self._names.get(name)
        if entry is None or entry.provider is None:
            raise ProviderError("unknown", f"there is no identity provider {name[:100]!r}")
        if entry.switched_off:
            raise ProviderError("disabled", f"the identity provider {name!r} is disabled")
        return entry.provider

    def by_browser(self, name: str) -> BrowserProvider:
        """The provider of that name that people sign in to on its own page. Raises :class:`ProviderError`."""
        provider = self.usable(name)
        if not isinstance(provider, BrowserProvider):
            raise ProviderError("not-password", f"the identity provider {name!r} has no page to sign in at")
        return provider

    def buttons(self) -> list[tuple[str, str]]:
        """Name and title of the providers that people may choose on the sign-in page and sign in to on theirs."""
        return self._visible(BrowserProvider)

    def with_passwords(self) -> list[tuple[str, str]]:
        """Name and title of the providers that people may choose, and that check passwords typed in here."""
        return self._visible(PasswordProvider)

    def published(self) -> list[dict[str, Any]]:
        """What everybody may know of every provider, disabled ones too (spec 02, 3.9.4)."""
        found = []
        for name in sorted(self._names):
            entry = self._names[name]
            if entry.provider is not None:
                found.append({**entry.provider.configuration.published(), "disabled": entry.switched_off})
        return found

    def problems(self) -> list[ProviderProblem]:
        """What is wrong at the moment, in the order of the Secrets."""
        found = [problem for key in sorted(self._entries) for problem in self._entries[key].problems]
        return found + self._doubles

    async def check_password(self, name: str, username: str, password: str) -> External:
        """Who has this password at the provider ``name``. Raises :class:`ProviderError`."""
        provider = self.usable(name)
        if not isinstance(provider, PasswordProvider):
            raise ProviderError("not-password", f"the identity provider {name!r} does not check passwords here")
        return await provider.check(username, password)

    def stop(self) -> None:
        """Hear of no more changes, and ask nobody any more."""
        self._unsubscribe()
        for entry in self._entries.values():
            if entry.provider is not None:
                entry.provider.close()

    def _visible(self, kind: type[Any]) -> list[tuple[str, str]]:
        found = []
        for name, entry in self._names.items():
            provider = entry.provider
            if isinstance(provider, kind) and not entry.switched_off and not provider.configuration.hidden:
                found.append((name, provider.configuration.title))
        return sorted(found, key=lambda pair: (pair[1].lower(), pair[0]))

    # -- changes ---------------------------------------------------------------------------------------

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and is_provider(new):
            self._load(key_of(new), new)
        else:
            gone = self._entries.pop(key_of(new or old or {}), None)
            if gone is None:
                return
            if gone.provider is not None:
                self.log.info("identity provider {name} is gone", name=gone.name)
                gone.provider.close()
        self._settle()

    def _load(self, key: Key, secret: Object) -> None:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(text(secret, "metadata", "creationTimestamp"), key[1])
        data = secret.get("type"), secret.get("data")
        if entry.data == data:
            return
        entry.data = data
        notes: list[str] = []
        try:
            document = document_of(secret)
            # Whatever else is wrong with it, nobody is to get in by it any more.
            entry.switched_off = entry.switched_off or switched_off(document)
            configuration = parse(document)
            entry.name = entry.name if entry.provider is not None else configuration.name
            made, notes = make(configuration, self._means)
        except BadConfiguration as error:
            kept = "; it stays as it was before" if entry.provider is not None else ""
            entry.problems = tuple(ProviderProblem(key[1], entry.name, why + kept) for why in error.problems)
            return
        if entry.provider is not None:
            entry.provider.close()
        entry.provider = made
        entry.name = configuration.name
        entry.switched_off = configuration.disabled
        entry.problems = tuple(ProviderProblem(key[1], entry.name, note, fatal=False) for note in notes)
        self.log.info(
            "identity provider {name} ({kind}) is {state}",
            name=entry.name,
            kind=configuration.type,
            state="disabled" if configuration.disabled else "in use",
        )

    def _settle(self) -> None:
        """Decide who has which name, and tell what is wrong, each thing once."""
        self._names = {}
        self._doubles = []
        for entry in sorted(self._entries.values(), key=lambda each: each.rank):
            if entry.provider is None:
                continue
            winner = self._names.setdefault(entry.name, entry)
            if winner is not entry:
                why = f"the Secret {winner.rank[1]} describes this provider, too, and is older; this one is not used"
                self._doubles.append(ProviderProblem(entry.rank[1], entry.name, why))
        current = set(self.problems())
        for problem in self.problems():
            if problem not in self._said:
                self.log.warn("{problem}", problem=str(problem))
        self._said = current


def means(reactor: Any, settings: Settings, dialer: Dialer | None = None, web: Web | None = None) -> Means:
    """What providers are made with, by the settings."""
    ours = settings.ksproxyd
    timeout = ours.timeouts.identity_provider
    http = ours.identity_providers.allow_http
    dialer = dialer or GuardedDialer(reactor, ours.identity_providers.allow_private)
    issuer = settings.authentication.issuer.url.rstrip("/")

    def callback(name: str) -> str:
        return f"{issuer}/oauth/callback/{name}" if issuer else ""

    return Means(reactor, dialer, web or TreqWeb(reactor, dialer, timeout=timeout, http=http), timeout, http, callback)


def make(configuration: Configuration, means: Means) -> tuple[Provider, list[str]]:
    """The provider, and what is odd about its configuration. Raises :class:`BadConfiguration`."""
    found = TYPES.get(configuration.type)
    if found is None:
        raise BadConfiguration([f"type: there is no {configuration.type!r}; it is one of {', '.join(TYPES)}"])
    module, name = found
    try:
        kind: Callable[[Configuration, Options, Means], Provider] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ldaptor":
            raise
        why = f"type: {configuration.type} needs ldaptor, which is not installed: pip install 'ksproxyd[ldap]'"
        raise BadConfiguration([why]) from None
    options = Options(configuration.options, "provider.")
    made = kind(configuration, options, means)
    options.done()
    notes = [f"{key}: there is no such option; it is passed over" for key in options.unread()]
    if configuration.mapping not in MAPPINGS:
        said = repr(configuration.mapping) if configuration.mapping else "nothing"
        notes.append(
            f"mappingMethod: found {said}, expected one of {', '.join(MAPPINGS)}; only users who are linked already "
            "can sign in"
        )
    return made, notes
