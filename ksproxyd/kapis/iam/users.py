"""``/kapis/iam.kubesphere.io/v1beta1/users`` (spec 02, 6.2 to 6.5).

Lists are answered from memory; what is written goes to Kubernetes with the password hashed already, so that nobody ever
stores one in clear. Who may manage users is :class:`Authority`'s to say; what people may change of themselves without
that is in :mod:`.user_objects`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Attempt, Login, LoginRefused
from ksproxyd.authn.passwords import Busy, Passwords
from ksproxyd.authn.records import LOGIN_RECORDS, USER_REF
from ksproxyd.authn.rejection import Rejected, SharedUnavailable
from ksproxyd.authn.tokens.claims import PRE_REGISTRATION, Claims
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_record import texts
from ksproxyd.kapis.bodies import media_type, read_json, unsupported_media_type
from ksproxyd.kapis.iam.global_roles import GlobalRoles
from ksproxyd.kapis.iam.user_objects import (
    API_VERSION,
    APPLIED,
    GLOBAL_ROLE,
    IDENTITY,
    KIND,
    PASSWORD_CHANGED,
    UNINITIALIZED,
    Object,
    check_email,
    check_name,
    check_own_change,
    check_password,
    check_plain,
    decoded,
    invalid,
    merged,
    missing,
    replaced,
    shown,
    with_annotations,
    with_lists_of,
)
from ksproxyd.kapis.listing import Ordered, Query, View, envelope, listed, parse_query
from ksproxyd.kapis.router import Route
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.model.status import (
    StatusError,
    bad_request,
    conflict,
    forbidden,
    service_unavailable,
    too_many_requests,
)
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import USERS
from ksproxyd.state.store import Store
from ksproxyd.state.validation import field, text

_SUCCESS = {"message": "success"}
_MERGE = b"application/merge-patch+json"
_NO_STORE = [(b"Cache-Control", b"no-store")]

#: Seconds in which the gateway surely hears of a user that it has written.
_CLAIM = 5.0


class Authority(Protocol):
    """Who may do more than authorization has let through already."""

    def may(self, user: Identity, verb: str, resource: str) -> bool:
        """Whether ``user`` may do this with every user: ``update`` ``users`` or ``users/password``."""

    def may_grant(self, user: Identity, role: str) -> bool:
        """Whether ``user`` may give somebody the GlobalRole ``role`` (D-16)."""

    def may_join(self, user: Identity, group: str) -> bool:
        """Whether ``user`` may put somebody in ``group``, with whatever that has been given."""

    def may_become(self, user: Identity, other: Identity) -> bool:
        """Whether ``user`` may have what ``other`` has in this cluster."""


class Users:
    """The endpoints; :meth:`routes` are relative to the group's version. ``ended(user, keep)`` ends sessions."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        users: Store,
        directory: Directory,
        client: KubeClient,
        passwords: Passwords,
        login: Login,
        tokens: Tokens,
        authority: Authority,
        ended: Callable[[str, str], Awaitable[object]],
    ) -> None:
        self._clock = clock
        self._users = users
        self._ordered = Ordered(users)
        self._directory = directory
        self._client = client
        self._passwords = passwords
        self._login = login
        self._tokens = tokens
        self._authority = authority
        self._ended = ended
        self._roles = GlobalRoles(client)
        #: E-mail addresses that are being given to somebody: to whom, and until when that counts.
        self._claims: dict[str, tuple[str, float]] = {}

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("GET", "/users", self.list, "Users"),
            Route("POST", "/users", self.create, "Create a user"),
            Route("GET", "/users/{user}", self.get, "A user"),
            Route("PUT", "/users/{user}", self.put, "Replace a user"),
            Route("PATCH", "/users/{user}", self.patch, "Change a user (merge patch)"),
            Route("DELETE", "/users/{user}", self.delete, "Delete a user"),
            Route("PUT", "/users/{user}/password", self.change_password, "Change a password"),
            Route("GET", "/users/{user}/loginrecords", self.login_records, "Logins of a user"),
        ]

    # -- reading -----------------------------------------------------------------------------------------------

    async def list(self, exchange: Exchange) -> Response:
        """A page of the users. What filters see has no hash, so none can be guessed at."""
        self._need_users()
        role = parameter(exchange.query, "globalrole")
        if role:
            names = await self._roles.users_with(role)
            found = [self._users.get(("", name)) for name in names]
            items = [shown(each) for each in found if each is not None]
            return _answer({"items": items, "totalItems": len(items)})
        return await self._listed(self._ordered, parse_query(exchange.query), shown)

    async def _listed(self, objects: Collection[Object] | Ordered, query: Query, view: View) -> Response:
        items, total = await listed(objects, query, Pacer(self._clock), view)
        return Response(200, [(b"Content-Type", b"application/json"), *_NO_STORE], envelope(items, total))

    async def get(self, exchange: Exchange, user: str) -> Response:
        """One user."""
        return _answer(shown(await self._read(user)))

    async def login_records(self, exchange: Exchange, user: str) -> Response:
        """Logins, the newest first. The user need not exist (any more)."""
        self._need_users()
        try:
            listing = await self._client.list(LOGIN_RECORDS, label_selector=f"{USER_REF}={user}")
        except KubeError as error:
            raise _passed_on(error) from error
        query = parse_query(exchange.query)
        # Whose they are is said by a label already.
        filters = tuple((name, value) for name, value in query.filters if name != "label")
        return await self._listed(listing.items, replace(query, filters=filters), _without_managers)

    async def _read(self, name: str) -> Object:
        """The user as Kubernetes has it now."""
        try:
            return await self._client.get(USERS.resource, name)
        except KubeError as error:
            raise missing(name) if error.code == 404 else _passed_on(error) from error

    def _need_users(self) -> None:
        if not self._users.synced:
            raise service_unavailable("the users are not known yet; try again in a moment", 1)

    # -- creating ----------------------------------------------------------------------------------------------

    async def create(self, exchange: Exchange) -> Response:
        """A new user, who can log in at once."""
        value = decoded(await _body(exchange))
        registering = exchange.claims if exchange.user.name == PRE_REGISTRATION else None
        name = text(value, "metadata", "name")
        if exchange.user.name == PRE_REGISTRATION:
            value = _registered(exchange.user, registering, value)
        elif not self._authority.may(exchange.user, "update", "users"):
            check_plain(name, value)
        self._check_new(name, value)
        role = text(value, "metadata", "annotations", GLOBAL_ROLE)
        if role:
            await self._check_grant(exchange.user, role)
        self._check_groups(exchange.user, value, {})
        with self._claimed(name, text(value, "spec", "email")):
            made = await self._prepared(name, value)
            if isinstance(registering, Claims):
                await self._spend(registering)
            try:
                stored = await self._client.create(USERS.resource, made)
            except KubeError as error:
                if isinstance(registering, Claims):
                    await self._give_back(registering)
                raise _passed_on(error) from error
        if role:
            await self._roles.grant(name, role)
        return _answer(shown(stored))

    async def _spend(self, registering: Claims) -> None:
        """Use the one time that an account may be made with a login at an identity provider (D-12)."""
        try:
            first = await self._tokens.spend_registration(registering)
        except Rejected:
            raise bad_request("invalid registration token") from None
        except SharedUnavailable as error:
            raise error.error() from None
        if not first:
            raise forbidden("an account was made with this login already; log in again")

    async def _give_back(self, registering: Claims) -> None:
        try:
            await self._tokens.give_back_registration(registering)
        except SharedUnavailable as error:
            self.log.warn("a login that made no account cannot be used again: {why}", why=str(error))

    def _check_new(self, name: str, value: Object) -> None:
        check_name(name)
        email = field(value, "spec", "email")
        check_email(name, "" if email is None else email)
        self._need_users()
        if self._directory.find(name) is not None:
            raise conflict(f'users.iam.kubesphere.io "{name}" already exists', {"name": name, "kind": "users"})
        password = field(value, "spec", "password")
        if password:
            check_password(name, password)

    @contextmanager
    def _claimed(self, name: str, email: str) -> Iterator[None]:
        """Nobody else gets this address meanwhile, nor for the moment until we hear of what was written.

        Raises a 409 for an address that is somebody else's.
        """
        now = self._clock.seconds()
        self._claims = {
            e: claim for e, claim in self._claims.items() if claim[1] > now and (claim[0] != name or e == email)
        }
        other = self._directory.by_email(email) if email else None
        owner = other.name if other is not None else self._claims.get(email, (name, 0.0))[0]
        if owner != name:
            raise conflict(f'{KIND}.iam.kubesphere.io "{name}": the e-mail address is another user\'s')
        if email:
            self._claims[email] = (name, now + _CLAIM)
        try:
            yield
        except BaseException:
            self._claims.pop(email, None)
            raise

    async def _prepared(self, name: str, value: Object) -> Object:
        metadata = dict(value["metadata"])
        for given in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "finalizers"):
            metadata.pop(given, None)
        spec = {"email": "", **(field(value, "spec") or {})}
        made = {**value, "apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        if spec.get("password"):
            spec["password"] = await self._hash(spec["password"])
            made = with_annotations(made, lambda found: found.update({PASSWORD_CHANGED: self._now()}))
        else:
            spec.pop("password", None)
        state = text(value, "status", "state") or "Active"
        if state not in ("Active", "Disabled"):
            raise invalid(name, "status.state: Unsupported value: use Active or Disabled")
        made["status"] = {"state": state, "lastTransitionTime": self._now()}
        return made

    async def _check_grant(self, user: Identity, role: str) -> None:
        await self._roles.need(role)
        if not self._authority.may_grant(user, role):
            raise forbidden(f'user "{user.name}" may not give the global role "{role}", which has rights of its own')

    def _check_groups(self, user: Identity, new: Object, old: Object) -> None:
        """Raises a 403 for a group more that has rights which ``user`` may not give (D-16, as with GroupBindings)."""
        had = texts(field(old, "spec", "groups"))
        for group in texts(field(new, "spec", "groups")):
            if group not in had and not self._authority.may_join(user, group):
                raise forbidden(
                    f'user "{user.name}" may not put somebody in the group "{group}", which has rights of its own'
                )

    # -- changing ----------------------------------------------------------------------------------------------

    async def put(self, exchange: Exchange, user: str) -> Response:
        """Replace a user; the hash stays."""
        value = decoded(await _body(exchange))
        named = text(value, "metadata", "name")
        if named != user:
            raise bad_request(f"the name of the object ({named}) does not match the name on the URL ({user})")
        if not text(value, "metadata", "resourceVersion"):
            raise StatusError(
                422,
                "Invalid",
                f'users.iam.kubesphere.io "{user}" is invalid: metadata.resourceVersion: Invalid value: 0: '
                "must be specified for an update",
                {"name": user, "group": "iam.kubesphere.io", "kind": "users"},
            )
        return await self._change(exchange, user, await self._read(user), value)

    async def patch(self, exchange: Exchange, user: str) -> Response:
        """Change some of a user, by the rules of :meth:`put`."""
        if media_type(exchange) not in (_MERGE, b"application/json"):
            raise unsupported_media_type(_MERGE.decode())
        patch = await _body(exchange, _MERGE)
        old = await self._read(user)
        value = decoded(merged(old, patch))
        if text(value, "metadata", "name") != user:
            raise bad_request("a user's name cannot be changed")
        return await self._change(exchange, user, old, value)

    async def _change(self, exchange: Exchange, name: str, old: Object, value: Object) -> Response:
        who = exchange.user
        email = field(value, "spec", "email")
        check_email(name, email)
        self._need_users()
        new = replaced(old, value, self._now())
        if not self._authority.may(who, "update", "users"):
            new = with_lists_of(old, new)
            check_own_change(name, old, new)
        had = await self._check_rank(who, name)
        role = text(new, "metadata", "annotations", GLOBAL_ROLE)
        granting = bool(role) and role != had
        if granting:
            await self._check_grant(who, role)
        self._check_groups(who, new, old)
        with self._claimed(name, email):
            try:
                stored = await self._client.update(USERS.resource, new)
            except KubeError as error:
                raise _passed_on(error) from error
        if granting:
            await self._roles.grant(name, role)
        if text(stored, "status", "state") == "Disabled":
            await self._end(name)
        return _answer(shown(stored))

    async def _check_rank(self, who: Identity, name: str) -> str:
        """The global role of a user. Raises a 403 for somebody else's who has a role that ``who`` may not give,
        everywhere or in the cluster: who can change a user, its password or its links, can become it (D-16).

        Roles in workspaces and namespaces do not count: there, passwords are reset by who manages users and is in none.
        """
        role = await self._roles.role_of(name)
        if who.name == name:
            return role
        if role and not self._authority.may_grant(who, role):
            raise forbidden(f'user "{name}" has the global role "{role}", which has rights that "{who.name}" has not')
        record = self._directory.find(name)
        other = Identity(name, record.groups if record is not None else ())
        if not self._authority.may_become(who, other):
            raise forbidden(f'user "{name}" has a role in this cluster with rights that "{who.name}" has not')
        return role

    async def delete(self, exchange: Exchange, user: str) -> Response:
        """Delete a user; what belongs to it goes with it."""
        await self._check_rank(exchange.user, user)
        try:
            await self._client.delete(USERS.resource, user)
        except KubeError as error:
            raise missing(user) if error.code == 404 else _passed_on(error) from error
        self._claims = {email: claim for email, claim in self._claims.items() if claim[0] != user}
        await self._end(user)
        return Response.json(200, _SUCCESS)

    async def change_password(self, exchange: Exchange, user: str) -> Response:
        """A new password. Who does not manage passwords shows the current one; other sessions end (D-34)."""
        body = await _body(exchange)
        current, new = field(body, "currentPassword"), field(body, "password")
        manages = self._authority.may(exchange.user, "update", "users/password")
        old = await self._read(user)
        await self._check_rank(exchange.user, user)
        if current or not manages:
            await self._confirm(exchange, user, current if isinstance(current, str) else "")
        if not new:
            raise bad_request("the new password is empty: send it as `password`")
        check_password(user, new)
        hashed = await self._hash(new)
        own = exchange.user.name == user
        annotations = {PASSWORD_CHANGED: self._now(), APPLIED: None, **({UNINITIALIZED: None} if own else {})}
        # A patch: that the login which has led here is being noted must not be in the way. The uid is the account that
        # was asked for, whoever has its name now.
        change = {
            "metadata": {"uid": text(old, "metadata", "uid"), "annotations": annotations},
            "spec": {"password": hashed},
        }
        try:
            await self._client.patch(USERS.resource, user, change)
        except KubeError as error:
            raise _passed_on(error) from error
        keep = exchange.claims.session if own and isinstance(exchange.claims, Claims) else ""
        await self._end(user, keep)
        return Response.json(200, _SUCCESS)

    async def _confirm(self, exchange: Exchange, user: str, password: str) -> None:
        agent = (exchange.fields.get(b"user-agent") or b"").decode("utf-8", "replace")
        try:
            await self._login.confirm(user, password, Attempt(exchange.client, agent))
        except LoginRefused as refused:
            if refused.kind == "limited":
                raise too_many_requests("too many wrong passwords; try again later", refused.retry_after) from None
            if refused.kind == "busy":
                raise _busy() from None
            raise bad_request("incorrect old password") from None
        except SharedUnavailable as error:
            raise error.error() from None

    async def _hash(self, password: str) -> str:
        try:
            return await self._passwords.hash(password)
        except Busy:
            raise _busy() from None

    async def _end(self, user: str, keep: str = "") -> None:
        try:
            await self._ended(user, keep)
        except SharedUnavailable as error:
            # What was asked for is done. Tokens of users that are gone or disabled are good for nothing in any case;
            # others live until the store is back and somebody ends them, which the answer asks for.
            self.log.warn("the sessions of user {name} could not be ended: {why}", name=user, why=str(error))
            raise error.error() from None

    def _now(self) -> str:
        return datetime.fromtimestamp(int(self._clock.seconds()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _registered(user: Identity, claims: Any, value: Object) -> Object:
    """The account that somebody from an identity provider makes for themselves: linked, and without rights (6.3)."""
    extra = dict(user.extra)
    idp, uid = extra.get("idp", ()), extra.get("uid", ())
    # Without a token that is spent with it, an account would be no end of accounts.
    if not isinstance(claims, Claims) or len(idp) != 1 or len(uid) != 1 or not idp[0] or not uid[0]:
        raise bad_request("invalid registration token")

    def linked(annotations: dict[str, Any]) -> None:
        for name in tuple(annotations):
            if name.startswith("iam.kubesphere.io/"):
                del annotations[name]
        annotations[IDENTITY + idp[0]] = uid[0]

    kept = {"metadata": {"name": text(value, "metadata", "name")}, "spec": dict(field(value, "spec") or {})}
    kept["spec"].pop("groups", None)
    return with_annotations(kept, linked)


def _without_managers(value: Object) -> Object:
    """A login record as it is shown."""
    metadata = field(value, "metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return value
    return {**value, "metadata": {name: each for name, each in metadata.items() if name != "managedFields"}}


def _busy() -> StatusError:
    return service_unavailable("too many passwords are being looked at; try again", 1)


def _answer(value: Any) -> Response:
    return Response.json(200, value, _NO_STORE)


def _passed_on(error: KubeError) -> StatusError:
    """What Kubernetes said, without a password that its text may show."""
    message = error.message
    if error.code == 422 and "spec.password" in message:
        message = "spec.password: the password does not meet the rules"
    return StatusError(error.code, error.reason, message)


async def _body(exchange: Exchange, *more: bytes) -> Any:
    """The JSON in the body. A body without its type is a 400, as it always was here."""
    given = media_type(exchange)
    if given in more:
        exchange.fields.replace(b"Content-Type", b"application/json")
    elif given != b"application/json":
        shown_type = given.decode("latin-1")
        raise bad_request(f"Unable to unmarshal content of type: {shown_type} (send application/json)")
    return await read_json(exchange)
