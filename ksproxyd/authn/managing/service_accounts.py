"""Tokens for KubeSphere's ServiceAccounts (spec 02, 6.7): each account has a Secret with one.

A Secret of type :data:`TYPE` that names its account gets a token if it has none, an account without such a Secret gets
one, and with the account its Secrets go. A token speaks of its Secret, so a Secret that is deleted takes it back.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.managing.belongings import delete
from ksproxyd.authn.records import MANAGER
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.state.kinds import SERVICE_ACCOUNT_TOKENS, SERVICE_ACCOUNTS
from ksproxyd.state.store import Object, Store
from ksproxyd.state.validation import field, text
from ksproxyd.state.work_queue import WorkQueue

TYPE = "kubesphere.io/service-account-token"
#: The annotation of a Secret that names its account.
ACCOUNT = "kubesphere.io/service-account.name"
#: Where in the Secret the token is.
TOKEN = "token"

#: Namespace and name of an account.
_Key = tuple[str, str]

#: Longest part of an account's name in that of its Secret.
_PREFIX = 200


class ServiceAccountTokens:
    """``leading()`` is whether it is us who do it; :meth:`look_at_all` is to be called when that has changed.

    ``make_token(namespace, name, uid, secret)`` makes a token for the account with that uid and the Secret of that
    name; ``suffix()`` gives a few random characters for a Secret's name.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Callable[[], float],
        client: KubeClient,
        accounts: Store,
        secrets: Store,
        leading: Callable[[], bool],
        make_token: Callable[[str, str, str, str], str],
        suffix: Callable[[], str],
    ) -> None:
        self._client = client
        self._accounts = accounts
        self._secrets = secrets
        self._leading = leading
        self._make_token = make_token
        self._suffix = suffix
        self._queue: WorkQueue[_Key] = WorkQueue(clock, random, self._look, self._failed)
        self._said: set[int] = set()
        self._ends: list[Callable[[], object]] = []

    def start(self) -> None:
        """Begin. Called once."""
        self._ends = [
            self._accounts.subscribe(self._account_changed, replay=True),
            self._secrets.subscribe(self._secret_changed, replay=True),
        ]

    def stop(self) -> None:
        """Write nothing any more."""
        for end in self._ends:
            end()
        self._ends.clear()
        self._queue.stop()

    def look_at_all(self) -> None:
        """Somebody else leads, or we do."""
        if self._leading():
            for key in (*self._accounts.keys(), *map(_account_of, self._secrets.values())):
                self._add(key)

    def _account_changed(self, old: Object | None, new: Object | None) -> None:
        metadata = field(new if new is not None else old, "metadata")
        self._add((text(metadata, "namespace"), text(metadata, "name")))

    def _secret_changed(self, old: Object | None, new: Object | None) -> None:
        for obj in (old, new):
            if obj is not None:
                self._add(_account_of(obj))

    def _add(self, key: _Key) -> None:
        if all(key) and self._leading():
            self._queue.add(key)

    async def _look(self, key: _Key) -> None:
        namespace, name = key
        if not self._leading():
            return
        account = await self._read(key)
        resource = SERVICE_ACCOUNT_TOKENS.resource
        # Asked for, not looked up: what was created a moment ago may not have been heard of.
        found = await self._client.list(resource, namespace, field_selector=f"type={TYPE}")
        ours = [secret for secret in found.items if _account_of(secret) == key]
        if account is None:
            for secret in ours:
                await delete(self._client, resource, text(secret, "metadata", "name"), namespace)
            return
        if field(account, "metadata", "deletionTimestamp"):
            return
        uid = text(account, "metadata", "uid")
        for secret in ours:
            if not text(secret, "data", TOKEN) and not field(secret, "metadata", "deletionTimestamp"):
                await self._fill(secret, name, uid)
        if not ours:
            ours = [await self._create(account)]
        await self._mention(account, [text(secret, "metadata", "name") for secret in ours])

    async def _read(self, key: _Key) -> Object | None:
        try:
            return await self._client.get(SERVICE_ACCOUNTS.resource, key[1], key[0])
        except KubeError as error:
            if error.code != 404:
                raise
            return None

    def _data(self, namespace: str, name: str, uid: str, secret: str) -> dict[str, str]:
        token = self._make_token(namespace, name, uid, secret)
        return {TOKEN: base64.b64encode(token.encode("ascii")).decode("ascii")}

    async def _fill(self, secret: Object, name: str, uid: str) -> None:
        metadata = secret["metadata"]
        patch = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "data": self._data(metadata["namespace"], name, uid, metadata["name"]),
        }
        resource = SERVICE_ACCOUNT_TOKENS.resource
        await self._client.patch(resource, metadata["name"], patch, metadata["namespace"], field_manager=MANAGER)

    async def _create(self, account: Object) -> Object:
        metadata = account["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], text(metadata, "uid")
        secret = f"{name[:_PREFIX].rstrip('.-')}-{self._suffix()}"
        owner = {
            "apiVersion": SERVICE_ACCOUNTS.resource.api_version,
            "kind": SERVICE_ACCOUNTS.resource.kind,
            "name": name,
            "uid": uid,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": TYPE,
            "metadata": {
                "name": secret,
                "namespace": namespace,
                "annotations": {ACCOUNT: name},
                "ownerReferences": [owner],
            },
            "data": self._data(namespace, name, uid, secret),
        }
        return await self._client.create(SERVICE_ACCOUNT_TOKENS.resource, body, namespace, field_manager=MANAGER)

    async def _mention(self, account: Object, names: list[str]) -> None:
        """The account lists its Secrets."""
        metadata = account["metadata"]
        listed = account.get("secrets")
        listed = listed if isinstance(listed, list) else []
        known = {text(each, "name") for each in listed}
        missing = [name for name in names if name not in known]
        if not missing:
            return
        namespace = metadata["namespace"]
        more = [{"kind": "Secret", "namespace": namespace, "name": name} for name in missing]
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "secrets": [*listed, *more],
        }
        resource = SERVICE_ACCOUNTS.resource
        await self._client.patch(resource, metadata["name"], patch, namespace, field_manager=MANAGER)

    def _failed(self, key: _Key, failure: Failure) -> bool:
        error = failure.value
        where = "/".join(key)
        if not isinstance(error, KubeError):
            self.log.failure("making the token of ServiceAccount {where} failed", failure, where=where)
        elif error.code != 409 and error.code not in self._said:
            self._said.add(error.code)
            self.log.warn(
                "the token of ServiceAccount {where} cannot be written: {error}", where=where, error=str(error)
            )
        return True


def _account_of(secret: Object) -> _Key:
    """The account that a Secret names; empty for none."""
    if text(secret, "type") != TYPE:
        return "", ""
    annotations = field(secret, "metadata", "annotations")
    name = annotations.get(ACCOUNT) if isinstance(annotations, dict) else None
    return text(secret, "metadata", "namespace"), name if isinstance(name, str) else ""
