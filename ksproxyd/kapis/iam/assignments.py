"""Giving users roles, and taking them away, so that nobody is without rights in between and nobody keeps two
(spec 03, 4.3 and D26).

A new binding is made before old ones go. Who is served by this gateway takes turns for one user; of two gateways the
later one's binding stays: each removes what it knew before it wrote, and what was made before its own.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.records import USER_REF
from ksproxyd.authn.turns import Turns
from ksproxyd.authz.bindings import Bindings
from ksproxyd.kapis.echo import Written, is_ending, version_of
from ksproxyd.kapis.iam.member_scopes import (
    IN_NAMESPACE,
    IN_WORKSPACE,
    Object,
    Scope,
    binding_names,
    gives,
    is_at,
    names_user,
    new_binding,
    without_user,
)
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError
from ksproxyd.state.validation import text

#: A binding that names others, too, is written again so often when somebody else writes it at the same time.
_TRIES = 4


class Assignments:
    """Writes the bindings. Every method that writes raises :class:`StatusError` where Kubernetes refuses."""

    def __init__(self, clock: IReactorTime, client: KubeClient, bindings: Bindings) -> None:
        self._clock = clock
        self._client = client
        self._bindings = bindings
        self._turns = Turns(clock)

    def of(self, scope: Scope, place: str, user: str) -> tuple[Object, ...]:
        """The bindings that name ``user`` there, newest first; not those of their groups, nor such that are ending."""
        workspace = place if scope is IN_WORKSPACE else ""
        namespace = place if scope is IN_NAMESPACE else ""
        found = self._bindings.of(scope.bindings, Identity(user), namespace=namespace, workspace=workspace)
        return tuple(each for each in found if not is_ending(each))

    async def exists(self, scope: Scope, place: str, user: str) -> bool:
        """Whether ``user``, whose name has been looked at, is a member."""
        if self.of(scope, place, user):
            return True
        try:
            return bool(await self._labelled(scope, place, user))
        except KubeError as error:
            raise refused(error) from error

    async def assign(self, scope: Scope, place: str, user: str, role: str, check: Callable[[], None]) -> None:
        """Let ``user`` have ``role`` there, and nothing else. Names have been looked at, and the role exists.

        ``check()`` raises what is to be raised if ``user`` may not be given what they have not got already.
        """
        async with self._turns.turn((scope.parameter, place, user)):
            before = self.of(scope, place, user)
            given = [each for each in before if gives(scope, each, role)]
            if given and len(before) == 1:
                return
            if not given:
                check()
            try:
                await self._replace(scope, place, user, role, before)
            except KubeError as error:
                raise refused(error) from error

    async def remove(self, scope: Scope, place: str, user: str) -> None:
        """Take every role of ``user`` there; it is fine if there is none."""
        async with self._turns.turn((scope.parameter, place, user)):
            written = Written(self._bindings.store(scope.bindings))
            found = {_uid(each): each for each in self.of(scope, place, user)}
            try:
                # What is not heard of yet goes, too.
                found |= {_uid(each): each for each in await self._labelled(scope, place, user)}
                for each in found.values():
                    await self._let_go(scope, each, user, written)
            except KubeError as error:
                raise refused(error) from error
            await written.heard(self._clock)

    async def _replace(self, scope: Scope, place: str, user: str, role: str, before: tuple[Object, ...]) -> None:
        written = Written(self._bindings.store(scope.bindings))
        made = await self._make(scope, place, user, role, before)
        written.stored(made)
        old = {_uid(each): each for each in before}
        version = version_of(made)
        for each in await self._labelled(scope, place, user):
            # Newer ones are somebody else's, who removes ours.
            if version_of(each) < version:
                old[_uid(each)] = each
        old.pop(_uid(made), None)
        for each in old.values():
            await self._let_go(scope, each, user, written)
        await written.heard(self._clock)

    async def _make(self, scope: Scope, place: str, user: str, role: str, before: tuple[Object, ...]) -> Object:
        resource, namespace = scope.bindings.resource, scope.namespace(place)
        taken = {text(each, "metadata", "name") for each in before}
        failure: KubeError | None = None
        for name in binding_names(user, role):
            # One that is there already may be about to be removed by somebody who makes another.
            if name in taken:
                continue
            try:
                return await self._client.create(resource, new_binding(scope, place, user, role, name), namespace)
            except KubeError as error:
                if error.code != 409:
                    raise
                failure = error
            found = await self._read(scope, name, namespace)
            if found is not None and _is_theirs(scope, place, user, role, found):
                return found
        if failure is None:
            raise StatusError(409, "Conflict", f'"{user}" has too many bindings to "{role}"; remove some of them')
        raise failure

    async def _labelled(self, scope: Scope, place: str, user: str) -> list[Object]:
        """What Kubernetes has for ``user`` now. Labels find it; subjects and place decide."""
        listing = await self._client.list(
            scope.bindings.resource, scope.namespace(place), label_selector=f"{USER_REF}={user}"
        )
        return [each for each in listing.items if is_at(scope, each, place) and names_user(each, user)]

    async def _let_go(self, scope: Scope, binding: Object, user: str, written: Written) -> None:
        """Delete a binding of ``user``'s, or take them out of one that names others, too."""
        resource = scope.bindings.resource
        name, namespace = text(binding, "metadata", "name"), text(binding, "metadata", "namespace")
        seen: Object | None = binding
        for left in range(_TRIES, 0, -1):
            if seen is None or _uid(seen) != _uid(binding) or not names_user(seen, user):
                break
            kept = without_user(seen, user)
            try:
                if kept is None:
                    await self._client.delete(resource, name, namespace, uid=_uid(seen))
                    break
                whole = {"apiVersion": resource.api_version, "kind": resource.kind, **kept}
                written.stored(await self._client.update(resource, whole))
                return
            except KubeError as error:
                if error.code == 404:
                    break
                if error.code != 409 or left == 1:
                    raise
            seen = await self._read(scope, name, namespace)
        written.removed(binding)

    async def _read(self, scope: Scope, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(scope.bindings.resource, name, namespace)
        except KubeError as error:
            if error.code == 404:
                return None
            raise


def refused(error: KubeError) -> StatusError:
    """What Kubernetes said, with its code (D28)."""
    return StatusError(error.code, error.reason, error.message)


def _is_theirs(scope: Scope, place: str, user: str, role: str, binding: Object) -> bool:
    return (
        gives(scope, binding, role)
        and is_at(scope, binding, place)
        and names_user(binding, user)
        and without_user(binding, user) is None
        and not is_ending(binding)
    )


def _uid(binding: Object) -> str:
    return text(binding, "metadata", "uid")
