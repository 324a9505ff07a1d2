"""Texts of unknown form as they may be recorded: YAML, logs, whatever somebody puts into a ConfigMap.

Goes line by line, so that most lines cost next to nothing, and looks closely at no more than :data:`CLOSELY`
characters: where more of a text looks like secrets, what follows is hidden as a whole.
"""

from __future__ import annotations

import re

from ksproxyd.observe.redact import REDACTED, is_secret_name, redact_text

#: Characters of a text that are looked at closely, and those of a line that may be.
CLOSELY, LONGEST = 4096, 1024

# What makes a line worth a closer look, in lower case: matching without regard to case is many times slower.
_SUSPECT = re.compile(
    r"eyj|://[^/\s@]{0,256}@|(?:bearer|basic|digest)\s"
    r"|(?:token|secret|passw|passphrase|credential|assertion|signature|api.?key|cookie|authorization|kubeconfig|"
    r"private.?key|sign.?key|client.?key|jwt|pwd|auth|session|code|otp|sig)[^\s:=]{0,32}\s*[:=]"
)
#: The same for lines that are too long to be looked at closely: words that say it all.
_WORDS = (
    *("token", "secret", "passw", "passphrase", "credential", "apikey", "api_key", "api-key", "authorization"),
    *("kubeconfig", "privatekey", "private_key", "bearer ", "://"),
)
_TOKEN = re.compile(r"eyJ[\w-]{4,}\.[\w-]")
_KEY = re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----")

#: A line of YAML, of a properties file and the like: indentation, name, sign, value.
_PAIR = re.compile(r"""(\s*(?:-\s+)*(?:export\s+)?)(["']?)([\w.-]{1,128})\2(\s*[:=]\s*)(.*)""", re.DOTALL)


def safe_text(text: str) -> str:
    """``text`` without secrets."""
    if _KEY.search(text) is not None:
        return REDACTED
    if "\n" not in text:
        return _closely(text) if _is_suspect(text) else text
    found: list[str] = []
    left = CLOSELY
    #: Lines that stand further to the right than this belong to a secret.
    within = -1
    for line in text.split("\n"):
        if within >= 0:
            if not line.strip() or _indent(line) > within:
                continue
            within = -1
        if not _is_suspect(line):
            found.append(line)
            continue
        left -= len(line)
        if left < 0:
            found.append(REDACTED)
            break
        pair = _PAIR.fullmatch(line)
        if pair is not None and is_secret_name(pair[3]):
            found.append(f"{pair[1]}{pair[2]}{pair[3]}{pair[2]}{pair[4]}{REDACTED}")
            # The value may go on below: a block of YAML, a list, a mapping.
            within = _indent(line)
        else:
            found.append(_closely(line))
    return "\n".join(found)


def _is_suspect(line: str) -> bool:
    lower = line.lower()
    if len(lower) > LONGEST:
        return any(word in lower for word in _WORDS) or _TOKEN.search(line) is not None
    return _SUSPECT.search(lower) is not None


def _closely(line: str) -> str:
    return redact_text(line) if len(line) <= LONGEST else REDACTED


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
