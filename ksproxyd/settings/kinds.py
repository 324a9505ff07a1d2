"""The kinds of values that settings have.

Each kind is a pydantic type whose reader takes a :class:`~ksproxyd.settings.nodes.Scalar` of a file, or a ready Python
value where settings are built in code. Readers say what they want with :func:`refuse`; the loader adds where it was
wanted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ksproxyd.settings.nodes import Scalar, Sequence
from ksproxyd.settings.units import format_duration, format_size, parse_duration, parse_size

#: The ``type`` of the errors that :func:`refuse` makes.
REFUSED = "setting"
#: What a printed configuration shows instead of a secret.
HIDDEN = "<hidden>"

_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
#: Digits of the longest number that is looked at.
_LONGEST = 40
_TRUE = frozenset({"true", "True", "TRUE", "t", "T", "1"})
_FALSE = frozenset({"false", "False", "FALSE", "f", "F", "0"})
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*:.+")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
#: Scheme, host and port of a web origin; ``*.`` in front of a name of at least two labels is every name below it.
_ORIGIN = re.compile(rf"(https?)://(\*\.{_LABEL}\.{_NAME}|{_NAME}|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?")
_OWN_PORTS = {"http": 80, "https": 443}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def refuse(wanted: str) -> PydanticCustomError:
    """The error of a reader that cannot use a value: what would do, as the end of "expected ..."."""
    return PydanticCustomError(REFUSED, "expected {wanted}", {"wanted": wanted})


def _text(value: object, wanted: str) -> str:
    if isinstance(value, Scalar) and not value.is_null:
        return value.text
    if isinstance(value, str):
        return value
    raise refuse(wanted)


def read_text(value: object) -> str:
    """Any text. A number or ``true`` without quotes is the text it was written as."""
    return _text(value, "text")


def read_flag(value: object) -> bool:
    """The words that Go's ``strconv.ParseBool`` knows."""
    if isinstance(value, bool):
        return value
    text = _text(value, "true or false")
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise refuse("true or false")


def read_whole(value: object) -> int:
    """A whole number in decimal, also as ``1e6`` or ``10.0``."""
    wanted = "a whole number"
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value, wanted)
    if len(text) <= _LONGEST and _WHOLE.fullmatch(text):
        return int(text)
    number = _number(text, wanted)
    if not number.is_integer() or abs(number) > 2**53:
        raise refuse(wanted)
    return int(number)


def read_number(value: object) -> float:
    """A finite decimal number."""
    wanted = "a number"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return _number(_text(value, wanted), wanted)


def _number(text: str, wanted: str) -> float:
    if len(text) > _LONGEST or _NUMBER.fullmatch(text) is None or not math.isfinite(float(text)):
        raise refuse(wanted)
    return float(text)


def read_duration(value: object) -> float:
    """A Go duration, in seconds. A Python number is seconds already."""
    wanted = "a duration with a unit such as 500ms, 10s or 1h30m"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = _text(value, wanted)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise refuse(wanted) from error


def read_go_duration(value: object) -> float:
    """The same, and a bare whole number is nanoseconds, as it is for ks-apiserver."""
    if is_nanoseconds(value):
        return int(cast(Scalar, value).text) / 1_000_000_000
    return read_duration(value)


def is_nanoseconds(value: object) -> bool:
    """Whether :func:`read_go_duration` would take the value for nanoseconds (zero is zero in any unit)."""
    plain = isinstance(value, Scalar) and value.plain and len(value.text) < 20
    return plain and re.fullmatch(r"[+-]?[1-9][0-9]*", cast(Scalar, value).text) is not None


def read_size(value: object) -> int:
    """A number of bytes, or a quantity with a suffix."""
    wanted = "a number of bytes such as 131072 or 128Ki"
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value, wanted)
    try:
        return parse_size(text)
    except ValueError as error:
        raise refuse(wanted) from error


def read_secret(value: object) -> SecretStr:
    """A secret, wrapped so that nothing prints it by accident."""
    if isinstance(value, SecretStr):
        return value
    text = _text(value, "a secret as text")
    if text == HIDDEN:
        raise refuse(f"the secret itself, not the {HIDDEN} of a printed configuration")
    return SecretStr(text)


def read_tristate(value: object) -> bool | str:
    """``auto``, or a flag."""
    if value == "auto" or (isinstance(value, Scalar) and value.text == "auto"):
        return "auto"
    try:
        return read_flag(value)
    except PydanticCustomError as error:
        raise refuse("auto, true or false") from error


def read_items(value: object) -> tuple[Any, ...]:
    """A list; its items are read by the kind they have."""
    if isinstance(value, Sequence):
        return value.items
    if isinstance(value, (list, tuple)):
        return tuple(value)
    raise refuse("a list")


def read_network(value: object) -> IPv4Network | IPv6Network:
    """A network in CIDR notation, or one address."""
    if isinstance(value, (IPv4Network, IPv6Network)):
        return value
    text = _text(value, "a network such as 10.0.0.0/8")
    try:
        return ip_network(text)
    except ValueError as error:
        try:
            wanted = f"the network {ip_network(text, strict=False)}"
        except ValueError:
            wanted = "a network such as 10.0.0.0/8 or 2001:db8::/32, or an address"
        raise refuse(wanted) from error


def read_address(value: object) -> str:
    """An IP address to listen on; names are not resolved."""
    text = _text(value, "an IP address such as 0.0.0.0 or ::")
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise refuse("an IP address such as 0.0.0.0 or ::") from error


def read_endpoint(value: object) -> str:
    """A Twisted server endpoint description; which kinds exist is known only when it is opened."""
    text = _text(value, "an endpoint such as tcp:9090")
    if text and (_ENDPOINT.fullmatch(text) is None or not text.isprintable()):
        raise refuse("a Twisted endpoint such as tcp:9090:interface=127.0.0.1")
    return text


def read_origin(value: object) -> str:
    """A web origin (RFC 6454 section 6.2), a pattern for the names below a domain, or ``*`` for any.

    Returned as browsers write origins: in lower case, without the scheme's own port.
    """
    wanted = "an origin such as https://console.example.org or https://*.apps.example.org, or *"
    text = _text(value, wanted).lower()
    if text == "*":
        return text
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise refuse(wanted)
    scheme, host, port = match[1], match[2], int(match[3] or _OWN_PORTS[match[1]])
    if not 0 < port < 65536:
        raise refuse(wanted)
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError as error:
            raise refuse(wanted) from error
    return f"{scheme}://{host}" + (f":{port}" if port != _OWN_PORTS[scheme] else "")


def read_token(value: object) -> str:
    """An HTTP token (RFC 9110 section 5.6.2): a method or a header's name."""
    text = _text(value, "a method or header name")
    if _TOKEN.fullmatch(text) is None:
        raise refuse("a method or header name without spaces")
    return text


def read_variable(value: object) -> str:
    """The name of an environment variable."""
    text = _text(value, "the name of an environment variable")
    if _VARIABLE.fullmatch(text) is None:
        raise refuse("the name of an environment variable such as REGION")
    return text


@dataclass(frozen=True)
class Range:
    """Lowest and highest value, both allowed; ``off`` allows 0 besides. ``show`` writes a bound for a message."""

    low: float
    high: float | None = None
    off: bool = False
    show: Callable[[Any], str] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: float) -> float:
        if self.off and value == 0:
            return value
        if value < self.low or (self.high is not None and value > self.high):
            raise refuse(self.describe())
        return value

    def describe(self) -> str:
        """The range in words, as the end of "expected ..."."""
        low, off = self.show(self.low), " (or 0 for off)" if self.off else ""
        if self.high is None:
            return f"a value of at least {low}{off}"
        return f"a value from {low} to {self.show(self.high)}{off}"


def seconds(low: float, high: float | None = None, *, off: bool = False) -> Range:
    """A range of durations."""
    return Range(low, high, off, format_duration)


def size(low: int, high: int | None = None, *, off: bool = False) -> Range:
    """A range of sizes."""
    return Range(low, high, off, format_size)


def zero_means(value: Any) -> AfterValidator:
    """Zero (or empty text) stands for this value, as in several keys of ks-apiserver."""
    return AfterValidator(lambda given: given or value)


Text = Annotated[str, BeforeValidator(read_text)]
Flag = Annotated[bool, BeforeValidator(read_flag)]
TriState = Annotated[bool | Literal["auto"], BeforeValidator(read_tristate)]
Whole = Annotated[int, BeforeValidator(read_whole)]
Number = Annotated[float, BeforeValidator(read_number)]
Size = Annotated[int, BeforeValidator(read_size)]
#: Seconds.
Duration = Annotated[float, BeforeValidator(read_duration)]
#: Seconds, from a key that ks-apiserver reads too.
GoDuration = Annotated[float, BeforeValidator(read_go_duration)]
Secret = Annotated[SecretStr, BeforeValidator(read_secret)]
Address = Annotated[str, BeforeValidator(read_address)]
Endpoint = Annotated[str, BeforeValidator(read_endpoint)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(read_network)]
Origin = Annotated[str, BeforeValidator(read_origin)]
Token = Annotated[str, BeforeValidator(read_token)]
Variable = Annotated[str, BeforeValidator(read_variable)]
#: Marks a tuple that is read from a list.
ITEMS = BeforeValidator(read_items)
