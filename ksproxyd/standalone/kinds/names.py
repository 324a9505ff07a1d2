"""The rules for names, labels and annotations (RFC 1123 and Kubernetes' own)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ksproxyd.standalone.wire.errors import FieldError, invalid_value

NameRule = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_RE = re.compile(_LABEL)
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN)
_SERVICE = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SERVICE_RE = re.compile(_SERVICE)
_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_PART_RE = re.compile(_PART)
_VALUE = f"({_PART})?"
_VALUE_RE = re.compile(_VALUE)
_KEY_RE = re.compile(r"[-._a-zA-Z0-9]+")


def _pattern(words: str, regex: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{words} (e.g. {shown}, regex used for validation is '{regex}')"


def subdomain(name: str) -> list[str]:
    """What is wrong with ``name`` as an RFC 1123 subdomain: the rule for most objects."""
    wrong = ["must be no more than 253 bytes"] if len(name) > 253 else []
    if not _SUBDOMAIN_RE.fullmatch(name):
        wrong.append(
            _pattern(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
                "and must start and end with an alphanumeric character",
                _SUBDOMAIN,
                "example.com",
            )
        )
    return wrong


def label(name: str) -> list[str]:
    """What is wrong with ``name`` as an RFC 1123 label: the rule for namespaces."""
    if _SUBDOMAIN_RE.fullmatch(name) and "." in name:
        return ["must not contain dots"]
    wrong = ["must be no more than 63 bytes"] if len(name) > 63 else []
    if not _LABEL_RE.fullmatch(name):
        wrong.append(
            _pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character",
                _LABEL,
                "my-name",
                "123-abc",
            )
        )
    return wrong


def service(name: str) -> list[str]:
    """What is wrong with ``name`` as an RFC 1035 label: the rule for services."""
    wrong = ["must be no more than 63 bytes"] if len(name) > 63 else []
    if not _SERVICE_RE.fullmatch(name):
        wrong.append(
            _pattern(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
                "start with an alphabetic character, and end with an alphanumeric character",
                _SERVICE,
                "my-name",
                "abc-123",
            )
        )
    return wrong


def path_segment(name: str) -> list[str]:
    """What is wrong with ``name`` as a segment of a path: the rule for RBAC objects."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{mark}'" for mark in ("/", "%") if mark in name]


def config_key(key: str) -> list[str]:
    """What is wrong with a key of a ConfigMap or Secret."""
    wrong = ["must be no more than 253 bytes"] if len(key) > 253 else []
    if not _KEY_RE.fullmatch(key):
        words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        wrong.append(_pattern(words, _KEY_RE.pattern, "key.name", "KEY_NAME", "key-name"))
    elif key == ".":
        wrong.append("must not be '.'")
    elif key.startswith(".."):
        wrong.append("must not be '..'" if key == ".." else "must not start with '..'")
    return wrong


def qualified_name(name: str) -> list[str]:
    """What is wrong with ``name`` as a key of labels or annotations: ``[prefix/]name``."""
    wrong = []
    prefix, slash, part = name.rpartition("/")
    if slash:
        if not prefix:
            wrong.append("prefix part must be non-empty")
        else:
            wrong += [f"prefix part {each}" for each in subdomain(prefix)]
    if not part:
        wrong.append("name part must be non-empty")
    elif len(part) > 63:
        wrong.append("name part must be no more than 63 bytes")
    if not _PART_RE.fullmatch(part):
        words = (
            "name part must consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        wrong.append(_pattern(words, _PART, "MyName", "my.name", "123-abc"))
    return wrong


def label_value(value: str) -> list[str]:
    """What is wrong with ``value`` as the value of a label."""
    wrong = ["must be no more than 63 bytes"] if len(value) > 63 else []
    if not _VALUE_RE.fullmatch(value):
        words = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        wrong.append(_pattern(words, _VALUE, "MyValue", "my_value", "12345"))
    return wrong


#: All annotations of an object together have at most this many bytes.
ANNOTATIONS_LIMIT = 256 * 1024


def check_labels(labels: dict[str, Any], field: str) -> list[FieldError]:
    """What is wrong with a map of labels."""
    errors = []
    for key, value in labels.items():
        errors += [invalid_value(field, key, wrong) for wrong in qualified_name(key)]
        errors += [invalid_value(field, value, wrong) for wrong in label_value(value)]
    return errors


def check_annotations(annotations: dict[str, Any], field: str) -> list[FieldError]:
    """What is wrong with a map of annotations."""
    errors = []
    for key in annotations:
        errors += [invalid_value(field, key, wrong) for wrong in qualified_name(key.lower())]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        errors.append(FieldError("FieldValueTooLong", field, message))
    return errors
