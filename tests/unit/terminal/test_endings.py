"""What a browser is told of an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.endings import Ending, Where, bounded, no_shell, of_exec
from ksproxyd.terminal.exit_status import EXITED, LOST, NOT_STARTED, REFUSED, Ended

POD = Where("pod", "demo", "web-0", "app")
ADDRESS = "Get https://10.0.3.7:10250/exec: dial tcp 10.0.3.7:10250: connect: connection refused"


@pytest.mark.parametrize(
    ("result", "started", "expected"),
    [
        (Ended(EXITED), True, Ending(1000, "exited 0")),
        (Ended(EXITED, 3), True, Ending(1000, "exited 3", "the shell exited with code 3")),
        (Ended(EXITED, 137), True, Ending(1000, "exited 137", "the shell exited with code 137 (SIGKILL)")),
        (Ended(EXITED, 255), True, Ending(1000, "exited 255", "the shell exited with code 255")),
        (
            Ended(REFUSED, 404, "NotFound", 'pods "web-0" not found'),
            False,
            Ending(4404, "not found", "cannot start a shell: pod demo/web-0 does not exist"),
        ),
        (
            Ended(REFUSED, 400, "BadRequest", "container app is not valid for pod web-0"),
            False,
            Ending(
                4404,
                "not running",
                "cannot start a shell: container app of pod demo/web-0 does not exist or is not running",
            ),
        ),
        (
            Ended(REFUSED, 500, "InternalError", "cannot exec into a container in a completed pod; current phase is x"),
            False,
            Ending(
                4404,
                "not running",
                "cannot start a shell: container app of pod demo/web-0 does not exist or is not running",
            ),
        ),
        (Ended(REFUSED, 503), False, Ending(1013, "cluster busy", "the cluster is busy: try again in a moment")),
        (
            Ended(REFUSED, 403),
            False,
            Ending(1011, "refused by the cluster", "the cluster does not let the gateway start a shell there"),
        ),
        (
            Ended(REFUSED, 302),
            False,
            Ending(1011, "refused by the cluster", "the cluster refused to start a shell (HTTP 302)"),
        ),
        (
            Ended(NOT_STARTED, 500, "InternalError", 'container not found ("app")'),
            False,
            Ending(4404, "not running", "cannot start a shell: container app is not running"),
        ),
        (
            Ended(NOT_STARTED, 500, "InternalError", 'exec: "zsh": executable file not found in $PATH'),
            False,
            Ending(4404, "no shell", "cannot start the shell in container app: it is not in the image"),
        ),
        (
            Ended(NOT_STARTED, 500, "InternalError", "unable to upgrade connection: pod does not exist"),
            False,
            Ending(4404, "not running", "cannot start a shell: container app is not running"),
        ),
        (
            Ended(
                NOT_STARTED, 500, "InternalError", "error dialing backend: dial tcp 10.0.3.7:10250: no route to host"
            ),
            False,
            Ending(1011, "node unreachable", "cannot start a shell: the cluster does not reach the node"),
        ),
        (
            Ended(REFUSED, 500, "InternalError", "error dialing backend: dial tcp 10.0.3.7:10250: no route to host"),
            False,
            Ending(1011, "node unreachable", "cannot start a shell: the cluster does not reach the node"),
        ),
        (
            Ended(NOT_STARTED, 500, "InternalError", ADDRESS),
            False,
            Ending(1011, "not started", "the cluster could not start a shell in container app"),
        ),
        (
            Ended(LOST, message=ADDRESS),
            True,
            Ending(1011, "connection lost", "the connection to the cluster was lost; the shell may still run"),
        ),
        (
            Ended(LOST, message=ADDRESS),
            False,
            Ending(1011, "connection lost", "the cluster cannot be reached or has not answered"),
        ),
    ],
)
def test_how_an_exec_ended(result: Ended, started: bool, expected: Ending) -> None:
    assert of_exec(result, POD, started) == expected


@given(
    st.sampled_from([EXITED, NOT_STARTED, REFUSED, LOST]), st.integers(0, 600), st.booleans(), st.sampled_from([0, 1])
)
def test_nothing_of_the_inside_is_told(kind: str, code: int, started: bool, place: int) -> None:
    where = (POD, Where("kubectl"))[place]
    ending = of_exec(Ended(kind, code, "InternalError", ADDRESS), where, started)
    assert "10.0" not in ending.reason + ending.text
    assert 1000 <= ending.code < 5000
    assert ending.reason


def test_names() -> None:
    assert no_shell(POD, "bash or sh").text == "cannot start a shell in container app: no bash or sh in the image"
    assert [str(each) for each in (POD, Where("kubectl"), Where("node", node="n1"))] == [
        "pod demo/web-0",
        "the kubectl pod",
        "node n1",
    ]
    assert no_shell(Where("node", node="n1"), "sh").text == "cannot start a shell in node n1: no sh in the image"


@given(st.text())
def test_reasons_fit_into_a_frame(text: str) -> None:
    reason = bounded(text * 9)
    encoded = reason.encode()
    assert len(encoded) <= 123
    assert len(encoded) > 119 or len(reason) == len(text * 9)
    assert reason.isprintable()


def test_a_reason_is_one_line() -> None:
    assert bounded("pod\r\ndeleted") == "pod  deleted"
    assert bounded("\u20ac" * 50) == "\u20ac" * 41
