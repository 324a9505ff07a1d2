"""Sessions as conversations (spec 05, 8.1, 8.3 and facts 11 to 38)."""

from __future__ import annotations

import pytest

from ksproxyd.terminal.endings import Where
from tests.unit.terminal.playbook import play

AUTOMATIC = Where("pod", "demo", "web-0", "app")

#: Shells, and what comes before a process is there.
STARTS = {
    "a session of the console": r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        K: prints / #
            S: stdout / #
        C: size 132x40
            X: size 132x40
        C: stdin l
            X: stdin l
        K: prints l
            S: stdout l
        C: {"op":"stdin","data":"s\r"}
            X: stdin s\r
        K: prints s\r\nbin  etc\r\n/ #
            S: stdout s\r\nbin  etc\r\n/ #
        C: stdin exit\r
            X: stdin exit\r
        K: exited 0
            S: close 1000 exited 0
            over 0 1000
        """,
    "a code is told": r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        K: prints #
            S: stdout #
        K: exited 3
            S: toast \r\n[the shell exited with code 3]\r\n
            S: close 1000 exited 3
            over 3 1000
        """,
    "a pod that takes its time": r"""
        O: preparing preparing the kubectl pod ...
            S: toast \r\n[preparing the kubectl pod ...]\r\n
        C: size 90x20
        C: size 100x30
        C: stdin l
        C: stdin s\r
        T: 10
        O: ready
            X: exec sh
        C: stdin pwd\r
        T: 1
        K: started
            X: size 100x30
            X: stdin ls\rpwd\r
            S: stdout
        C: stdin !
            X: stdin !
        """,
    "the browser leaves before the exec has started": r"""
        C: size 80x24
        C: stdin rm -rf /\r
        O: ready
            X: exec sh
        C: left 1000
            X: stdin ␃
            X: stdin ␄
        K: started
        K: prints #
        K: exited 0
            over 0 1000
        """,
    "a pod that does not come": r"""
        O: preparing wait
            S: toast \r\n[wait]\r\n
        C: stdin ls\r
        O: failed 1013 not ready | the pod is not ready
            S: toast \r\n[the pod is not ready]\r\n
            S: close 1013 not ready
            over - 1013
        O: ready
        O: end 4410 too late | for that
        """,
    "the browser does not wait for the pod": r"""
        O: preparing wait
            S: toast \r\n[wait]\r\n
        C: left 1001
            over - 1001
        O: preparing still
        O: ready
        O: failed 1013 not ready | the pod is not ready
        """,
    "no such shell": r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        K: missing
            S: toast \r\n[cannot start a shell in container app: no sh in the image]\r\n
            S: close 4404 no shell
            over - 4404
        """,
    "no such pod": r"""
        O: ready
            X: exec sh
        K: refused 404
            S: toast \r\n[cannot start a shell: pod demo/web-0 does not exist]\r\n
            S: close 4404 not found
            over - 4404
        """,
    "no cluster": r"""
        O: ready
            X: exec sh
        K: lost
            S: toast \r\n[the cluster cannot be reached or has not answered]\r\n
            S: close 1011 connection lost
            over - 1011
        """,
    "a missing program that is missed late was there": r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        T: 5.1
        K: exited 127
            S: toast \r\n[the shell exited with code 127]\r\n
            S: close 1000 exited 127
            over 127 1000
        """,
}


@pytest.mark.parametrize("name", STARTS)
def test_a_start(name: str) -> None:
    play(STARTS[name])


#: Where any shell will do.
FALLBACKS = {
    "one exec is enough": r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        K: prints bash-5.1$
            S: stdout bash-5.1$
        K: exited 1
            S: toast \r\n[the shell exited with code 1]\r\n
            S: close 1000 exited 1
            over 1 1000
        """,
    "no sh but bash": r"""
        C: size 80x24
        O: ready
            X: exec best
        K: started
            X: size 80x24
            S: stdout
        C: stdin a
            X: stdin a
        C: stdin b
            X: stdin b
        K: missing
            X1: exec bash
        C: stdin c
        C: size 81x24
        K: started
            X1: size 81x24
            X1: stdin abc
        C: stdin d
            X1: stdin d
        # The first one has nothing to say any more.
        K0: prints boo
        K0: started
        K: prints bash-5.1$
            S: stdout bash-5.1$
        K: exited 127
            S: toast \r\n[the shell exited with code 127]\r\n
            S: close 1000 exited 127
            over 127 1000
        """,
    "nothing is there": r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        K: exited 127
            X1: exec bash
        K: started
        K: exited 126
            X2: exec sh
        K: started
        K: exited 128
            S: toast \r\n[cannot start a shell in container app: no bash or sh in the image]\r\n
            S: close 4404 no shell
            over - 4404
        """,
    "who has printed was there": r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        K: prints sh: bash: not found\r\n
            S: stdout sh: bash: not found\r\n
        K: exited 127
            S: toast \r\n[the shell exited with code 127]\r\n
            S: close 1000 exited 127
            over 127 1000
        """,
    "a pod that is not there has no other shell": r"""
        O: ready
            X: exec best
        K: refused 404
            S: toast \r\n[cannot start a shell: pod demo/web-0 does not exist]\r\n
            S: close 4404 not found
            over - 4404
        """,
    "the connection breaks at once": r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        K: lost
            S: toast \r\n[the connection to the cluster was lost; the shell may still run]\r\n
            S: close 1011 connection lost
            over - 1011
        """,
    "the browser leaves between two programs": r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        K: missing
            X1: exec bash
        C: stdin ls\r
        C: left 1000
            X1: stdin ␃
            X1: stdin ␄
        K: started
        K: missing
            over - 1000
        """,
    "what was typed is kept through a full exec": r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        C: stdin a
            X: stdin a
        K: full
            S: pause
        C: stdin b
            X: stdin b
        C: size 80x24
        K: missing
            X1: exec bash
            S: resume
        K: started
            X1: size 80x24
            X1: stdin ab
        """,
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_whatever_shell_there_is(name: str) -> None:
    play(FALLBACKS[name], where=AUTOMATIC)


BEGUN = r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        K: prints #
            S: stdout #
"""

#: How sessions end that were there.
ENDS = {
    "the cluster is gone": r"""
        K: lost
            S: toast \r\n[the connection to the cluster was lost; the shell may still run]\r\n
            S: close 1011 connection lost
            over - 1011
        """,
    "killed": r"""
        K: exited 137
            S: toast \r\n[the shell exited with code 137 (SIGKILL)]\r\n
            S: close 1000 exited 137
            over 137 1000
        """,
    "the pod is deleted": r"""
        O: end 4410 pod deleted | session closed: pod demo/web-0 was deleted
            S: toast \r\n[session closed: pod demo/web-0 was deleted]\r\n
            S: close 4410 pod deleted
            X: close
            over - 4410
        """,
    "the browser leaves, the shell ends": r"""
        C: left 1000
            X: stdin ␃
            X: stdin ␄
        K: prints ^C\r\n# exit\r\n
        T: 0.3
        K: exited 130
            over 130 1000
        """,
    "the browser leaves, the shell stays": r"""
        C: left 1001
            X: stdin ␃
            X: stdin ␄
        T: 1
            X: stdin ␄
        T: 0.9
        T: 0.2
            X: close
            over - 1001
        """,
    "the browser breaks off, the cluster as well": r"""
        C: left 1006
            X: stdin ␃
            X: stdin ␄
        K: lost
            over - 1006
        """,
    "the login ends": r"""
        O: end 4401 login ended | session closed: your login has ended
            S: toast \r\n[session closed: your login has ended]\r\n
            S: close 4401 login ended
            X: stdin ␃
            X: stdin ␄
        # What is on the way from both sides goes nowhere.
        K: prints secret
        C: stdin rm -rf /\r
        C: size 80x24
        C: left 4401
        O: end 4403 again | again
        K: exited 0
            over 0 4401
        """,
    "a reason that is too long": r"""
        O: end 4410 REASON | gone
            S: toast \r\n[gone]\r\n
            S: close 4410 CUT
            X: close
            over - 4410
        """.replace("REASON", "\u20ac" * 99).replace("CUT", "\u20ac" * 41),
    "not JSON": r"""
        C: not json
            S: toast \r\n[session closed: the message is not JSON]\r\n
            S: close 1007 malformed message
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 1007
        """,
    "negative rows": r"""
        C: {"Op":"resize","Rows":-1}
            S: toast \r\n[session closed: Cols is not a number from 0 to 65535]\r\n
            S: close 1002 malformed message
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 1002
        """.replace("Cols is", "Rows is"),
    "what means nothing": r"""
        C: {"Op":"nope"}
        C: {"Op":"resize","Cols":0,"Rows":0}
        C: {"Op":"stdin","Data":""}
        C: {}
        C: size 80x24
            X: size 80x24
        K: exited 0
            S: close 1000 exited 0
            over 0 1000
        """,
    "characters in pieces": r"""
        K: prints \xe2\x82
        T: 1
        K: prints \xac
            S: stdout €
        K: prints \xff\xfe
            S: stdout ��
        K: prints \xe2
        K: exited 0
            S: stdout �
            S: close 1000 exited 0
            over 0 1000
        """,
    "half of a pair": r"""
        C: {"Op":"stdin","Data":"\ud83d"}
            X: stdin �
        """,
}


@pytest.mark.parametrize("name", ENDS)
def test_an_end(name: str) -> None:
    played = play(BEGUN + ENDS[name])
    assert played.witness.begun == 1


def test_a_shell_that_stays_is_hung_up_by_a_signal() -> None:
    begun = r"""
        O: ready
            X: exec best
        K: started
            S: stdout
        K: prints #
            S: stdout #
        C: left 1000
            X: stdin ␃
            X: stdin ␄
        T: 1
            X: stdin ␄
        T: 1
            X1: exec kill
    """
    killed = play(
        begun
        + r"""
        K1: started
        K0: exited 129
            X1: close
            over 129 1000
        """,
        where=AUTOMATIC,
    )
    assert killed.execs[1].command[-1] == killed.session.id
    assert killed.execs[0].command[-1] == killed.session.id
    stubborn = r"""
        K1: started
        K1: prints sh: grep: not found
        K1: exited 1
        T: 2
            X: close
            over - 1000
    """
    play(begun + stubborn, where=AUTOMATIC)
    silent = r"""
        T: 2
            X1: close
            X: close
            over - 1000
    """
    play(begun + silent, where=AUTOMATIC)
