"""Sections of the configuration, and what can be asked of them: their keys, kinds and places."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

#: Keys whose spelling is not the camel case of the attribute.
_SPELLINGS = {
    "access_key_id": "accessKeyID",
    "client_ca_file": "clientCAFile",
    "disable_ssl": "disableSSL",
    "require_pkce": "requirePKCE",
    "sign_in_url": "signInURL",
}

#: The section that is ksproxyd's own: its keys are exact, everything in it can be set from the environment.
OWN = "ksproxyd"

#: A key as it is written in the file, from the outside in; numbers are places in a list.
Path = tuple[str | int, ...]


def spelling(attribute: str) -> str:
    """The key of an attribute in the file."""
    first, *rest = attribute.split("_")
    return _SPELLINGS.get(attribute) or first + "".join(word.capitalize() for word in rest)


class Section(BaseModel):
    """A mapping of the configuration with known keys. Frozen; attributes are the keys in snake case."""

    model_config = ConfigDict(
        alias_generator=spelling,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=False,
    )

    #: The key that a bare value stands for, where a list of these sections may hold one instead of a mapping.
    shorthand: ClassVar[str] = ""
    #: The attributes that are not used where the shorthand's key is given.
    replaced_by_shorthand: ClassVar[frozenset[str]] = frozenset()


def setting(default: Any, description: str, *, reload: bool = False) -> Any:
    """A key: its default, what it means, and whether a change takes effect on reload (else it needs a restart)."""
    return Field(default=default, description=description, json_schema_extra={"reload": reload})


def part(section: type[Section]) -> Any:
    """A section within a section."""
    return Field(default_factory=section)


def required(description: str, *, reload: bool = False) -> Any:
    """A key without a default."""
    return Field(description=description, json_schema_extra={"reload": reload})


def takes_effect_on_reload(field: FieldInfo) -> bool:
    """What :func:`setting` was told."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("reload") is True


def key_of(field: FieldInfo) -> str:
    """The key of a field of a :class:`Section` in the file."""
    assert field.alias is not None, "every field gets its key from spelling()"
    return field.alias


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def inner_section(field: FieldInfo) -> type[Section] | None:
    """The section a field holds, also one that may be absent (``Section | None``)."""
    choices = (field.annotation, *typing.get_args(field.annotation))
    if typing.get_origin(field.annotation) is tuple:
        return None
    return next((each for each in choices if _is_section(each)), None)


def may_be_absent(field: FieldInfo) -> bool:
    """Whether the field is a section or nothing."""
    return type(None) in typing.get_args(field.annotation)


def item_section(field: FieldInfo) -> type[Section] | None:
    """The section that the items of a list are."""
    if not is_list(field):
        return None
    return next((each for each in typing.get_args(field.annotation) if _is_section(each)), None)


def is_list(field: FieldInfo) -> bool:
    """Whether the field is read from a list."""
    return typing.get_origin(field.annotation) is tuple


def is_secret(field: FieldInfo) -> bool:
    """Whether the field's value must never be shown."""
    return field.annotation is SecretStr


def readers(field: FieldInfo) -> set[Callable[..., Any]]:
    """The functions of :mod:`ksproxyd.settings.kinds` that read the field."""
    return {each.func for each in field.metadata if isinstance(each, BeforeValidator)}


@dataclass(frozen=True, slots=True)
class Key:
    """A leaf of the configuration: a key that holds a value or a list, not a section."""

    path: tuple[str, ...]
    attributes: tuple[str, ...]
    field: FieldInfo

    @property
    def name(self) -> str:
        """The key with dots, as problems and documents write it."""
        return ".".join(self.path)

    def of(self, settings: Section) -> Any:
        """The key's value."""
        value: Any = settings
        for attribute in self.attributes:
            value = getattr(value, attribute)
        return value


def keys(section: type[Section], path: tuple[str, ...] = (), attributes: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key of a section and of those in it, in the order of the documents.

    Sections that may be absent and sections in lists are not entered: their field is one key.
    """
    for name, field in section.model_fields.items():
        inner = inner_section(field)
        here, there = (*path, key_of(field)), (*attributes, name)
        if inner is not None and not may_be_absent(field):
            yield from keys(inner, here, there)
        else:
            yield Key(here, there, field)


def show_path(path: Path) -> str:
    """``("a", 0, "b")`` as ``a[0].b``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
