"""The options of an identity provider, read strictly: a wrong value is named, with what would do.

Keys are the same in any case, as for ks-apiserver. Values must have the right type: a quoted number is no number. What
is wrong is collected, so that everything is told at once; values of keys that hold secrets are never repeated.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ksproxyd.observe.redact import is_secret_name

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(;[A-Za-z0-9-]+)*|[0-9]+(\.[0-9]+)+")
# RFC 3986: what an address may consist of; blanks and line breaks are a mistake that would go on into headers.
_URL = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")


class BadConfiguration(Exception):
    """A provider cannot be made of its configuration. ``problems`` are sentences; each begins with a key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Options:
    """A mapping of options. ``path`` is how its keys are named to people: ``provider.``, ``provider.endpoint.``."""

    def __init__(self, values: Mapping[Any, Any], path: str = "", problems: list[str] | None = None) -> None:
        self._path = path
        self.problems: list[str] = [] if problems is None else problems
        self._values: dict[str, tuple[str, Any]] = {}
        self._read: set[str] = set()
        self._parts: list[Options] = []
        for key, value in values.items():
            if not isinstance(key, str):
                self.problems.append(f"{path}{key}: a key must be text")
                continue
            known = self._values.get(key.lower())
            if known is not None:
                self.problems.append(f"{path}{key}: the same key as {known[0]}, in another spelling")
            self._values[key.lower()] = key, value

    def given(self, key: str) -> bool:
        """Whether there is a value for ``key``."""
        return self._values.get(key.lower(), ("", None))[1] is not None

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A text; ``required`` ones are not empty."""
        value = self._take(key)
        if value is None:
            value = default
        if not isinstance(value, str):
            return self._wrong(key, value, "text (put it in quotes)", default)
        if required and not value:
            self._problem(key, "is required")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """``true`` or ``false``."""
        value = self._take(key)
        if value is None:
            return default
        return value if isinstance(value, bool) else self._wrong(key, value, "true or false", default)

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            return self._wrong(key, value, "a whole number, without quotes", default)
        if not least <= value <= most:
            return self._wrong(key, value, f"a number from {least} to {most}", default)
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return self._wrong(key, value, "a list of texts", default)
        return tuple(value)

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        value = self.text(key, default)
        return value if value in choices else self._wrong(key, value, " or ".join(choices), default)

    def url(self, key: str, default: str = "", *, http: bool, required: bool = False) -> str:
        """An https address (http too where ``http`` is true), without user, password and fragment."""
        value = self.text(key, default, required=required)
        if not value:
            return value
        problem = problem_of_url(value, http=http)
        if problem:
            self._problem(key, problem)
        return value

    def attribute(self, key: str, default: str = "", *, required: bool = False) -> str:
        """The name of an LDAP attribute (RFC 4512, 2.5)."""
        value = self.text(key, default, required=required)
        if value and _ATTRIBUTE.fullmatch(value) is None:
            return self._wrong(key, value, "the name of an LDAP attribute", default)
        return value

    def certificates(self, file_key: str, data_key: str) -> bytes | None:
        """PEM certificates: base64 under ``data_key``, which wins, or a file named by ``file_key``."""
        path, data = self.text(file_key), self.text(data_key)
        if data:
            try:
                pem = base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError):
                return self._wrong(data_key, data, "base64 of PEM certificates", None)
            where = data_key
        elif path:
            try:
                with open(path, "rb") as file:
                    pem = file.read(1024 * 1024)
            except OSError as error:
                self._problem(file_key, f"cannot be read: {error.strerror or error}")
                return None
            where = file_key
        else:
            return None
        if b"-----BEGIN CERTIFICATE-----" not in pem:
            self._problem(where, "holds no PEM certificate")
            return None
        return pem

    def part(self, key: str) -> Options:
        """The options below ``key``."""
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            value = self._wrong(key, value, "a mapping", {})
        found = Options(value or {}, f"{self._path}{key}.", self.problems)
        self._parts.append(found)
        return found

    def as_written(self) -> dict[str, Any]:
        """The whole mapping, with its keys as they are spelt."""
        return dict(self._values.values())

    def passed_over(self, *keys: str) -> None:
        """Keys that are known to ks-apiserver, where nothing reads them either."""
        self._read.update(key.lower() for key in keys)

    def unread(self) -> list[str]:
        """Keys that nobody has asked for."""
        found = [self._path + name for key, (name, _) in self._values.items() if key not in self._read]
        return found + [name for part in self._parts for name in part.unread()]

    def wrong(self, key: str, text: str) -> None:
        """Note that something about ``key`` is wrong."""
        self._problem(key, text)

    def done(self) -> None:
        """Raises :class:`BadConfiguration` if anything was wrong."""
        if self.problems:
            raise BadConfiguration(self.problems)

    def _take(self, key: str) -> Any:
        self._read.add(key.lower())
        return self._values.get(key.lower(), ("", None))[1]

    def _problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self._path}{key}: {text}")

    def _wrong(self, key: str, value: Any, wanted: str, default: Any) -> Any:
        found = "a secret" if is_secret_name(key) or key.lower().endswith("data") else _shown(value)
        self._problem(key, f"found {found}, expected {wanted}")
        return default


def problem_of_url(url: str, *, http: bool) -> str:
    """Why ``url`` is none that a provider may have; empty if it is. ``http``: it need not be https."""
    schemes = ("https", "http") if http else ("https",)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if _URL.fullmatch(url) is None or not parts.hostname or port == 0:
        return "is not a URL"
    if parts.scheme not in schemes:
        more = " (http needs ksproxyd.identityProviders.allowHttp)" if parts.scheme == "http" else ""
        return f"must begin with {' or '.join(f'{s}://' for s in schemes)}{more}"
    if "@" in parts.netloc:
        return "must not have a user name or password in it"
    if "#" in url:
        return "must not have a fragment"
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
