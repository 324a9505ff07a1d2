"""Text of strangers in a log: one line stays one line, and a terminal is not given orders."""

from __future__ import annotations

import re

import msgspec

# C0, DEL and C1 control characters; line and paragraph separators; marks that change the direction of text and
# so what a reader sees; invisible ones; and lone surrogates, which no encoding can write.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

#: The longest text a log line takes from anything, in characters.
LONGEST = 8192


def one_line(text: str, longest: int = LONGEST) -> str:
    """``text`` with every character that is not plain to see escaped, and cut to ``longest`` characters.

    Backslashes stay as they are: this is for people, and need not be undone.
    """
    if len(text) > longest:
        text = f"{text[:longest]}... ({len(text)} characters)"
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(lambda match: _SHORT.get(match[0]) or _escape(match[0]), text)


def quoted(text: str) -> str:
    """``text`` as a JSON string that holds no unsafe character, whatever a terminal makes of Unicode."""
    encoded = msgspec.json.encode(text.encode("utf-8", "backslashreplace").decode()).decode()
    return safe_json(encoded)


def safe_json(encoded: str) -> str:
    """JSON text with the unsafe characters of its strings written as ``\\uXXXX``."""
    return encoded if encoded.isascii() and "\x7f" not in encoded else _UNSAFE.sub(_json_escape, encoded)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
