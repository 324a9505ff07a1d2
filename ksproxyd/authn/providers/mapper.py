"""Which of our users somebody is whom an identity provider knows (spec 02, 4.5 and D-14).

A user is linked with a provider's identifier by an annotation, and by nothing else: a name or an e-mail address that
happen to be the same do not make somebody that user. ``mappingMethod: auto`` makes a user for whoever comes for the
first time, under a name that nobody has.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.providers.configuration import AUTO, LOOKUP, MANUAL, MAPPINGS
from ksproxyd.authn.providers.provider import LARGEST_UID, External, Provider
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.user_record import ACTIVE, DISABLED, LINK, RESERVED, UserRecord, read_user
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.state.kinds import USERS

#: How long a new user may take to come back to us by the watch, in seconds.
PATIENCE = 10.0

#: User names are values of labels, too, which are not longer (RFC 1123, 2.1; Kubernetes).
_LONGEST_NAME = 63
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ADDRESS = re.compile(r"[^@\s<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,255}")


class MappingRefused(Exception):
    """The provider knows them, and they are nobody here. The text is for the log."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Mapper:
    """``client`` writes the users that are made."""

    log = Logger()

    def __init__(self, clock: IReactorTime, directory: Directory, client: KubeClient) -> None:
        self._clock = clock
        self._directory = directory
        self._client = client

    def foresee(self, provider: Provider, external: External) -> str:
        """What :meth:`resolve` would come to, in words; nothing is made. Raises :class:`MappingRefused`."""
        found = self._known(provider, external)
        if isinstance(found, UserRecord):
            return f"is user {found.name}"
        if isinstance(found, Registration):
            return "may create an account (mappingMethod: manual)"
        name = self._free_name(provider.configuration.name, external)
        return f"would become the new user {name} (mappingMethod: auto)"

    async def resolve(self, provider: Provider, external: External) -> UserRecord | Registration:
        """The user who ``external`` is, made where there is none and the provider's ``mappingMethod`` is ``auto``.

        Raises :class:`MappingRefused`, and :class:`~ksproxyd.authn.rejection.SharedUnavailable` where it cannot be
        told: the users are not known yet, or Kubernetes is away.
        """
        found = self._known(provider, external)
        return await self._create(provider.configuration.name, external) if found is None else found

    async def register(self, registration: Registration, name: str) -> UserRecord:
        """The user ``name``, made for somebody whom a provider knows; or who they are, if they are somebody by now.

        Raises as :meth:`resolve`.
        """
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")
        linked = self._directory.by_link(registration.idp, registration.uid)
        if linked:
            return _admitted(linked[0], registration.idp)
        # The address is only there if the provider vouches for it.
        external = External(registration.uid, name, registration.email, email_verified=bool(registration.email))
        return await self._create(registration.idp, external)

    def _known(self, provider: Provider, external: External) -> UserRecord | Registration | None:
        """Who that is, without anything being made; None: a user is to be made."""
        configuration = provider.configuration
        name = configuration.name
        problem = problem_of_uid(external.uid)
        if problem:
            raise MappingRefused(f"identity provider {name}: {problem}")
        if not self._directory.synced:
            raise SharedUnavailable("the users are not known yet")
        linked = self._directory.by_link(name, external.uid)
        if len(linked) > 1:
            users = ", ".join(record.name for record in linked)
            raise MappingRefused(f"several users ({users}) are linked with {external.uid!r} at {name}; one may be")
        if linked:
            return _admitted(linked[0], name)
        method = configuration.mapping
        if method == MANUAL:
            return Registration(name, external.uid, external.username, _email(external))
        if method == LOOKUP:
            raise MappingRefused(f"no user is linked with {external.uid!r} at {name}, and its mappingMethod is lookup")
        if method != AUTO:
            raise MappingRefused(f"identity provider {name} has no mappingMethod ({', '.join(MAPPINGS)})")
        return None

    def _free_name(self, provider: str, external: External) -> str:
        name = user_name(external.username)
        if self._directory.find(name) is not None:
            raise _taken(name, provider, external.uid)
        return name

    async def _create(self, provider: str, external: External) -> UserRecord:
        name = self._free_name(provider, external)
        body = new_user(name, provider, external, self._free_email(external, name))
        try:
            stored = await self._client.create(USERS.resource, body, field_manager="ksproxyd")
        except KubeUnreachable as error:
            raise SharedUnavailable(f"user {name} cannot be created: {error.detail}") from error
        except KubeError as error:
            if error.code == 409:
                return await self._created_elsewhere(name, provider, external)
            if error.code == 429 or error.code >= 500:
                raise SharedUnavailable(f"user {name} cannot be created: {error}") from error
            raise MappingRefused(f"user {name} of identity provider {provider} cannot be created: {error}") from None
        self.log.info("user {name} was created for {uid} at {provider}", name=name, uid=external.uid, provider=provider)
        return await self._arrived(stored)

    async def _created_elsewhere(self, name: str, provider: str, external: External) -> UserRecord:
        """Somebody was faster: another gateway with the same person, or anybody with that name."""
        try:
            present = await self._client.get(USERS.resource, name)
        except KubeError as error:
            raise SharedUnavailable(f"user {name} cannot be read: {error}") from error
        record = read_user(present)
        if record is None or (provider, external.uid) not in record.links:
            raise _taken(name, provider, external.uid)
        return _admitted(await self._arrived(present), provider)

    async def _arrived(self, stored: dict[str, Any]) -> UserRecord:
        """The record of a new user, once everybody who looks the user up finds it."""
        wanted = read_user(stored)
        if wanted is None:
            raise MappingRefused("Kubernetes has stored a user without a name")
        done: Deferred[None] = Deferred()

        def look(name: str) -> None:
            found = self._directory.find(wanted.name)
            if found is not None and found.uid == wanted.uid and not done.called:
                done.callback(None)

        end = self._directory.subscribe(look, (wanted.name,))
        try:
            look(wanted.name)
            await done.addTimeout(PATIENCE, self._clock)
        except TookTooLong:
            raise SharedUnavailable(f"user {wanted.name} was created, but is not heard of yet") from None
        finally:
            end()
        found = self._directory.find(wanted.name)
        if found is None:
            raise MappingRefused(f"user {wanted.name} was deleted again")
        return found

    def _free_email(self, external: External, name: str) -> str:
        """The address, if it may be the user's: verified, and nobody else's."""
        email = _email(external)
        if email and self._directory.by_email(email) is not None:
            self.log.warn("user {name} is created without an e-mail address: another user has it", name=name)
            return ""
        return email


def new_user(name: str, provider: str, external: External, email: str) -> dict[str, Any]:
    """The User object for somebody who comes for the first time."""
    spec: dict[str, Any] = {"email": email}
    if external.display_name and external.display_name.isprintable():
        spec["displayName"] = external.display_name[:256]
    return {
        "apiVersion": USERS.resource.api_version,
        "kind": USERS.resource.kind,
        "metadata": {"name": name, "annotations": {LINK + provider: external.uid}},
        "spec": spec,
        "status": {"state": ACTIVE},
    }


def problem_of_uid(uid: str) -> str:
    """Why ``uid`` cannot tell people apart; empty if it can."""
    if not uid or not uid.strip():
        return "it gives no identifier for whoever signs in"
    try:
        size = len(uid.encode())
    except UnicodeEncodeError:
        return "the identifier it gives is no text"
    if size > LARGEST_UID:
        return f"the identifier it gives is longer than {LARGEST_UID} bytes"
    if uid != uid.strip() or not uid.isprintable():
        return "the identifier it gives has blanks around it, or characters that cannot be seen"
    return ""


def user_name(username: str) -> str:
    """The name of a new user. Raises :class:`MappingRefused` for one that no user can have.

    Nothing is put in the place of what is not allowed: two people could get the same name.
    """
    name = username.lower()
    if not name:
        raise MappingRefused("the identity provider gives no user name that a user could be called by")
    if name.startswith(RESERVED) or len(name) > _LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise MappingRefused(
            f"nobody can be called {username[:80]!r} here: a user name has at most {_LONGEST_NAME} letters, digits, "
            "'-' and '.'; create the user under another name and link it, or use another attribute of the provider's"
        )
    return name


def _email(external: External) -> str:
    email = external.email.strip() if external.email_verified else ""
    return email if _ADDRESS.fullmatch(email) else ""


def _admitted(record: UserRecord, provider: str) -> UserRecord:
    """Raises unless the user may be let in."""
    if record.state == DISABLED:
        raise MappingRefused(f"user {record.name} (identity provider {provider}) is disabled")
    if record.deleting:
        raise MappingRefused(f"user {record.name} (identity provider {provider}) is being deleted")
    return record


def _taken(name: str, provider: str, uid: str) -> MappingRefused:
    return MappingRefused(
        f"there is a user {name} already, who is not linked with {uid!r} at {provider}; if they are the same person, "
        f"set the annotation {LINK}{provider} of that user"
    )
