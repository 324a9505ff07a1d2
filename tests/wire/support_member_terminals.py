"""Two whole gateways, a host's and a member's, and the way between them.

Each has a reactor of its own. From the host's side the member is a backend; what is sent there arrives at the member's
gateway as from a client, straight or as the service proxy of the member's kube-apiserver sends it on. Whoever lets one
of them settle or wait lets both.
"""

from __future__ import annotations

from typing import Any

from support_rights import SETTINGS, RightsWorld
from support_terminals import TerminalWorld
from test_members import PROXY, cluster, direct, proxied

from ksproxyd.testing import Backend, Client
from ksproxyd.testing.peer import Peer
from ksproxyd.testing.reactor import STEP


class MemberWorld(TerminalWorld):
    """A member's gateway: it takes tokens that are signed with the secret all clusters share, and keeps none."""

    settings = SETTINGS.replace("clusterRole: host", "clusterRole: member").replace(
        "accessTokenMaxAge: 2h", "accessTokenMaxAge: 0s"
    )


class _End:
    """One direction of a connection between the two: hears what comes from one peer, and sends it from the other."""

    def __init__(self, way: Way, other: Peer) -> None:
        self._way = way
        self._other = other
        self.peer: Peer | None = None

    def received(self, data: bytes) -> None:
        self._way.moved += 1
        self._other.write(data)

    def ended(self) -> None:
        self._way.moved += 1
        if self.peer is not None and self.peer.reset:
            self._other.leave()
        else:
            self._other._finishing = True


class _Head(_End):
    """As :class:`_End`, for the direction to the member through the service proxy: the request is not as it was."""

    def __init__(self, way: Way, other: Peer) -> None:
        super().__init__(way, other)
        self._head: bytes | None = b""

    def received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = None
            data = _sent_on(head) + end + rest
        super().received(data)


def _sent_on(head: bytes) -> bytes:
    """What is left of a request behind the service proxy of a kube-apiserver."""
    first, *lines = head.split(b"\r\n")
    method, target, version = first.split(b" ")
    assert target.startswith(PROXY), target
    upgrade = any(line.lower().startswith(b"upgrade:") for line in lines)
    path = target.removeprefix(PROXY)
    first = b" ".join((method, path.partition(b"?")[0] if upgrade else path, version))
    kept = [line for line in lines if line.partition(b":")[0].lower() not in (b"authorization", b"host")]
    return b"\r\n".join([first, b"Host: ks-apiserver.kubesphere-system.svc", *kept])


class Way(Backend):
    """Where the host finds the member. ``by_service_proxy``: behind the member's kube-apiserver."""

    def __init__(self, member: MemberWorld, by_service_proxy: bool = False) -> None:
        super().__init__()
        self._member = member
        self._kind = _Head if by_service_proxy else _End
        #: What has happened, so that it is seen when nothing does.
        self.moved = 0
        #: Both ends of each connection: the host's, and the member's.
        self.pairs: list[tuple[Peer, Client]] = []

    def connected(self, peer: Peer) -> None:
        """The host's gateway has connected."""
        self.moved += 1
        client = self._member.gateway.connect("192.0.2.80")
        there, back = self._kind(self, client), _End(self, peer)
        there.peer, back.peer = peer, client
        peer.listener, client.listener = there, back
        self.pairs.append((peer, client))


class Together:
    """Two reactors that settle and wait together."""

    def __init__(self, ways: list[Way], *reactors: Any) -> None:
        self._ways = ways
        self._reactors = reactors
        self._settles = [each.settle for each in reactors]
        self._busy = False
        for each in reactors:
            each.settle, each.wait = self.settle, self.wait

    def settle(self) -> None:
        """Let everything happen that can happen without time passing, here and there."""
        if self._busy:
            # Within a turn of one of them: whoever is out there goes on until nothing moves.
            return
        self._busy = True
        try:
            before = -1
            while before != (before := sum(way.moved for way in self._ways)):
                for settle in self._settles:
                    settle()
        finally:
            self._busy = False

    def wait(self, seconds: float) -> None:
        """Let time pass for both."""
        self.settle()
        while seconds > 0:
            for each in self._reactors:
                each.advance(min(STEP, seconds))
            seconds -= STEP
            self.settle()


class HostAndMember(RightsWorld):
    """A host, whose member ``m`` is reached straight and whose member ``s`` by its service proxy: both are the same."""

    def __init__(self, terminal: str = "", **more: Any) -> None:
        super().__init__(**more)
        self.member = MemberWorld(terminal)
        here, there = self.gateway.reactor, self.member.gateway.reactor
        there.wait(here.seconds() - there.seconds())
        self.ways = [Way(self.member), Way(self.member, by_service_proxy=True)]
        self.gateway.serve("http://ks.member.example", self.ways[0])
        self.gateway.serve("http://member.example:6443", self.ways[1])
        Together(self.ways, here, there)
        self.gateway.apply(cluster("m", proxied()), cluster("s", direct()), cluster("main", host=True))

    def close(self) -> None:
        """End both."""
        super().close()
        self.member.close()
