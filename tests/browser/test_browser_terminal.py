"""The terminal page in a real browser, through a real gateway and a real kube-apiserver, to a real shell."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kube.gateway_process import Gateway
from kube.people import IAM
from kube.terminal_site import SETTINGS

from browser.chromium import Chromium, missing
from browser.terminal_place import (
    NAMESPACE,
    POD,
    PROMPT,
    TerminalPlace,
    expect,
    lines,
    no_cluster,
    paste,
    running_terminals,
    sign_in,
    terminal_text,
    until,
)
from browser.test_signing_in import picture

_CONTROL, _SHIFT, _F6, _ENTER, _ESCAPE = "\ue009", "\ue008", "\ue036", "\ue007", "\ue00c"

_NOT_ENDED = "return document.querySelector('#ended').hidden"

#: Bytes of output, and of a file. ``KSPROXYD_TERMINAL_BYTES`` makes both large: the file as large as it says, and the
#: output 200 MB.
SMALL = 3_000_000
FILE = int(os.environ.get("KSPROXYD_TERMINAL_BYTES", SMALL))
OUTPUT = 60_000_000 if FILE == SMALL else 200_000_000

pytestmark = pytest.mark.timeout(300 if FILE == SMALL else 1200)


@pytest.fixture(scope="module")
def terminals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TerminalPlace]:
    absent = missing()
    if absent:
        pytest.skip(f"not installed: {absent} (Debian: chromium, chromium-driver)")
    problem = no_cluster()
    if problem:
        pytest.skip(problem)
    with running_terminals(tmp_path_factory.mktemp("terminals")) as place:
        yield place


@pytest.fixture
def browser(tmp_path: Path, terminals: TerminalPlace) -> Iterator[Chromium]:
    with Chromium(tmp_path / "browser") as opened:
        yield opened


def at_prompt(browser: Chromium, place: TerminalPlace, *, base: str = "") -> None:
    """Sign in and have a shell."""
    browser.open(place.page(base=base))
    sign_in(browser)
    expect(browser, PROMPT)


def state(browser: Chromium) -> str | None:
    return browser.attribute("body", "data-state")


def answer_of(browser: Chromium, command: str, mark: str) -> str:
    """What the shell says to a command, between two marks that the command does not show as they are."""
    browser.write(f"{command}; echo {mark}'-'end\n")
    expect(browser, f"{mark}-end")
    found = re.search(rf"{re.escape(mark)}'-'end\n(.*?)\n?{re.escape(mark)}-end", terminal_text(browser), re.DOTALL)
    assert found is not None, terminal_text(browser)
    return found[1].strip()


def patiently(condition: Callable[[], Any], browser: Chromium, what: str) -> None:
    """Wait much longer, for what is large."""
    for _ in range(20):
        try:
            until(condition, browser, what)
            return
        except AssertionError:
            continue
    until(condition, browser, what)


def test_typing_and_the_size_of_the_window(browser: Chromium, terminals: TerminalPlace) -> None:
    browser.open(terminals.page())
    # Whoever has not signed in does so, and comes back to where they were going.
    sign_in(browser)
    assert browser.url == terminals.page()
    assert browser.title == "Terminal · KubeSphere"
    browser.console()
    expect(browser, PROMPT)
    assert browser.text("#state") == f"{NAMESPACE}/{POD}: connected"
    first = answer_of(browser, "stty size", "one")
    assert int(first.split()[0]) == len(lines(browser))
    browser.size(1300, 700)
    until(lambda: len(lines(browser)) < int(first.split()[0]), browser, "fewer rows")
    second = answer_of(browser, "stty size", "two")
    rows, columns = (int(word) for word in second.split())
    assert rows == len(lines(browser)) and columns > int(first.split()[1])
    # Colours that have no class of their own do not need a policy of "anything goes".
    browser.write("printf '\\033[38;2;255;100;0morange\\033[0m\\n'\n")
    until(
        lambda: browser.script(
            "return [...document.querySelectorAll('.xterm-rows span')].some("
            "each => each.textContent === 'orange' && getComputedStyle(each).color === 'rgb(255, 100, 0)')"
        ),
        browser,
        "orange",
    )
    assert browser.console() == []


def test_a_program_that_has_the_whole_screen(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    program = (
        "import curses\n"
        "def main(screen):\n"
        "    curses.curs_set(0)\n"
        "    rows, columns = screen.getmaxyx()\n"
        "    screen.border()\n"
        "    screen.addstr(0, 2, f' {columns}x{rows} ')\n"
        "    for n in range(8):\n"
        "        curses.use_default_colors(); curses.init_pair(n + 1, n, -1)\n"
        "        screen.addstr(2 + n, 4, f'Farbe {n} 颜色 🎨', curses.color_pair(n + 1) | curses.A_BOLD)\n"
        "    screen.addstr(rows - 2, columns - 9, 'corner')\n"
        "    while screen.getkey() != 'q': pass\n"
        "curses.wrapper(main)\n"
    )
    script = terminals.site.gateway.folder / "full_screen.py"
    script.write_text(program)
    browser.write(f"TERM=xterm-256color LANG=C.UTF-8 python3 {script}\n")
    expect(browser, "corner")
    rows = lines(browser)
    size = re.search(r" (\d+)x(\d+) ", rows[0])
    assert size is not None and int(size[2]) == len(rows)
    assert "Farbe 3 颜色 🎨" in rows[5] and rows[-2].endswith("corner  │")
    assert len(rows[-1]) == len(rows[0]) == int(size[1])
    picture(browser, "terminal-full-screen")
    browser.write("x")
    browser.write("q")
    until(lambda: "corner" not in terminal_text(browser), browser, "the screen of before")
    expect(browser, PROMPT)


def test_a_mebibyte_is_pasted(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    text = "".join(f"{n:06} é中🎉 {'x' * 46}\n" for n in range(2**14))
    assert len(text.encode()) == 2**20
    browser.write("stty -echo; head -c 1048576 | sha256sum; stty echo\n")
    # Several lines are asked about, and nothing comes of them until somebody says yes.
    paste(browser, text)
    until(lambda: browser.has("#paste-dialog[open]"), browser, "a question")
    assert "16,385 lines" in browser.text("#paste-text").replace("16385", "16,385")
    assert "000003 é中🎉" in browser.text("#paste-preview")
    picture(browser, "terminal-paste")
    browser.press(_ESCAPE)
    until(lambda: not browser.has("#paste-dialog[open]"), browser, "no question")
    paste(browser, text)
    until(lambda: browser.has("#paste-dialog[open]"), browser, "a question")
    browser.push("#paste-dialog button[value=yes]")
    expect(browser, hashlib.sha256(text.encode()).hexdigest())


def test_characters_of_everybody(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    said = "Grüße 中文字符 ελληνικά עברית 日本語 🎉🚀 ñ"
    paste(browser, f"printf '%s|\\n' '{said}'")
    assert not browser.has("#paste-dialog[open]")
    browser.press(_ENTER)
    expect(browser, f"{said}|\n")
    # Bytes that come one by one are put together again.
    paste(browser, "printf '\\360\\237'; sleep 0.3; printf '\\216\\211 whole\\n'")
    browser.press(_ENTER)
    expect(browser, "\n🎉 whole")


def test_the_exit_code_is_said(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    browser.write("exit 3\n")
    until(lambda: state(browser) == "closed", browser, "the end")
    expect(browser, "[the shell exited with code 3]")
    assert browser.text("#why") == "The session has ended: exited 3."
    assert browser.role("#ended")[0] == "alert" and browser.focused() == "again"
    picture(browser, "terminal-ended")
    # Nobody has asked for another one.
    assert until(lambda: state(browser) == "closed", browser)
    browser.press(_ENTER)
    expect(browser, PROMPT)
    assert "exited" not in terminal_text(browser) and browser.script(_NOT_ENDED)


def test_a_connection_that_breaks(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals, base=terminals.wired)
    process = answer_of(browser, "echo $$", "pid")
    browser.write("remembered=yes; (sleep 1; echo 'while away') &\n")
    terminals.wire.cut()
    until(lambda: state(browser) == "waiting", browser, "a broken connection")
    assert "trying to come back" in browser.text("#state")
    terminals.wire.mend()
    until(lambda: state(browser) == "open", browser, "another connection")
    expect(browser, "while away")
    assert answer_of(browser, "echo $$-$remembered", "again") == f"{process}-yes"
    assert "this is a new one" not in terminal_text(browser)


def test_a_page_that_is_loaded_again(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    process = answer_of(browser, "echo $$", "pid")
    browser.open(browser.url)
    expect(browser, "pid-end")
    assert answer_of(browser, "echo $$", "again") == process


def test_copying(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    browser.permit("clipboard-read")
    browser.write("clear; echo copy''me\n")
    until(lambda: lines(browser)[0] == "copyme", browser)
    browser.script(
        "const row = document.querySelector('.xterm-rows > div').getBoundingClientRect();"
        "const at = {bubbles: true, view: window, button: 0, "
        "clientX: row.left + 20, clientY: row.top + row.height / 2};"
        "const screen = document.querySelector('.xterm-screen');"
        "for (const detail of [1, 2]) for (const kind of ['mousedown', 'mouseup'])"
        " screen.dispatchEvent(new MouseEvent(kind, {...at, detail, buttons: kind === 'mousedown' ? 1 : 0}));"
    )
    browser.chord(_CONTROL, _SHIFT, "c")
    until(lambda: browser.text("#toast") == "Copied.", browser, "a copy")
    assert browser.script("return navigator.clipboard.readText()") == "copyme"
    # What a program prints does neither: nothing is put on the clipboard, and the window keeps its name.
    browser.write("printf '\\033]52;c;ZXZpbA==\\007\\033]0;evil\\007done\\n'\n")
    until(lambda: "done" in lines(browser), browser)
    assert browser.script("return navigator.clipboard.readText()") == "copyme"
    assert browser.title == "Terminal · KubeSphere"


def test_links(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    browser.script("window.opened = []; window.open = (...given) => { window.opened.push(given); return null; };")
    browser.write("clear; printf '\\033]8;;http://127.0.0.1:1/x\\007link\\033]8;;\\007\\n'\n")
    until(lambda: lines(browser)[0] == "link", browser)
    browser.hover_and_click(".xterm-rows > div", 12)
    until(lambda: browser.script("return window.opened.length"), browser, "a link that was followed")
    assert browser.script("return window.opened") == [["http://127.0.0.1:1/x", "_blank", "noopener,noreferrer"]]


def test_a_pod_that_goes(browser: Chromium, terminals: TerminalPlace) -> None:
    site = terminals.site
    site.run_pod("gone-0")
    browser.open(terminals.page(f"?namespace={NAMESPACE}&pod=gone-0&shell=bash"))
    sign_in(browser)
    expect(browser, PROMPT)
    site.api.exchange("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/gone-0?gracePeriodSeconds=0")
    until(lambda: state(browser) == "closed", browser, "the end")
    assert browser.text("#why") == "The pod or its container has gone."
    expect(browser, "gone-0 was deleted")


def test_who_may_not(browser: Chromium, terminals: TerminalPlace) -> None:
    terminals.site.user("rita", "reader")
    browser.open(terminals.page())
    sign_in(browser, "rita")
    until(lambda: state(browser) == "closed", browser, "a refusal")
    assert "The terminal cannot be opened" in browser.text("#why")
    assert "rita" in browser.text("#why") and "forbidden" in browser.text("#why")


def test_who_may_not_any_more(browser: Chromium, terminals: TerminalPlace) -> None:
    terminals.site.user("dora")
    browser.open(terminals.page())
    sign_in(browser, "dora")
    expect(browser, PROMPT)
    terminals.site.api.exchange("DELETE", f"{IAM}/users/dora")
    until(lambda: state(browser) == "closed", browser, "the end")
    assert browser.text("#why") == "Your sign-in has ended."
    expect(browser, "your login has ended")
    assert browser.focused() == "sign-in"


def test_nothing_is_typed_for_long(tmp_path: Path, terminals: TerminalPlace) -> None:
    with running_terminals(tmp_path / "place", idleTimeout="4s") as place, Chromium(tmp_path / "browser") as browser:
        at_prompt(browser, place)
        until(lambda: state(browser) == "closed", browser, "the end")
        assert browser.text("#why") == "Nothing was typed for too long. (press Enter to open it again)"
        expect(browser, "press Enter to open it again")
        # Anything else does nothing; the keyboard is where it was.
        browser.write("a")
        assert state(browser) == "closed"
        browser.write("\n")
        until(lambda: state(browser) == "open", browser, "another session")
        expect(browser, PROMPT)
        assert browser.script(_NOT_ENDED)


def test_too_many_sessions(tmp_path: Path, terminals: TerminalPlace) -> None:
    with (
        running_terminals(tmp_path / "place", maxSessionsPerUser=1) as place,
        Chromium(tmp_path / "browser") as browser,
    ):
        at_prompt(browser, place)
        with Chromium(tmp_path / "other") as other:
            other.open(place.page())
            sign_in(other)
            until(lambda: state(other) == "closed", other, "a refusal")
            assert "there may be too many sessions" in other.text("#why")
        assert state(browser) == "open"


def test_choosing_from_lists(browser: Chromium, terminals: TerminalPlace) -> None:
    browser.open(terminals.page(""))
    sign_in(browser)
    until(lambda: browser.text("#user") == "Signed in as olga", browser, "the form")
    assert browser.role("#namespace") == ("combobox", "Project") and browser.focused() == "namespace"
    browser.type("#namespace", NAMESPACE)
    browser.push("#pod")
    names = "return [...document.querySelectorAll('#pod-list option')].map(each => each.value)"
    until(lambda: POD in browser.script(names), browser, "a list of pods")
    browser.type("#pod", POD)
    browser.push("#shell")
    browser.press(_ESCAPE)
    picture(browser, "terminal-choice")
    assert len(browser.script("return [...document.querySelector('#container').options].map(each => each.value)")) == 2
    browser.push("#place button")
    expect(browser, "")
    until(lambda: state(browser) == "open", browser, "a terminal")
    assert browser.url == terminals.page(f"?namespace={NAMESPACE}&pod={POD}")
    # Back to the form, and the session does not wait for anybody.
    browser.push("#other")
    until(lambda: browser.text("#user") == "Signed in as olga", browser, "the form")
    assert browser.url == terminals.page("")


@pytest.fixture
def member(tmp_path: Path, terminals: TerminalPlace) -> Iterator[str]:
    """The name of a member, with a gateway of its own, of which the other one is the host; the cluster is the same."""
    authentication = {**SETTINGS["authentication"]}
    authentication["issuer"] = {**authentication["issuer"], "accessTokenMaxAge": "0s"}
    settings = {**SETTINGS, "authentication": authentication, "multicluster": {"clusterRole": "member"}}
    clusters = "/apis/cluster.kubesphere.io/v1alpha1/clusters"
    api = terminals.site.api
    with Gateway(tmp_path / "member", terminals.site.cluster.kubeconfig, settings) as gateway:
        api.create(
            clusters,
            {
                "apiVersion": "cluster.kubesphere.io/v1alpha1",
                "kind": "Cluster",
                "metadata": {"name": "east"},
                "spec": {"connection": {"type": "proxy", "kubesphereAPIEndpoint": gateway.url}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
        )
        yield "east"
        api.delete(f"{clusters}/east")


def test_a_member_cluster(browser: Chromium, terminals: TerminalPlace, member: str) -> None:
    """The page's address names it, and everything that the page asks for is of that cluster."""
    query = f"?cluster={member}&namespace={NAMESPACE}&pod={POD}&shell=bash"
    browser.open(terminals.page(query))
    sign_in(browser)
    expect(browser, PROMPT)
    assert browser.url == terminals.page(query)
    assert browser.text("#state") == f"{member}: {NAMESPACE}/{POD}: connected"
    rows, columns = (int(word) for word in answer_of(browser, "stty size", "one").split())
    assert rows == len(lines(browser))
    browser.size(1300, 700)
    until(lambda: len(lines(browser)) < rows, browser, "fewer rows")
    assert int(answer_of(browser, "stty size", "two").split()[1]) > columns
    browser.write("exit 3\n")
    until(lambda: state(browser) == "closed", browser, "the end")
    assert browser.text("#why") == "The session has ended: exited 3."
    # The form is about the same cluster.
    browser.push("#other")
    assert browser.url == terminals.page(f"?cluster={member}")
    browser.type("#namespace", NAMESPACE)
    browser.push("#pod")
    names = "return [...document.querySelectorAll('#pod-list option')].map(each => each.value)"
    until(lambda: POD in browser.script(names), browser, "a list of pods")
    asked = browser.script("return performance.getEntriesByType('resource').map(each => new URL(each.name).pathname)")
    of_clusters = [path for path in asked if re.search(r"/k?apis?/", path)]
    assert of_clusters and all(path.startswith(f"/clusters/{member}/") for path in of_clusters), asked
    browser.type("#pod", POD)
    browser.push("#place button")
    until(lambda: state(browser) == "open", browser, "a terminal")
    assert browser.url == terminals.page(query)


def test_by_keyboard(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    label = browser.attribute(".xterm-helper-textarea", "aria-label")
    assert label == f"Terminal of {NAMESPACE}/{POD}. Ctrl+F6 leaves it."
    # Tab is the shell's; this is how one gets out.
    browser.chord(_CONTROL, _F6)
    assert browser.focused() == "other"
    assert browser.role("#upload") == ("button", "Upload…")
    assert browser.role("#state")[0] == "status"
    browser.push("#reader")
    assert browser.attribute("#reader", "aria-pressed") == "true"
    until(lambda: browser.has(".xterm-accessibility"), browser, "text for screen readers")


def test_in_chinese(tmp_path: Path, terminals: TerminalPlace) -> None:
    with Chromium(tmp_path / "zh", "zh-CN,zh") as browser:
        at_prompt(browser, terminals)
        assert browser.attribute("html", "lang") == "zh-CN" and browser.title == "终端 · KubeSphere"
        assert browser.text("#state") == f"{NAMESPACE}/{POD}：已连接"
        browser.write("exit\n")
        until(lambda: state(browser) == "closed", browser, "the end")
        assert browser.text("#why") == "会话已结束：exited 0。"
        browser.click("#language")
        until(lambda: browser.title == "Terminal · KubeSphere", browser, "the other language")
        assert "lang=en" in browser.url


def test_files_both_ways(browser: Chromium, terminals: TerminalPlace, tmp_path: Path) -> None:
    first, second = tmp_path / "däta 1.bin", tmp_path / "small.txt"
    piece = os.urandom(min(FILE, 1 << 20))
    with first.open("wb") as file:
        while file.tell() < FILE:
            file.write(piece[: FILE - file.tell()])
    with first.open("rb") as file:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
    second.write_text("small\n")
    target = tmp_path / "container"
    target.mkdir()
    at_prompt(browser, terminals)
    browser.push("#upload")
    assert browser.text("#upload-title") == f"Upload into {NAMESPACE}/{POD}"
    browser.choose_files("#upload-files", first, second)
    browser.type("#upload-folder", str(target))
    browser.push("#upload-dialog button[value=start]")
    before = terminals.site.resident()
    patiently(lambda: "Uploaded: " in browser.text("#upload-dialog output"), browser, "an upload")
    assert browser.text("#upload-dialog output") == "Uploaded: däta 1.bin, small.txt."
    with (target / "däta 1.bin").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == expected
    assert (target / "small.txt").read_text() == "small\n"
    browser.type("#upload-folder", "/no/such/folder")
    browser.push("#upload-dialog button[value=start]")
    until(lambda: "That did not work" in browser.text("#upload-dialog output"), browser, "a failure")
    browser.push("#upload-dialog button[value=close]")

    # The browser would ask where to put it, with a window of its own.
    browser.script(
        "delete window.showSaveFilePicker; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { window.saved = blob; return make.call(URL, blob); };"
    )
    browser.push("#download")
    browser.type("#download-path", str(target / "däta 1.bin"))
    browser.push("#download-dialog input[type=checkbox]")
    browser.push("#download-dialog button[value=start]")
    patiently(lambda: "Downloaded: " in browser.text("#download-dialog output"), browser, "a download")
    assert terminals.site.resident() - before < 12 * 2**20
    if FILE == SMALL:
        assert browser.text("#download-dialog output") == "Downloaded: däta 1.bin, 2.9 MiB."
    digest = browser.script(
        "return window.saved.arrayBuffer().then(data => crypto.subtle.digest('SHA-256', data))"
        ".then(sum => [...new Uint8Array(sum)].map(byte => byte.toString(16).padStart(2, '0')).join(''))"
    )
    assert digest == expected
    browser.type("#download-path", str(target / "missing"))
    browser.push("#download-dialog button[value=start]")
    until(lambda: "missing" in browser.text("#download-dialog output"), browser, "a failure")


def test_more_than_can_be_shown(browser: Chromium, terminals: TerminalPlace) -> None:
    at_prompt(browser, terminals)
    before = terminals.site.resident()
    browser.write(f"yes 'a line of some length, so that it is worth showing' | head -c {OUTPUT}; echo th''rough\n")
    most = 0

    def through() -> bool:
        nonlocal most
        most = max(most, terminals.site.resident())
        return "through" in terminal_text(browser)

    patiently(through, browser, "the end of it")
    assert most - before < 12 * 2**20, f"{(most - before) / 2**20:.1f} MiB more"
    assert state(browser) == "open"
