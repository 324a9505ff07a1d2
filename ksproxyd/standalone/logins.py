"""What the embedded API needs so that somebody can log in at the first start: a secret, an address, a user.

A cluster has these from whoever installed it; here they are made once and kept in the state directory or, the user,
with the other objects.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ksproxyd.authn.password_policy import problem_of
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.settings import Settings
from ksproxyd.settings.secret_file import SecretFileError, read_secret_file
from ksproxyd.standalone.access import write_private

SECRET_FILE = "jwt.secret"
ADMIN = "admin"
#: The role that may do everything.
ADMIN_ROLE = "platform-admin"

_IAM = ("iam.kubesphere.io", "v1beta1")
_USERS = Resource(*_IAM, "users", "User")
_ROLES = Resource(*_IAM, "globalroles", "GlobalRole")
_ROLE_BINDINGS = Resource(*_IAM, "globalrolebindings", "GlobalRoleBinding")
_TCP = re.compile(r"tcp6?:(?P<port>[0-9]+)(?::.*)?")
_INTERFACE = re.compile(r"(?:^|:)interface=(?P<host>(?:\\:|[^:])+)")

#: Characters that cannot be taken for one another.
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 20


def with_logins(settings: Settings, state_dir: str) -> Settings:
    """``settings`` with a secret and an issuer, where they name none. Raises ``OSError`` for an unusable directory."""
    issuer = settings.authentication.issuer
    update: dict[str, Any] = {}
    if not issuer.jwt_secret.get_secret_value():
        update["jwt_secret"] = SecretStr(_kept_secret(state_dir))
    if not issuer.url:
        update["url"] = own_url(settings)
    if not update:
        return settings
    authentication = settings.authentication.model_copy(update={"issuer": issuer.model_copy(update=update)})
    return settings.model_copy(update={"authentication": authentication})


def own_url(settings: Settings) -> str:
    """Where the first listener is reached from this machine; empty where that is not known beforehand."""
    for listener in settings.ksproxyd.listeners:
        endpoint = listener.server_endpoint()
        match = _TCP.fullmatch(endpoint)
        if match is None or match["port"] == "0":
            continue
        found = _INTERFACE.search(endpoint)
        host = found["host"].replace("\\:", ":") if found else "127.0.0.1"
        if host in ("0.0.0.0", "::", ""):
            host = "127.0.0.1"
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if listener.tls is not None else 'http'}://{shown}:{match['port']}"
    return ""


def _kept_secret(state_dir: str) -> str:
    path = os.path.join(state_dir, SECRET_FILE)
    try:
        return read_secret_file(path)
    except SecretFileError:
        if os.path.exists(path):
            raise OSError(f"{path} does not hold a secret; delete it, and everybody logs in again") from None
    Path(state_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    secret = secrets.token_urlsafe(48)
    write_private(path, secret + "\n")
    return secret


def new_password(choose: Callable[[str], str] = secrets.choice) -> str:
    """A password nobody knows, that meets the rules for passwords."""
    while True:
        password = "".join(choose(_ALPHABET) for _ in range(_LENGTH))
        if all(any(test(c) for c in password) for test in (str.islower, str.isupper, str.isdigit)):
            return password


def _given_password(path: str) -> str:
    try:
        password = read_secret_file(path)
    except SecretFileError as error:
        raise SecretFileError(f"{path} is {error}") from None
    problem = problem_of(password, ADMIN)
    if problem is not None:
        raise SecretFileError(f"{path} holds a password that nobody may have: {problem}")
    return password


async def make_admin(client: KubeClient, hashed: Callable[[str], Awaitable[str]], password_file: str) -> str | None:
    """Make the user ``admin`` with the global role that may do everything, unless there is a user already.

    ``hashed(password)`` is awaited for the hash. Returns the password if it was made up, so that it can be shown once.
    Raises :class:`~ksproxyd.settings.secret_file.SecretFileError` for a password file that cannot be used.
    """
    if (await client.list(_USERS)).items:
        return None
    password = _given_password(password_file) if password_file else new_password()
    role = {
        "apiVersion": _ROLES.api_version,
        "kind": "GlobalRole",
        "metadata": {"name": ADMIN_ROLE},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
    }
    binding = {
        "apiVersion": _ROLE_BINDINGS.api_version,
        "kind": "GlobalRoleBinding",
        "metadata": {
            "name": f"{ADMIN}-{ADMIN_ROLE}",
            "labels": {"iam.kubesphere.io/user-ref": ADMIN, "iam.kubesphere.io/role-ref": ADMIN_ROLE},
        },
        "roleRef": {"apiGroup": _IAM[0], "kind": "GlobalRole", "name": ADMIN_ROLE},
        "subjects": [{"apiGroup": _IAM[0], "kind": "User", "name": ADMIN}],
    }
    user = {
        "apiVersion": _USERS.api_version,
        "kind": "User",
        "metadata": {"name": ADMIN, "annotations": {"iam.kubesphere.io/globalrole": ADMIN_ROLE}},
        "spec": {"email": "", "password": await hashed(password)},
        "status": {"state": "Active"},
    }
    for resource, value in ((_ROLES, role), (_ROLE_BINDINGS, binding), (_USERS, user)):
        try:
            await client.create(resource, value)
        except KubeError as error:
            if error.code != 409:
                raise
    return None if password_file else password
