"""What the service manager is told, and what it hands over: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from fcntl import F_GETFD, F_SETFD, FD_CLOEXEC, fcntl
from typing import NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: The first inherited file descriptor.
_FIRST_DESCRIPTOR = 3


class Notifier:
    """Tells the service manager about the state of the service.

    Does nothing unless ``NOTIFY_SOCKET`` names a socket, a path or (with ``@``) an abstract name. A message that cannot
    be sent is logged and otherwise ignored: the service does not depend on it.

    ``monotonic_usec`` is CLOCK_MONOTONIC in microseconds, which ``RELOADING=1`` has to carry.
    """

    log = Logger()

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: IReactorTime,
        *,
        pid: int | None = None,
        monotonic_usec: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000,
    ) -> None:
        self._clock = clock
        self._monotonic_usec = monotonic_usec
        self._call: IDelayedCall | None = None
        self._address = self._socket_address(environ.get("NOTIFY_SOCKET", ""))
        #: Seconds between two signs of life, half of what the manager allows; 0 if it does not watch us.
        self.watchdog_interval = self._interval(environ, os.getpid() if pid is None else pid)

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", status)

    def reloading(self, status: str = "") -> None:
        """A reload begins; :meth:`ready` follows when it has ended, well or not."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_usec()}", status)

    def stopping(self, status: str = "") -> None:
        """The shutdown begins. The watchdog goes on: draining runs on the same reactor."""
        self._send("STOPPING=1", status)

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._send("", status)

    def start_watchdog(self) -> None:
        """Give signs of life from now on, from the reactor: one that is stuck gives none and is restarted.

        Does nothing if the manager does not watch us.
        """
        if self.watchdog_interval and self._address:
            self._send("WATCHDOG=1", "")
            self._call = self._clock.callLater(self.watchdog_interval, self.start_watchdog)

    def stop_watchdog(self) -> None:
        """No more signs of life."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _send(self, state: str, status: str) -> None:
        if not self._address:
            return
        if status:
            state = f"{state}\nSTATUS={' '.join(status.split())}".lstrip()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            self.log.warn("the service manager could not be told {state!r}: {error}", state=state, error=error)

    def _socket_address(self, value: str) -> str:
        if value and value[0] not in "/@":
            self.log.warn("NOTIFY_SOCKET={value!r} is no Unix socket; the service manager is told nothing", value=value)
            return ""
        return "\0" + value[1:] if value.startswith("@") else value

    def _interval(self, environ: Mapping[str, str], pid: int) -> float:
        usec = environ.get("WATCHDOG_USEC", "")
        if not usec or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
            return 0.0
        if not usec.isdecimal() or int(usec) == 0:
            self.log.warn("WATCHDOG_USEC={usec!r} is no time; there will be no signs of life", usec=usec)
            return 0.0
        return int(usec) / 2e6


class InheritedSocket(NamedTuple):
    """A listening socket that the service manager has opened: its descriptor, and its name in the socket unit."""

    fd: int
    name: str


def inherited_sockets(environ: MutableMapping[str, str], pid: int | None = None) -> list[InheritedSocket]:
    """The sockets of socket activation, in the order of the unit; none if there are none or they are not for us.

    The variables are removed, so that programs that we start do not take them for theirs, and the descriptors are
    closed for those. Raises :class:`ValueError` if the variables contradict each other or a descriptor is not open.
    """
    meant_for = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", None)
    if meant_for != str(os.getpid() if pid is None else pid):
        return []
    if not count.isdecimal():
        raise ValueError(f"LISTEN_FDS={count!r} is not a number")
    # Older managers give no names; sd_listen_fds_with_names(3) then says "unknown".
    split = names.split(":") if names is not None else ["unknown"] * int(count)
    if len(split) != int(count) and not (count == "0" and names == ""):
        raise ValueError(f"LISTEN_FDS says {count} sockets, LISTEN_FDNAMES has {len(split)} names")
    sockets = []
    for fd in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        try:
            fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) | FD_CLOEXEC)
        except OSError as error:
            raise ValueError(f"LISTEN_FDS says {count} sockets, but descriptor {fd} is not open") from error
        sockets.append(InheritedSocket(fd, split[fd - _FIRST_DESCRIPTOR]))
    return sockets
