"""The configuration of one identity provider, as it is in its Secret (spec 02, 4.1). Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec
import yaml

from ksproxyd.authn.providers.options import BadConfiguration, Options
from ksproxyd.state.validation import field, text

#: ``type`` of the Secret, value of its label, and the key of its data that is read.
SECRET_TYPE = "config.kubesphere.io/identityprovider"
LABEL, LABEL_VALUE = "config.kubesphere.io/type", "identityprovider"
DATA_KEY = "configuration.yaml"

AUTO, LOOKUP, MANUAL = "auto", "lookup", "manual"
MAPPINGS = (AUTO, LOOKUP, MANUAL)

#: Largest configuration, in bytes.
LARGEST = 64 * 1024

# It becomes the end of an annotation's name, behind ``identity-provider.``, where Kubernetes allows 63 characters.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,43}[A-Za-z0-9])?")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Configuration(msgspec.Struct, frozen=True):
    """``options`` is the mapping ``provider``, as written. ``mapping`` is the ``mappingMethod``, of any value."""

    name: str
    type: str
    mapping: str = ""
    disabled: bool = False
    hidden: bool = False
    display_name: str = ""
    options: dict[str, Any] = {}

    def __repr__(self) -> str:
        # The options hold secrets.
        return f"Configuration(name={self.name!r}, type={self.type!r})"

    @property
    def title(self) -> str:
        """What people call it."""
        return self.display_name or self.name

    def published(self) -> dict[str, Any]:
        """What everybody may know of it (spec 02, 3.9.4): no option whose name speaks of a secret."""
        return {
            "name": self.name,
            "mappingMethod": self.mapping,
            "type": self.type,
            "hidden": self.hidden,
            "disabled": self.disabled,
            "displayName": self.display_name,
            "provider": _without_secrets(self.options),
        }


def is_provider(secret: dict[str, Any]) -> bool:
    """Whether a Secret is meant to be an identity provider: by its type, or by its label."""
    labels = field(secret, "metadata", "labels")
    labelled = isinstance(labels, dict) and labels.get(LABEL) == LABEL_VALUE
    return text(secret, "type") == SECRET_TYPE or labelled


def document_of(secret: dict[str, Any]) -> str:
    """The YAML in a Secret. Raises :class:`BadConfiguration`."""
    if text(secret, "type") != SECRET_TYPE:
        raise BadConfiguration([f"type: the type of the Secret must be {SECRET_TYPE}"])
    encoded = text(secret, "data", DATA_KEY)
    if not encoded:
        raise BadConfiguration([f"data: there is no {DATA_KEY}"])
    try:
        raw = base64.b64decode(encoded, validate=True)
        if len(raw) > LARGEST:
            raise BadConfiguration([f"{DATA_KEY}: it has {len(raw)} bytes, {LARGEST} are allowed"])
        return raw.decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise BadConfiguration([f"{DATA_KEY}: it is not text: {type(error).__name__}"]) from None


def parse(document: str) -> Configuration:
    """The configuration in a document. Raises :class:`BadConfiguration`; options are only looked at by their type."""
    options = Options(load(document))
    name = options.text("name", required=True)
    if name and _NAME.fullmatch(name) is None:
        options.wrong("name", "must be at most 45 letters, digits, '-', '_' and '.', and begin and end with no sign")
    found = Configuration(
        name=name,
        type=options.text("type", required=True),
        mapping=options.text("mappingMethod"),
        disabled=options.flag("disabled"),
        hidden=options.flag("hidden"),
        display_name=options.text("displayName"),
        options=_mapping(options),
    )
    options.done()
    return found


def switched_off(document: str) -> bool:
    """Whether a document that may be wrong otherwise clearly says ``disabled: true``."""
    try:
        options = Options(load(document))
    except BadConfiguration:
        return False
    return options.flag("disabled")


def load(document: str) -> dict[Any, Any]:
    """The YAML mapping. Raises :class:`BadConfiguration`, which says nothing of the document but where it is wrong."""
    try:
        loaded = yaml.load(document, _Loader)
    except yaml.MarkedYAMLError as error:
        # Not the error's own text: it quotes the line, and secrets are in there.
        place = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise BadConfiguration([f"{DATA_KEY}: it is not YAML{place}: {error.problem or 'it cannot be read'}"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadConfiguration([f"{DATA_KEY}: it is not YAML: {type(error).__name__}"]) from None
    if not isinstance(loaded, dict):
        raise BadConfiguration([f"{DATA_KEY}: it is not a mapping of keys to values"])
    return loaded


def _mapping(options: Options) -> dict[str, Any]:
    if not options.given("provider"):
        return {}
    return options.part("provider").as_written()


def _without_secrets(options: Any) -> Any:
    if isinstance(options, dict):
        return {
            str(key): _without_secrets(value)
            for key, value in options.items()
            if not any(word in str(key).lower() for word in ("password", "secret"))
        }
    if isinstance(options, list):
        return [_without_secrets(item) for item in options]
    # Dates and the like, which YAML knows and JSON does not.
    return options if isinstance(options, (str, int, float, bool, type(None))) else str(options)
