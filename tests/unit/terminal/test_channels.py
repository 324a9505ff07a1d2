"""Channels of an exec, and how it ended."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.channels import END_OF_STDIN, PIECE, resize, stdin
from ksproxyd.terminal.exit_status import EXITED, LOST, NOT_STARTED, Ended, read_status


@given(st.integers(0, 200_000))
def test_nothing_that_is_typed_is_lost(size: int) -> None:
    data = bytes(place % 251 for place in range(size))
    sent = stdin(data)
    assert all(message[0] == 0 and 1 < len(message) <= PIECE + 1 for message in sent)
    assert b"".join(message[1:] for message in sent) == data


def test_sizes_and_ends() -> None:
    assert json.loads(resize(132, 40)[1:]) == {"Width": 132, "Height": 40}
    assert resize(132, 40)[0] == 4
    assert END_OF_STDIN == b"\xff\x00"


def failure(reason: str, *causes: object, **more: object) -> object:
    return {"metadata": {}, "status": "Failure", "reason": reason, "details": {"causes": list(causes)}, **more}


def exit_code(text: object) -> object:
    return failure("NonZeroExitCode", {"reason": "ExitCode", "message": text}, message="exit")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"metadata": {}, "status": "Success"}, Ended(EXITED)),
        (exit_code("3"), Ended(EXITED, 3, "NonZeroExitCode", "exit")),
        (exit_code("137"), Ended(EXITED, 137, "NonZeroExitCode", "exit")),
        (exit_code("256"), Ended(LOST, 0, "NonZeroExitCode", "the status of the process has no exit code")),
        (exit_code("-1"), Ended(LOST, 0, "NonZeroExitCode", "the status of the process has no exit code")),
        (exit_code(3), Ended(LOST, 0, "NonZeroExitCode", "the status of the process has no exit code")),
        (
            failure("NonZeroExitCode", {"reason": "Other", "message": "9"}, {"reason": "ExitCode", "message": "4"}),
            Ended(EXITED, 4, "NonZeroExitCode"),
        ),
        (
            failure("InternalError", code=500, message="executable file not found in $PATH"),
            Ended(NOT_STARTED, 500, "InternalError", "executable file not found in $PATH"),
        ),
        ({"status": "Failure"}, Ended(NOT_STARTED)),
        ([], Ended(LOST, message="the status of the process is no object")),
    ],
)
def test_how_it_ended(status: object, expected: Ended) -> None:
    assert read_status(json.dumps(status).encode()) == expected


@given(st.binary())
def test_any_status_is_one_or_nobody_knows(payload: bytes) -> None:
    assert read_status(payload).kind in (EXITED, NOT_STARTED, LOST)
