"""The child process that computes password hashes: one line in, one line out, until the input ends.

::

    in    check <password> <hash>       out   yes, or no
    in    make <password> <salt>        out   <hash>

Passwords are base64 of their bytes. What cannot be computed is answered ``error <why>``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from base64 import b64decode

import bcrypt

#: Who waits for the gateway comes before who waits for a login. It is the highest niceness there is, which still
#: leaves a login a seventieth of a processor that is busy with requests; an idle class would not.
_NICENESS = 19


def answer(question: bytes) -> bytes:
    """The line that answers ``question``, both without their ends."""
    try:
        what, password, known = question.split(b" ")
        if what == b"make":
            return bcrypt.hashpw(b64decode(password), known)
        return b"yes" if bcrypt.checkpw(b64decode(password), known) else b"no"
    except ValueError as error:
        return b"error " + ascii(str(error)).encode("ascii")


def main() -> None:
    """Answer until the input ends."""
    # The parent decides when to end: a Ctrl-C in its terminal is not for us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A sandbox may forbid it, for which the password must not be waited for longer.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(answer(line[:-1]) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
