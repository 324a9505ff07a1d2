"""What is published of terminals: how many there are, and how those that are over came to it."""

from __future__ import annotations

from support_terminals import TerminalWorld

STORY = """
    C: open namespaces/n1/pods/web-0/exec?shell=sh
    S: 101
    K: exec ["sh"] app
    S: text {"Op":"stdout","Data":"","Rows":0,"Cols":0}
    C: text {"Op":"stdin","Data":"ls"}
    K: in "ls"
    K: out "seen"
    S: out "seen"
"""


def figures(world: TerminalWorld) -> dict[str, str]:
    text = world.gateway.get("/metrics").body.decode()
    # A scrape is shared with whoever comes within a second.
    world.wait(2.0)
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("ksproxyd_terminal_"))
    return {name.removeprefix("ksproxyd_terminal_"): value for name, _, value in lines}


def test_terminals_that_are_open_and_over() -> None:
    world = TerminalWorld()
    try:
        book = world.play(STORY)
        now = figures(world)
        assert now['sessions{kind="pod"}'] == now["connections"] == now["execs"] == "1"
        assert now["session_seconds_count"] == "0"
        book.line("W: 20")
        book.line("K: exit 3")
        book.line("S: toast exited with code 3")
        book.line("S: close 1000 exited 3")
        world.wait(30.0)
        now = figures(world)
        assert now['sessions{kind="pod"}'] == now["connections"] == now["execs"] == "0"
        assert now['sessions_total{code="1000",kind="pod"}'] == now["session_seconds_count"] == "1"
        assert now['session_seconds_bucket{le="15"}'] == "0"
        assert now['session_seconds_bucket{le="60"}'] == "1"
        assert (now['bytes_total{direction="typed"}'], now['bytes_total{direction="printed"}']) == ("2", "4")
    finally:
        world.close()
