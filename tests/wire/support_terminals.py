"""Terminals against the whole gateway: a cluster with pods whose execs are in the test's hands, and playbooks.

A playbook has a line for each thing that somebody does, or that has to be seen::

    C: open pods/web-0/exec?shell=sh         the client asks (as the playbook's user)
    S: 101                                   the gateway answers
    K: exec ["sh"] app                       the cluster has been asked for this, and has agreed
    K: out "$ "                              the process prints
    S: text {"Op":"stdout",...}              the browser gets this message
    C: text {"Op":"stdin","Data":"x"}        the browser sends one
    K: in "x"                                the process has been given this
    K: exit 3                                it ends
    S: toast exited with code 3              a message with such a text
    S: close 1000 exited 3                   goodbye
    W: 5                                     time passes, in seconds
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support_rights import RightsWorld
from support_websocket import CLOSE, PING, PONG, TEXT, Browser, Got, frame, handshake

from ksproxyd.terminal.frames import masked
from ksproxyd.testing.backend import Conversation, answer
from ksproxyd.testing.messages import Request

GROUP = "/kapis/terminal.kubesphere.io/v1alpha2"
SHELL = f"{GROUP}/namespaces/n1/pods/web-0/exec"

STATUS = {"metadata": {}, "status": "Success"}
NOT_FOUND = {
    "metadata": {},
    "status": "Failure",
    "reason": "InternalError",
    "code": 500,
    "message": 'Internal error occurred: exec failed: "bash": executable file not found in $PATH',
}


def exit_status(code: int) -> dict[str, Any]:
    """What channel 3 says of a process that ended with ``code``."""
    if not code:
        return STATUS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def pod(name: str = "web-0", *containers: str, namespace: str = "n1", **metadata: Any) -> dict[str, Any]:
    """A pod that runs."""
    names = containers or ("app",)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"containers": [{"name": each, "image": "busybox"} for each in names]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": each,
                    "restartCount": 0,
                    "ready": True,
                    "image": "busybox",
                    "imageID": "busybox",
                    "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}},
                }
                for each in names
            ],
        },
    }


class Exec:
    """The cluster's side of one exec."""

    def __init__(self, conversation: Conversation, request: Request) -> None:
        self._conversation = conversation
        target = urlsplit(request.target.decode())
        options = parse_qs(target.query)
        self.path = target.path
        self.argv = options.get("command", [])
        self.container = options.get("container", [""])[0]
        self.options = {key: value[0] for key, value in options.items() if key not in ("command", "container")}
        self._taken = 0
        self._frames: list[tuple[int, bytes]] = []

    @property
    def open(self) -> bool:
        """Whether the gateway still has the connection."""
        return not self._conversation.over and self._conversation.peer.open

    def send(self, payload: bytes, opcode: int = 2) -> None:
        """Send a frame."""
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | opcode, size])
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        self._conversation.answer(head + payload)

    def print(self, data: bytes) -> None:
        """The process prints ``data``."""
        self.send(b"\x01" + data)

    def end(self, status: dict[str, Any]) -> None:
        """The process ends."""
        self.send(b"\x03" + json.dumps(status).encode())
        self.send(struct.pack("!H", 1000), 8)

    def cut(self) -> None:
        """The connection breaks."""
        self._conversation.peer.cut()

    def messages(self) -> list[tuple[int, bytes]]:
        """What the gateway has sent since: channels with their bytes; control frames are left out."""
        self.listen()
        found, self._frames = self._frames, []
        return found

    def listen(self) -> None:
        """Take note of what has come, and answer pings."""
        self._conversation.peer.reactor.settle()
        data = bytes(self._conversation.tunnelled)
        while len(data) - self._taken >= 2:
            rest = data[self._taken :]
            opcode, length, at = rest[0] & 15, rest[1] & 127, 2
            if length == 126:
                length, at = int.from_bytes(rest[2:4], "big"), 4
            elif length == 127:
                length, at = int.from_bytes(rest[2:10], "big"), 10
            if len(rest) < at + 4 + length:
                break
            payload = masked(rest[at + 4 : at + 4 + length], rest[at : at + 4])
            self._taken += at + 4 + length
            if opcode in (1, 2):
                self._frames.append((payload[0], payload[1:]))
            elif opcode == PING:
                self.send(payload, PONG)

    def typed(self) -> bytes:
        """What the process was given since; the sizes of its window are in :attr:`sizes`."""
        typed = b""
        for channel, data in self.messages():
            if channel == 0:
                typed += data
            elif channel == 4:
                size = json.loads(data)
                self.sizes.append((size["Width"], size["Height"]))
        return typed

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Sizes that :meth:`typed` has come across."""
        found: list[tuple[int, int]] = self.__dict__.setdefault("_sizes", [])
        return found


class TerminalWorld(RightsWorld):
    """The gateway, with pod ``web-0`` in ``n1`` and execs in :attr:`execs`.

    ``refusals`` are answers in place of 101, each for one exec; ``missing`` are programs that no image has.
    """

    def __init__(self, terminal: str = "", more: str = "", pods: tuple[Any, ...] | None = None) -> None:
        super().__init__(more=f"{more}\nterminal: {{{terminal}}}" if terminal else more)
        self.execs: list[Exec] = []
        self.refusals: list[tuple[int, dict[str, Any]]] = []
        self.missing: set[str] = set()
        self.browsers: list[Browser] = []
        embedded = self.gateway.embedded
        embedded.echo_tunnels = False
        self._serve = embedded.handler
        embedded.handler = self._handle
        self.gateway.apply(*((pod(),) if pods is None else pods))

    def _handle(self, conversation: Conversation, request: Request) -> bytes | None:
        if b"/exec?" not in request.target:
            return self._serve(conversation, request)
        begun = Exec(conversation, request)
        self.execs.append(begun)
        if self.refusals:
            status, body = self.refusals.pop(0)
            return answer(status, json.dumps(body).encode(), [(b"Content-Type", b"application/json")])
        key = request.get("Sec-WebSocket-Key") or b""
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        if begun.argv[0] in self.missing:
            self.gateway.reactor.callLater(0, begun.end, NOT_FOUND)
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n"
            b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )

    # -- clients -----------------------------------------------------------------------------------------------------

    def browser(self) -> Browser:
        """A new connection."""
        made = Browser(self.gateway.connect())
        self.browsers.append(made)
        return made

    def open(self, user: str = "pa", target: str = SHELL, *more: str) -> Browser:
        """A terminal that has been answered with 101."""
        browser = self.browser()
        found = browser.open(self.request(user, target, *more))
        assert found.status == 101, (found.status, found.body)
        return browser

    def refused(self, user: str, target: str, *more: str) -> Any:
        """What is answered in place of 101."""
        found = self.browser().open(self.request(user, target, *more))
        assert found.status != 101
        return found

    def request(self, user: str, target: str, *more: str) -> bytes:
        """The handshake of ``user``, who shows a token."""
        shown = (f"Authorization: Bearer {self.token(user)}",) if user else ()
        return handshake(target, *shown, *more)

    def wait(self, seconds: float) -> None:
        """Let time pass, for the cluster, too."""
        while seconds > 0:
            self.gateway.wait(min(5.0, seconds))
            seconds -= 5.0
            for each in self.execs:
                if each.open:
                    each.listen()

    @property
    def exec(self) -> Exec:
        """The newest exec."""
        return self.execs[-1]

    def play(self, script: str, user: str = "pa") -> Playbook:
        """Carry out a playbook."""
        book = Playbook(self, user)
        for line in filter(None, map(str.strip, script.splitlines())):
            book.line(line)
        return book

    @property
    def sessions(self) -> int:
        """Sessions there are."""
        terminals = self.gateway.gateway.terminals
        assert terminals is not None
        return len(terminals.registry.sessions)


class Playbook:
    """One client's story."""

    def __init__(self, world: TerminalWorld, user: str) -> None:
        self.world = world
        self.user = user
        self.browser = world.browser()
        self.answer: Any = None
        self.got: list[Got] = []
        self._seen = len(world.execs)
        self._typed = b""

    def line(self, line: str) -> None:
        """One line."""
        who, _, rest = line.partition(": ")
        verb, _, what = rest.partition(" ")
        try:
            getattr(self, {"C": "client", "S": "server", "K": "cluster", "W": "wait"}[who])(verb, what)
        except AssertionError as error:
            raise AssertionError(f"{line}: {error}") from error

    def wait(self, seconds: str, _: str) -> None:
        """Let time pass, in which the client answers pings."""
        for _ in range(int(seconds)):
            self.world.wait(1.0)
            self._read()

    def client(self, verb: str, what: str) -> None:
        """The client does something."""
        world, browser = self.world, self.browser
        if verb == "open":
            target, *more = what.split(" | ")
            if not target.startswith("/"):
                target = f"{GROUP}/{target}"
            self.answer = browser.open(world.request(self.user, target, *more))
        elif verb == "text":
            browser.send(what)
        elif verb == "binary":
            browser.send(what.encode())
        elif verb == "type":
            browser.send(json.dumps({"Op": "stdin", "Data": json.loads(what)}))
        elif verb == "close":
            browser.close(int(what))
        elif verb == "cut":
            browser.client.cut()
        else:
            raise ValueError(verb)

    def _read(self) -> None:
        for got in self.browser.frames():
            if got.opcode == PING:
                self.browser.client.send(frame(PONG, got.payload))
            else:
                self.got.append(got)

    def _next(self) -> Got:
        self._read()
        assert self.got, "nothing has come"
        return self.got.pop(0)

    def server(self, verb: str, what: str) -> None:
        """The gateway has done something."""
        if verb.isdigit():
            assert self.answer.status == int(verb), (self.answer.status, self.answer.body)
        elif verb == "text":
            got = self._next()
            assert (got.opcode, got.payload.decode()) == (TEXT, what)
        elif verb == "out":
            got = self._next()
            said = json.loads(got.payload)
            assert (said["Op"], said["Data"]) == ("stdout", json.loads(what)), said
        elif verb == "toast":
            said = json.loads(self._next().payload)
            assert said["Op"] == "toast" and what in said["Data"], said
        elif verb == "close":
            got = self._next()
            code, _, reason = what.partition(" ")
            assert (got.opcode, got.code, got.reason) == (CLOSE, int(code), reason), got
        elif verb == "ended":
            assert not self.browser.client.open
        elif verb == "nothing":
            self._read()
            assert not self.got, self.got
        else:
            raise ValueError(verb)

    def cluster(self, verb: str, what: str) -> None:
        """The cluster does something, or has been asked for something."""
        world = self.world
        world.gateway.reactor.settle()
        if verb == "exec":
            assert len(world.execs) == self._seen + 1, [each.argv for each in world.execs[self._seen :]]
            self._seen += 1
            end = what.rindex("]") + 1
            assert world.exec.argv == json.loads(what[:end]), world.exec.argv
            assert world.exec.container == (what[end:].strip() or "app"), world.exec.container
        elif verb == "out":
            world.exec.print(json.loads(what).encode())
        elif verb == "in":
            assert world.exec.typed() == json.loads(what).encode()
        elif verb == "size":
            assert world.exec.typed() == b""
            assert world.exec.sizes[-1:] == [tuple(map(int, what.split("x")))], world.exec.sizes
        elif verb == "exit":
            world.exec.end(exit_status(int(what)))
        elif verb == "cut":
            world.exec.cut()
        elif verb == "closed":
            assert not world.exec.open
        elif verb == "nothing":
            assert len(world.execs) == self._seen, [each.argv for each in world.execs[self._seen :]]
        else:
            raise ValueError(verb)
