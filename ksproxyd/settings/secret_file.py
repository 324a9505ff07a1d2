"""Secrets that are kept in files of their own."""

from __future__ import annotations

#: Bytes of a secret. Keys and tokens are far smaller.
MAX_BYTES = 65536


class SecretFileError(Exception):
    """The file does not hold a usable secret; the text says what was found instead."""


def read_secret_file(path: str) -> str:
    """The secret in a file: UTF-8 text, line breaks at its end taken off. Raises :class:`SecretFileError`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise SecretFileError(f"a file that cannot be read ({reason})") from error
    if len(data) > MAX_BYTES:
        raise SecretFileError(f"a file of more than {MAX_BYTES} bytes")
    try:
        secret = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        # The error's own text shows bytes of the secret, so it must not become this one's cause.
        raise SecretFileError(f"a file that is not UTF-8 at byte {error.start}") from None
    if not secret:
        raise SecretFileError("an empty file")
    return secret
