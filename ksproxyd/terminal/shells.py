"""Which programs are tried for a terminal, and how one is ended that was left behind (spec 05, 2, 8.2, 10.4)."""

from __future__ import annotations

from collections.abc import Collection

from ksproxyd.terminal.exit_status import EXITED, NOT_STARTED, Ended

Command = tuple[str, ...]

#: What may be asked for by everybody.
SHELLS = frozenset(("bash", "sh", "/bin/bash", "/bin/sh"))

#: Seconds in which a program that is not there says so.
MISSED = 5.0

#: What runtimes exit with when a program is not there or may not be run.
_NO_PROGRAM = frozenset((126, 127, 128))

#: The variable that tells a shell we have started from all others in its container.
MARK = "KSPROXYD_SESSION"

#: Becomes the best shell there is, whose own process id is in the variable: children inherit it but have other ids.
_BEST = f'{MARK}="$1.$$."; export {MARK}; if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh'

#: Hangs up exactly the process whose variable names it. A session's leader passes that on to its jobs, or the kernel to
#: what is in the foreground.
_HANG_UP = (
    f'for each in $(grep -lsF "{MARK}=$1." /proc/[0-9]*/environ); do '
    "each=${each%/environ}; each=${each#/proc/}; "
    f'if grep -qsF "{MARK}=$1.$each." "/proc/$each/environ"; then kill -HUP "$each"; fi; done'
)


def commands(shell: str, allowed: Collection[str], session: str) -> tuple[Command, ...]:
    """What to run for ``shell``, one after the other until one is there.

    Exactly what is asked for if it is one of :data:`SHELLS` or ``allowed``; anything else means: whatever there is.
    ``session`` is the session's id, letters and digits. In the automatic case one exec is enough wherever there is a
    ``sh``.
    """
    if shell in SHELLS or (shell and shell in allowed):
        return ((shell,),)
    return (("sh", "-c", _BEST, "sh", session), ("bash",), ("sh",))


def is_marked(command: Command) -> bool:
    """Whether :func:`hang_up` can find what this command of :func:`commands` has become."""
    return command[:3] == ("sh", "-c", _BEST)


def hang_up(session: str) -> Command:
    """Ends the shell of ``session``, with a signal, from a second exec in the same container.

    Nothing else is ever signalled, also if the shell is long gone and its process id another's.
    """
    return ("sh", "-c", _HANG_UP, "sh", session)


def is_missing(result: Ended, seconds: float, printed: int) -> bool:
    """Whether an exec that ended ``seconds`` after its start, with so many bytes ``printed``, never was a shell."""
    if printed or seconds > MISSED or result.not_running or result.of_node:
        return False
    if result.kind == NOT_STARTED:
        return result.reason == "InternalError" and result.code == 500
    return result.kind == EXITED and result.code in _NO_PROGRAM
