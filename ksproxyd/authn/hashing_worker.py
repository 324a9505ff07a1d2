"""The child process that computes password hashes: one line in, one line out, until the input ends.

::

    in    check <password> <hash>       out   yes, or no
    in    make <password> <salt>        out   <hash>

Passwords are base64 of their bytes. What cannot be computed is answered ``error <why>``.

It takes what processors have to spare; with the argument :data:`INSISTENT` a small share in any case.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from base64 import b64decode
from types import FrameType

import bcrypt

#: Seconds after which a hash that is computed is interrupted. Somebody who wakes up on another processor and is to run
#: on this one does so at the next interruption only (the kernel preempts lazily), which else is the tick, four
#: milliseconds later.
_INTERRUPT = 0.0005

#: The argument of one that would otherwise not come to anything.
INSISTENT = "insistent"

#: Who waits for the gateway comes before who waits for a login. This is the highest niceness there is, which still
#: leaves a login a seventieth of a processor that is busy with requests.
_NICENESS = 19
#: Of one that insists: a tenth of a processor that is busy, which is half a second for a hash.
_SHARE = 10


def answer(question: bytes) -> bytes:
    """The line that answers ``question``, both without their ends."""
    try:
        what, password, known = question.split(b" ")
        if what == b"make":
            return bcrypt.hashpw(b64decode(password), known)
        return b"yes" if bcrypt.checkpw(b64decode(password), known) else b"no"
    except ValueError as error:
        return b"error " + ascii(str(error)).encode("ascii")


def _give_way(*, altogether: bool) -> None:
    # Where a sandbox forbids it, logins are no worse for that.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS if altogether else _SHARE)
    if altogether and len(os.sched_getaffinity(0)) > 1:
        # Whoever wakes up need not wait for the end of this one's slice. Alone with a busy gateway it would starve.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _interrupted(number: int, frame: FrameType | None) -> None:
    """There is nothing to do: that the computation was interrupted is all that is wanted."""


def main() -> None:
    """Answer until the input ends."""
    # The parent decides when to end: a Ctrl-C in its terminal is not for us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _interrupted)
    _give_way(altogether=INSISTENT not in sys.argv[1:])
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, _INTERRUPT, _INTERRUPT)
        said = answer(line[:-1])
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(said + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
