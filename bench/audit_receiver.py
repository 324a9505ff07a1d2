"""An audit webhook that counts events, and stalls when told to: ``python -m bench.audit_receiver PORT``.

``POST /`` takes a batch. ``GET /stall`` and ``GET /go`` say what becomes of batches from now on; ``GET /count`` answers
how many different events have come.
"""

from __future__ import annotations

import asyncio
import re
import sys

_ID = re.compile(rb'"AuditID":"([^"]*)"')


class Receiver:
    """The state of the program."""

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        self.stalled = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for as many requests as it likes."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                answer = self._answer(head.split(b" ", 2)[1], body)
                if answer is None:
                    # Whoever asked gives up at some time; until then this is how a stalled receiver looks.
                    await reader.read()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, path: bytes, body: bytes) -> bytes | None:
        if path == b"/count":
            return b"%d" % len(self.ids)
        if path in (b"/stall", b"/go"):
            self.stalled = path == b"/stall"
            return b""
        if self.stalled:
            return None
        self.ids.update(_ID.findall(body))
        return b""


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(Receiver().serve, "127.0.0.1", port, limit=1 << 20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
