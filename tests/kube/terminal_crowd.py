"""Many people with terminals, each of whom does what people do: type, wait, flood, fall asleep, leave, break off."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from types import TracebackType

from ksproxyd.terminal.frames import FrameError

from .people import log_in
from .terminal_site import GROUP, PROMPT, TerminalSite
from .websocket_client import Refused, Terminal

#: What a session is on, and how often.
KINDS = {"pod": 8, "kubectl": 1, "node": 1}

#: What is typed into shells, besides questions that have an answer.
HABITS = (
    "",
    "sleep 1000\r",
    "cat\rwords\r",
    "sleep 1000 &\r",
    "yes | head -c 3000000\r",
    "trap '' INT; sleep 1000\r",
)


class Crowd:
    """``size`` people, one thread each, at it until they are told to leave. Use with ``with``.

    ``seen`` counts what has become of their sessions; ``wrong`` is what must not be.
    """

    def __init__(self, site: TerminalSite, size: int, pods: list[str], users: list[str]) -> None:
        self._site = site
        self._pods = pods
        self._users = users
        self._tokens: dict[str, str] = {}
        self._logging_in = threading.Lock()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.open = 0
        self.most = 0
        self._threads = [threading.Thread(target=self._live, args=(random.Random(n),)) for n in range(size)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _count(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1

    def _token(self, name: str, refused: str = "") -> str:
        """A token of ``name``: another than was refused, as a gateway that is killed forgets logins."""
        with self._logging_in:
            if self._tokens.get(name, refused) == refused:
                self._tokens[name] = log_in(self._site.gateway.url, name)
            return self._tokens[name]

    def _live(self, random: random.Random) -> None:
        self._ended.wait(random.random() * 10)
        while not self._ended.is_set():
            name, token = random.choice(self._users), ""
            try:
                token = self._token(name)
                terminal = self._open(random, name, token)
            except Refused as refused:
                self._count(f"HTTP {refused.status}")
                self._ended.wait(random.random() * 2)
                if refused.status == 401:
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        self._token(name, token)
                continue
            except (OSError, http.client.HTTPException, TimeoutError):
                self._count("no connection")
                self._ended.wait(random.random() * 2)
                continue
            with self._lock:
                self.open += 1
                self.most = max(self.most, self.open)
            try:
                self._count(self._use(terminal, random))
            except (OSError, FrameError) as error:
                self._count(f"broken: {type(error).__name__}")
            except Exception as error:
                with self._lock:
                    self.wrong.append(repr(error))
            finally:
                terminal.socket.close()
                with self._lock:
                    self.open -= 1

    def _open(self, random: random.Random, name: str, token: str) -> Terminal:
        kind = random.choices(list(KINDS), list(KINDS.values()))[0]
        protocols = random.choice([(), ("ksproxyd.json",), ("ksproxyd.json",)])
        if kind == "pod":
            shell = random.choice(["", "bash", "sh"])
            return self._site.shell(token, random.choice(self._pods), shell=shell, protocols=protocols)
        if kind == "kubectl":
            return Terminal(self._site.gateway.url, f"{GROUP}/users/{name}/kubectl", token, protocols=protocols)
        return Terminal(self._site.gateway.url, f"{GROUP}/nodes/node-1/exec", token, protocols=protocols)

    def _use(self, terminal: Terminal, random: random.Random) -> str:
        """One session; how it ended."""
        until = time.monotonic() + random.expovariate(1 / 20)
        habit = random.choice(HABITS)
        with contextlib.suppress(TimeoutError):
            while PROMPT[-2:] not in terminal.shown[-3:] and "# " not in terminal.shown[-3:]:
                if terminal.take(15) is None:
                    return self._closed(terminal)
        while time.monotonic() < until and not self._ended.is_set():
            number = random.randrange(10**6)
            terminal.shown = ""
            terminal.type(f"echo $(({number}+1))-ok\r")
            terminal.resize(random.randrange(20, 200), random.randrange(10, 60))
            pause = time.monotonic() + random.random() * 3
            while (left := pause - time.monotonic()) > 0:
                try:
                    if terminal.take(left) is None:
                        return self._closed(terminal)
                except TimeoutError:
                    break
            if f"{number + 1}-ok" in terminal.shown:
                self._count("right answers")
        terminal.type(habit)
        return self._leave(terminal, random)

    def _leave(self, terminal: Terminal, random: random.Random) -> str:
        way = random.choice(["goodbye", "cut", "reset", "exit", "asleep"])
        if way == "goodbye":
            with contextlib.suppress(TimeoutError):
                terminal.close(random.choice([1000, 1001]))
        elif way == "exit":
            terminal.type("\x03\x03exit 3\r")
            with contextlib.suppress(TimeoutError):
                while terminal.take(5) is not None:
                    pass
        elif way == "reset":
            terminal.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way == "asleep":
            # It neither reads nor answers pings.
            self._ended.wait(random.random() * 40)
        return f"left: {way}"

    def _closed(self, terminal: Terminal) -> str:
        assert terminal.closed is not None
        code, reason = terminal.closed
        if code not in (1006, 1000) and not terminal.toasts:
            raise AssertionError(f"closed with {code} {reason}, and nothing was said")
        return f"closed: {code} {reason}".split(":", 2)[0] + f": {code} {reason[:30]}"
