"""Files of containers over HTTP (spec 05, 5 and 6; facts 46 to 51), with programs that the test plays."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from support_audit import objects
from support_rights import RightsWorld, binding, role, rule

from ksproxyd.terminal.execution import ExecRequest, Executions, Output
from ksproxyd.terminal.exit_status import EXITED, LOST, NOT_STARTED, REFUSED, Ended
from ksproxyd.terminal.files.passed import Passed
from ksproxyd.testing import Answer, Backend, Client
from ksproxyd.testing.backend import answer as ok

POD = "/kapis/terminal.kubesphere.io/v1alpha2/namespaces/n1/pods/web-0/file"


class Program:
    """A program that runs in the container, as the test says."""

    def __init__(self, cluster: Cluster, request: ExecRequest, output: Output) -> None:
        self.request = request
        self.output = output
        self.typed = b""
        self.input_ended = False
        self.closed = False
        self.paused = False
        self.protocol = "v5.channel.k8s.io"
        self._cluster = cluster

    def write(self, data: bytes) -> None:
        self.typed += data

    def close_stdin(self) -> None:
        self.input_ended = True
        self._cluster.later(lambda: self._cluster.play(self))

    def resize(self, columns: int, rows: int) -> None:
        raise AssertionError("files have no window")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def on_drain(self, callback: Callable[[bool], object]) -> None:
        """It takes everything."""

    def close(self) -> None:
        self.closed = True

    def say(self, data: bytes, stderr: bool = False) -> None:
        if not self.closed:
            self.output.output(data, stderr)

    def end(self, result: Ended) -> None:
        if not self.closed:
            self.closed = True
            self.output.ended(result)


class Cluster:
    """A gateway with a pod, whose programs do what ``play`` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
        self.world = RightsWorld(more=more)
        self.programs: list[Program] = []
        self.play: Callable[[Program], None] = lambda program: program.end(Ended(EXITED))
        monkeypatch.setattr(Executions, "begin", self._begin)
        self.world.gateway.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "web-0",
                    "namespace": "n1",
                    "annotations": {"kubectl.kubernetes.io/default-container": "side"},
                },
                "spec": {"containers": [{"name": "app", "image": "a"}, {"name": "side", "image": "b"}]},
            }
        )

    def _begin(self, request: ExecRequest, output: Output) -> Program:
        program = Program(self, request, output)
        self.programs.append(program)
        self.later(output.started)
        if not request.stdin:
            self.later(lambda: self.play(program))
        return program

    def later(self, what: Callable[[], object]) -> None:
        self.world.gateway.reactor.callLater(0, what)

    def download(self, query: str, who: str = "pa", **fields: str) -> Answer:
        headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        return self.world.ask(who, "GET", f"{POD}?{query}", headers=headers)

    def upload(self, body: bytes, query: str = "path=/tmp", who: str = "pa", kind: str = "") -> Answer:
        return self.world.ask(who, "POST", f"{POD}?{query}", body, kind or "multipart/form-data; boundary=B")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(monkeypatch)
    yield made
    made.world.close()


def archive(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def form(*files: tuple[str, bytes], field: str = "f") -> bytes:
    parts = b"".join(
        f'--B\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in files
    )
    return parts + b"--B--\r\n"


def refused(answer: Answer, status: int, *said: str) -> None:
    assert answer.status == status, answer.body
    found = msgspec.json.decode(answer.body)
    assert (found["kind"], found["code"]) == ("Status", status)
    assert all(each in found["message"] for each in said), found["message"]


# -- out of a container ----------------------------------------------------------------------------------------


def test_a_download(cluster: Cluster) -> None:
    content = archive(hosts=b"127.0.0.1 localhost\n")

    def play(program: Program) -> None:
        for at in range(0, len(content), 1000):
            program.say(content[at : at + 1000])
        program.end(Ended(EXITED))

    cluster.play = play
    answer = cluster.download("path=/etc/hosts")
    assert (answer.status, answer.body) == (200, content)
    assert answer.get("content-type") == b"application/x-tar"
    assert answer.get("content-disposition") == b"attachment; filename=\"hosts.tar\"; filename*=UTF-8''hosts.tar"
    assert answer.get("x-content-type-options") == b"nosniff"
    assert answer.get("cache-control") == b"no-store"
    (program,) = cluster.programs
    assert program.request.command == ("tar", "cf", "-", "-C", "/etc", "--", "hosts")
    assert (program.request.container, program.request.tty, program.request.stdin) == ("side", False, False)


def test_a_path_is_one_argument(cluster: Cluster) -> None:
    cluster.download("path=/etc/hosts;id&container=app")
    cluster.download("path=/etc/hosts%3Bid&container=app")
    assert cluster.programs[-1].request.command == ("tar", "cf", "-", "-C", "/etc", "--", "hosts;id")
    assert cluster.programs[-1].request.container == "app"


@pytest.mark.parametrize("query", ["", "path=", "path=etc", "path=/a%00b", "path=/a&format=zip"])
def test_what_is_not_asked_for_as_it_should_be(cluster: Cluster, query: str) -> None:
    refused(cluster.download(query), 400)
    assert not cluster.programs


@pytest.mark.parametrize(
    ("play", "status", "said"),
    [
        (
            lambda p: (p.say(b"\0" * 10240), p.say(b"tar: x: Cannot stat: No such file or directory", True),
                       p.end(Ended(EXITED, 2))),
            404, "there is no /tmp/x",
        ),
        (lambda p: (p.say(b"tar: can't open 'x'", True), p.end(Ended(EXITED, 1))), 404, "there is no /tmp/x"),
        (lambda p: (p.say(b"tar: x: Permission denied", True), p.end(Ended(EXITED, 2))), 400, "Permission denied"),
        (lambda p: p.end(Ended(NOT_STARTED, 500, "InternalError", "10.0.0.1: no tar")), 400, "has no such program"),
        (lambda p: p.end(Ended(EXITED, 127)), 400, "has no tar"),
        (lambda p: p.end(Ended(REFUSED, 404)), 404, "not there any more"),
        (lambda p: p.end(Ended(LOST, message="10.0.0.1 is away")), 502, "broke"),
    ],
)  # fmt: skip
def test_what_goes_wrong_before_anything_is_promised(
    cluster: Cluster, play: Callable[[Program], None], status: int, said: str
) -> None:
    cluster.play = play
    answer = cluster.download("path=/tmp/x")
    refused(answer, status, said)
    assert b"10.0.0.1" not in answer.body
    assert answer.get("content-disposition") is None


@pytest.mark.parametrize("result", [Ended(LOST), Ended(EXITED, 2)])
def test_what_breaks_off_has_no_end(cluster: Cluster, result: Ended) -> None:
    cluster.play = lambda program: program.say(b"x" * 2000)
    client = cluster.world.gateway.connect()
    token = cluster.world.token("pa")
    client.send(f"GET {POD}?path=/tmp/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    cluster.world.gateway.reactor.settle()
    data = client.take()
    cluster.programs[0].end(result)
    cluster.world.gateway.reactor.settle()
    data += client.take()
    assert b"HTTP/1.1 200" in data
    assert b"x" * 2000 in data
    assert not data.endswith(b"0\r\n\r\n")
    assert not client.open


def test_files_that_change_meanwhile_are_no_failure(cluster: Cluster) -> None:
    content = archive(log=b"1")
    cluster.play = lambda program: (  # type: ignore[assignment]
        program.say(content),  # type: ignore[func-returns-value]
        program.say(b"tar: log: file changed as we read it\n", True),  # type: ignore[func-returns-value]
        program.end(Ended(EXITED, 1)),  # type: ignore[func-returns-value]
    )
    assert cluster.download("path=/log").body == content


def test_a_client_that_goes_takes_the_program_along(cluster: Cluster) -> None:
    cluster.play = lambda program: program.say(b"x" * 2000)
    client = cluster.world.gateway.connect()
    token = cluster.world.token("pa")
    client.send(f"GET {POD}?path=/tmp/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    cluster.world.gateway.reactor.settle()
    client.close()
    cluster.world.gateway.reactor.settle()
    assert cluster.programs[0].closed


def test_a_client_that_does_not_read_makes_the_program_wait(cluster: Cluster) -> None:
    content = b"x" * 1_000_000

    def play(program: Program) -> None:
        rest = content
        while rest and not program.paused:
            program.say(rest[:10_000])
            rest = rest[10_000:]
        assert program.paused
        assert len(rest) > 300_000
        cluster.programs.append(program)

    cluster.play = play
    client = cluster.world.gateway.connect(capacity=65536)
    client.reading = False
    token = cluster.world.token("pa")
    client.send(f"GET {POD}?path=/tmp/x HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    cluster.world.gateway.reactor.settle()
    assert len(cluster.programs) == 2
    client.reading = True
    cluster.world.gateway.reactor.settle()
    assert not cluster.programs[0].paused
    client.close()


@pytest.mark.parametrize(("limit", "size", "status"), [("1000", 2000, 413), ("100000", 2000, 200)])
def test_a_limit(monkeypatch: pytest.MonkeyPatch, limit: str, size: int, status: int) -> None:
    made = Cluster(monkeypatch, f"terminal: {{downloadLimit: {limit}}}")
    try:
        made.play = lambda program: (program.say(b"x" * size), program.end(Ended(EXITED)))  # type: ignore[assignment, func-returns-value]
        assert made.download("path=/tmp/x").status == status
    finally:
        made.world.close()


def raw(content: bytes, kind: str = "regular file") -> Callable[[Program], None]:
    def play(program: Program) -> None:
        words = program.request.command
        if words[0] == "stat":
            program.say(f"{len(content)} 17 {kind}\n".encode())
        else:
            assert words[:2] == ("tail", "-c")
            begin = int(words[2][1:]) - 1
            for at in range(begin, len(content), 7):
                program.say(content[at : at + 7])
        program.end(Ended(EXITED))

    return play


def test_one_file_as_it_is(cluster: Cluster) -> None:
    content = bytes(range(256)) * 4
    cluster.play = raw(content)
    answer = cluster.download("path=/a/b.bin&format=raw")
    assert (answer.status, answer.body, answer.get("content-length")) == (200, content, b"1024")
    tag = (answer.get("etag") or b"").decode()
    for asked, begin, end in (("bytes=1000-", 1000, 1024), ("bytes=10-19", 10, 20), ("bytes=1020-9999", 1020, 1024)):
        part = cluster.download("path=/a/b.bin&format=raw", Range=asked, If_Range=tag)
        assert (part.status, part.body) == (206, content[begin:end])
        assert part.get("content-range") == f"bytes {begin}-{end - 1}/1024".encode()
    assert cluster.download("path=/a/b.bin&format=raw", Range="bytes=0-9", If_Range='"other"').body == content
    beyond = cluster.download("path=/a/b.bin&format=raw", Range="bytes=1024-")
    assert (beyond.status, beyond.get("content-range")) == (416, b"bytes */1024")
    cluster.play = raw(content, "directory")
    refused(cluster.download("path=/a&format=raw"), 400, "directory")
    cluster.play = lambda program: (  # type: ignore[assignment]
        program.say(b"stat: cannot stat '/a': No such file or directory", True),  # type: ignore[func-returns-value]
        program.end(Ended(EXITED, 1)),  # type: ignore[func-returns-value]
    )
    refused(cluster.download("path=/a&format=raw"), 404)


# -- into a container ------------------------------------------------------------------------------------------


def test_an_upload(cluster: Cluster) -> None:
    content = bytes(range(256)) * 2000
    answer = cluster.upload(form(("../../etc/x", content), ("b.txt", b"2"), ("empty", b"")))
    assert answer.status == 200, answer.body
    assert msgspec.json.decode(answer.body) == {
        "files": [{"name": "x", "size": len(content)}, {"name": "b.txt", "size": 1}, {"name": "empty", "size": 0}]
    }
    (program,) = cluster.programs
    assert program.request.command == ("tar", "-xmf", "-", "-C", "/tmp")
    assert program.input_ended
    with tarfile.open(fileobj=io.BytesIO(program.typed)) as tar:
        assert [(member.name, member.mode) for member in tar] == [("x", 0o600), ("b.txt", 0o600), ("empty", 0o600)]
        reader = tar.extractfile("x")
        assert reader is not None
        assert reader.read() == content


@pytest.mark.parametrize(
    ("body", "query", "kind", "status"),
    [
        (form(("a", b"1"), ("a", b"2")), "path=/tmp", "", 400),
        (form(("..", b"1")), "path=/tmp", "", 400),
        (form(("a\nb", b"1")), "path=/tmp", "", 400),
        (form(), "path=/tmp", "", 400),
        (form(("a", b"1"))[:-6], "path=/tmp", "", 400),
        (form(("a", b"1")), "path=tmp", "", 400),
        (form(("a", b"1")), "path=/tmp", "multipart/form-data", 400),
        (form(("a", b"1")), "path=/tmp", "application/json", 415),
        (form(("a", b"1")), "path=/tmp&container=nope", "", 404),
    ],
)
def test_what_is_no_upload(cluster: Cluster, body: bytes, query: str, kind: str, status: int) -> None:
    refused(cluster.upload(body, query, kind=kind), status)
    assert not cluster.programs


def test_what_tar_says_is_told(cluster: Cluster) -> None:
    """Fact 48."""

    def play(program: Program) -> None:
        program.say(b"tar: can't change directory to '/nope'", True)
        program.end(Ended(EXITED, 2))

    cluster.play = play
    refused(cluster.upload(form(("a", b"1")), "path=/nope"), 400, "can't change directory", "(2)")


def test_files_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fact 47."""
    made = Cluster(monkeypatch, "terminal: {uploadFileLimit: 1000}")
    try:
        refused(made.upload(form(("a", b"x" * 600), ("b", b"x" * 600))), 413, "1000")
        refused(made.upload(form(("a", b"x" * 2_000_000))), 413, "1000")
        assert not made.programs
        assert made.upload(form(("a", b"x" * 600), ("b", b"x" * 400))).status == 200
    finally:
        made.world.close()


# -- who may ---------------------------------------------------------------------------------------------------


def test_looking_is_not_enough(cluster: Cluster) -> None:
    """Fact 50: files come out by running a program."""
    for answer in (cluster.download("path=/etc/hosts", "pv"), cluster.upload(form(("a", b"1")), who="pv")):
        refused(answer, 403, "pods")
    cluster.world.gateway.apply(
        role("Role", "files", [rule(["terminal.kubesphere.io"], ["pods/file"], ["get", "create"])], namespace="n1"),
        binding("RoleBinding", "alice", ("Role", "files"), "alice", namespace="n1"),
    )
    refused(cluster.download("path=/etc/hosts", "alice"), 403, "pods/exec")
    assert not cluster.programs
    assert cluster.download("path=/etc/hosts", "").status == 403


def test_pods_that_are_not_there(cluster: Cluster) -> None:
    other = POD.replace("web-0", "other")
    refused(cluster.world.ask("pa", "GET", f"{other}?path=/a"), 404, "there is no pod n1/other")
    odd = POD.replace("web-0", "Web_0")
    refused(cluster.world.ask("pa", "GET", f"{odd}?path=/a"), 404, "no name of a pod")
    answer: Any = cluster.world.ask("pa", "DELETE", POD)
    assert answer.status in (403, 405)


# -- what the record says --------------------------------------------------------------------------------------

RECEIVER = "http://audit.example:8080"
AUDITED = f"""auditing:
  enable: true
  auditLevel: Metadata
  eventBatchSize: 1
  webhookOptions: {{webhookUrl: "{RECEIVER}/"}}
"""


class Recorded(Cluster):
    """A cluster whose gateway keeps a record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch, AUDITED)
        self.receiver = self.world.gateway.serve(RECEIVER, Backend(lambda _, request: ok(200, b"")))

    def said(self) -> list[dict[str, str]]:
        """What is told of files, by request that was for some."""
        self.world.gateway.wait(10.0)
        events = [event for request in self.receiver.complete for event in objects(request.body)]
        kinds = ("file-", "partial-")
        return [
            {
                name.removeprefix("ksproxyd.io/"): value
                for name, value in (event["Annotations"] or {}).items()
                if name.removeprefix("ksproxyd.io/").startswith(kinds)
            }
            for event in events
            if event["ObjectRef"]["Subresource"] == "file"
        ]

    def begun(self, query: str) -> Client:
        """A download whose program goes on."""
        client = self.world.gateway.connect()
        token = self.world.token("pa")
        client.send(f"GET {POD}?{query} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        self.world.gateway.reactor.settle()
        return client


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    made = Recorded(monkeypatch)
    yield made
    made.world.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_record_has_the_hash_of_a_download(recorded: Recorded) -> None:
    content = archive(log=bytes(range(256)) * 100)

    def play(program: Program) -> None:
        for at in range(0, len(content), 1000):
            program.say(content[at : at + 1000])
        program.say(b"tar: log: file changed as we read it\n", True)
        program.end(Ended(EXITED, 1))

    recorded.play = play
    assert recorded.download("path=/log").body == content
    assert recorded.said() == [{"file-bytes": str(len(content)), "file-sha256": sha256(content)}]


def test_the_record_has_the_hash_of_one_file_and_of_a_part_of_it(recorded: Recorded) -> None:
    content = bytes(range(256)) * 4
    recorded.play = raw(content)
    assert recorded.download("path=/a&format=raw").body == content
    # More comes from the container than is asked for; it is not sent, and not counted.
    assert recorded.download("path=/a&format=raw", Range="bytes=10-19").body == content[10:20]
    recorded.play = raw(b"")
    assert recorded.download("path=/a&format=raw").body == b""
    assert recorded.said() == [
        {"file-bytes": "1024", "file-sha256": sha256(content)},
        {"file-bytes": "10", "file-range": "bytes 10-19/1024", "file-sha256": sha256(content[10:20])},
        {"file-bytes": "0", "file-sha256": sha256(b"")},
    ]


@pytest.mark.parametrize("how", ["lost", "failed", "gone", "late"])
def test_the_record_says_of_a_download_that_it_broke_off(recorded: Recorded, how: str) -> None:
    recorded.play = lambda program: program.say(b"x" * 2000)
    client = recorded.begun("path=/tmp/x")
    assert client.take().startswith(b"HTTP/1.1 200")
    (program,) = recorded.programs
    if how == "gone":
        client.close()
    elif how == "late":
        recorded.world.gateway.wait(4000.0)
        assert not client.open
    else:
        program.end(Ended(LOST) if how == "lost" else Ended(EXITED, 2))
    assert recorded.said() == [{"partial-bytes": "2000", "partial-sha256": sha256(b"x" * 2000)}]


def test_the_record_says_that_a_file_has_shrunk(recorded: Recorded) -> None:
    def play(program: Program) -> None:
        program.say(b"10 17 regular file\n" if program.request.command[0] == "stat" else b"1234")
        program.end(Ended(EXITED))

    recorded.play = play
    assert not recorded.begun("path=/a&format=raw").open
    assert recorded.said() == [{"partial-bytes": "4", "partial-sha256": sha256(b"1234")}]


def test_the_record_has_the_hashes_of_an_upload(recorded: Recorded) -> None:
    content = bytes(range(256)) * 2000
    assert recorded.upload(form(("../x", content), ("b.txt", b"2"), ("empty", b""))).status == 200
    assert recorded.said() == [
        {
            "file-bytes": str(len(content) + 1),
            "file-count": "3",
            "file-names": "x/b.txt/empty",
            "file-sha256": " ".join(sha256(each) for each in (content, b"2", b"")),
        }
    ]


def test_the_record_says_of_an_upload_that_it_failed(recorded: Recorded) -> None:
    recorded.play = lambda program: program.end(Ended(EXITED, 2))
    assert recorded.upload(form(("a", b"1"))).status == 400
    assert recorded.said() == [
        {"partial-bytes": "1", "partial-count": "1", "partial-names": "a", "partial-sha256": sha256(b"1")}
    ]


def test_the_record_has_nothing_of_an_upload_of_which_nothing_went_on(recorded: Recorded) -> None:
    assert recorded.upload(form(("a", b"1"))[:-6]).status == 400
    recorded.play = lambda program: program.end(Ended(REFUSED, 404))
    assert recorded.download("path=/tmp/x").status == 404
    assert recorded.said() == [{}, {}]


def test_the_record_says_of_an_upload_that_its_client_has_gone(recorded: Recorded) -> None:
    """The container may have it all; that it has is not known."""
    recorded.play = lambda program: None
    body, token = form(("a", b"123")), recorded.world.token("pa")
    client = recorded.world.gateway.connect()
    client.send(
        f"POST {POD}?path=/tmp HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n".encode() + body
    )
    recorded.world.gateway.wait(1.0)
    assert recorded.programs[0].input_ended
    client.close()
    (said,) = recorded.said()
    assert (said["partial-bytes"], said["partial-sha256"]) == ("3", sha256(b"123"))
    assert not any(name.startswith("file-") for name in said)


def test_without_a_record_nothing_is_hashed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Passed] = []
    monkeypatch.setattr(Passed, "__init__", made.append)
    cluster.play = raw(b"12345")
    assert cluster.download("path=/a&format=raw").status == 200
    cluster.play = lambda program: program.end(Ended(EXITED))
    assert cluster.upload(form(("a", b"1"))).status == 200
    assert not made
