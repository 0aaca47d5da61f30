"""Going into sessions and coming back, in a real terminal, with a real tmux on both sides."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.real_tmux import RealTmux
from tests.support.terminal import MUSTER, Terminal, said_on_pty, terminal, until
from tests.support.tmux_dialects import Dialect, forget_duration, speak

SHELL = r"printf 'deep in the agent\n'; while read -r line; do echo \"heard $line\"; done"

SIZES = [(80, 24), (160, 50)]


def workspace_of(tmp_path: Path, here: str = "here-1") -> Path:
    """A workspace with an agent that the server has, and one that it has not."""
    task = tmp_path / ".agent-workspace" / "TASK-1"
    task.mkdir(parents=True)
    agents = [
        {"id": name, "type": "t", "tmux_session": f"agent_{name}", "parent": "orchestrator",
         "status": "running", "started_at": datetime.now().isoformat()}
        for name in (here, "gone-2")
    ]  # fmt: skip
    (task / "AGENT_REGISTRY.json").write_text(json.dumps({"task_id": "TASK-1", "agents": agents}))
    (task / "logs").mkdir()
    (task / "logs" / "here-1_stream.jsonl").write_text('{"type": "user", "message": "log line"}\n')
    return tmp_path


def deployed(server: RealTmux) -> None:
    """The agent's session; keys that a busy machine hands over at once are keys, and no paste."""
    server.start("agent_here-1", SHELL)
    server.run("set-option", "-g", "assume-paste-time", "0")


def presses(screen: Terminal, *keys: str) -> None:
    """One after another."""
    for key in keys:
        screen.press(key)


def comes_back(screen: Terminal) -> None:
    """The whole screen is there again, as before."""
    screen.shows("muster", "VERDICT", "TASK-1", "here-1", "gone-2", "Overview", "q Quit")
    screen.hides("deep in the agent")


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_one_goes_into_a_session_types_there_and_comes_back(
    server: RealTmux, tmp_path: Path, columns: int, rows: int
) -> None:
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    with terminal(tmp_path, arguments, columns, rows) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        before = screen.screen()
        screen.press("Down")
        screen.shows("agent      here-1")
        screen.press("a")
        screen.shows("deep in the agent", "muster: press C-b d to return")
        screen.type("from muster")
        screen.press("Enter")
        screen.shows("heard from muster")
        presses(screen, "C-b", "d")
        comes_back(screen)
        screen.shows("agent      here-1")
        assert before.split("\n")[0] == screen.screen().split("\n")[0]
        screen.press("Down")
        screen.shows("agent      gone-2")
        screen.press("a")
        screen.shows("gone-2 has no session on this host")
        screen.press("q")
        assert screen.exit_code() == 0


def test_a_hint_that_tmux_refuses_does_not_stop_attaching(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(server)
    forget_duration(tmp_path, monkeypatch)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    with terminal(tmp_path, arguments, 80, 24) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "a")
        screen.shows("deep in the agent")
        presses(screen, "C-b", "d")
        comes_back(screen)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_session_whose_name_has_dots_is_attached(
    server: RealTmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    speak(dialect, tmp_path, monkeypatch)
    workspace = workspace_of(tmp_path, "node.js-1:0")
    server.start("agent_node", "echo another; exec sleep 1000")
    server.start("agent_node.js-1:0", SHELL)
    with terminal(tmp_path, ["-S", str(server.socket), str(workspace)], 80, 24) as screen:
        screen.shows("1 live", "node.js-1:0", "q Quit")
        screen.press("Down", "a")
        screen.shows("deep in the agent")
        presses(screen, "C-b", "d")
        screen.shows("muster", "VERDICT", "TASK-1", "node.js-1:0")


def test_who_only_looks_types_nothing(server: RealTmux, tmp_path: Path) -> None:
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    with terminal(tmp_path, arguments, 80, 24) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "A")
        screen.shows("deep in the agent")
        screen.type("nobody hears this")
        screen.press("Enter")
        presses(screen, "C-b", "d")
        comes_back(screen)
    shown = server.run("capture-pane", "-p", "-t", "agent_here-1:")
    assert "deep in the agent" in shown and "nobody" not in shown


@contextmanager
def lent(server: RealTmux, tmp_path: Path) -> Iterator[Terminal]:
    """muster, whose terminal an agent's session has."""
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    with terminal(tmp_path, arguments, 80, 24) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "a")
        screen.shows("deep in the agent")
        yield screen


def test_when_the_session_ends_while_one_is_in_it_one_is_back(
    server: RealTmux, tmp_path: Path
) -> None:
    with lent(server, tmp_path) as screen:
        server.run("kill-session", "-t", "=agent_here-1")
        comes_back(screen)


def test_a_signal_ends_muster_while_the_terminal_is_lent(server: RealTmux, tmp_path: Path) -> None:
    with lent(server, tmp_path) as screen:
        pid = int(screen.tmux("display-message", "-p", "-t", "%0", "#{pane_pid}"))
        os.kill(pid, signal.SIGTERM)
        assert screen.exit_code() in (128 + signal.SIGTERM, 0)
    assert server.names() == {"agent_here-1"}, "the agent goes on"


def test_a_continue_leaves_the_terminal_to_the_session_that_has_it(
    server: RealTmux, tmp_path: Path
) -> None:
    with lent(server, tmp_path) as screen:
        pid = int(screen.tmux("display-message", "-p", "-t", "%0", "#{pane_pid}"))
        for round_ in range(3):
            os.kill(pid, signal.SIGCONT)
            screen.type(f"round {round_}")
            screen.press("Enter")
            screen.shows(f"heard round {round_}")
        presses(screen, "C-b", "d")
        comes_back(screen)


@contextmanager
def client_of(
    server: RealTmux, socket: Path, session: str, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """A client of a session, in a terminal of its own."""
    outer = Terminal(socket)
    outer.tmux(
        "new-session", "-d", "-x", str(columns), "-y", str(rows), "--",
        "env", "-u", "TMUX", "-u", "TMUX_PANE",
        "tmux", "-u", "-S", str(server.socket), "attach-session", "-t", f"={session}",
    )  # fmt: skip
    try:
        yield outer
    finally:
        outer.tmux("kill-server")


@pytest.mark.parametrize("read_only", [False, True])
def test_the_command_attaches_and_ends_when_one_detaches(
    server: RealTmux, tmp_path: Path, read_only: bool
) -> None:
    deployed(server)
    words = ["attach", "here", *["--read-only"][: int(read_only)], "-S", str(server.socket)]
    with terminal(tmp_path, [*words, "-w", str(workspace_of(tmp_path))], 80, 24) as screen:
        screen.shows("deep in the agent", "muster: press C-b d to return")
        screen.type("from muster")
        screen.press("Enter")
        if not read_only:
            screen.shows("heard from muster")
        presses(screen, "C-b", "d")
        assert screen.exit_code() == 0
    assert ("heard" in server.run("capture-pane", "-p", "-t", "agent_here-1:")) is not read_only
    assert server.run("show-options", "-v", "-t", "agent_here-1:", "detach-on-destroy") == "on"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["gone-2"], 1, "gone-2 has no session on this host: the agent is "),
        (["e"], 2, "no agent 'e' in the registries"),
        ([], 2, "missing: AGENT"),
    ],
)
def test_the_command_says_why_it_attaches_nowhere(
    server: RealTmux, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    deployed(server)
    place = ["-S", str(server.socket), "-w", str(workspace_of(tmp_path))]
    ended, said = said_on_pty(["attach", *words, *place])
    assert (ended, said.count("\n")) == (code, 1 + ("did you mean" in said))
    assert says in said


def test_a_suspended_client_suspends_the_command_and_fg_continues_both(
    server: RealTmux, tmp_path: Path
) -> None:
    deployed(server)
    attach = shlex.join(
        [*MUSTER, "attach", "here-1", "-S", str(server.socket), "-w", str(workspace_of(tmp_path))]
    )
    shell = Terminal(tmp_path / "outer")
    shell.tmux(
        "new-session", "-d", "-x", "80", "-y", "24", "--",
        "env", "-u", "TMUX", "PS1=ready$ ", "bash", "--norc", "-i",
    )  # fmt: skip
    try:
        shell.shows("ready$")
        shell.type(attach)
        shell.press("Enter")
        shell.shows("deep in the agent")
        presses(shell, "C-b", "C-z")
        shell.shows("Stopped")
        shell.type("fg")
        shell.press("Enter")
        shell.shows("deep in the agent")
        shell.type("back")
        shell.press("Enter")
        shell.shows("heard back")
        presses(shell, "C-b", "d")
        shell.shows("[detached")
    finally:
        shell.tmux("kill-server")


def test_a_signal_ends_the_command_and_leaves_the_agent(server: RealTmux, tmp_path: Path) -> None:
    deployed(server)
    place = ["-S", str(server.socket), "-w", str(workspace_of(tmp_path))]
    with terminal(tmp_path, ["attach", "here-1", *place], 80, 24) as screen:
        screen.shows("deep in the agent")
        pid = int(screen.tmux("display-message", "-p", "-t", "%0", "#{pane_pid}"))
        os.kill(pid, signal.SIGTERM)
        screen.exit_code()
        until(lambda: clients(server) == [], "the client is gone")
    assert server.names() == {"agent_here-1"}


def test_in_the_server_of_the_session_the_command_switches_the_client(
    server: RealTmux, tmp_path: Path
) -> None:
    workspace = workspace_of(tmp_path)
    deployed(server)
    server.start("desk", "exec bash --norc -i")
    with client_of(server, tmp_path / "outer", "desk") as screen:
        until(lambda: clients(server) == ["desk"], "the client")
        screen.type(shlex.join([*MUSTER, "attach", "here", "-w", str(workspace)]))
        screen.press("Enter")
        screen.shows("deep in the agent")
        assert clients(server) == ["agent_here-1"]
        presses(screen, "C-b", "L")
        screen.shows("To come back here, press the tmux prefix and L.")


@pytest.mark.parametrize("words", [[], ["attach", "here-1"], ["demo"]], ids=" ".join)
@pytest.mark.parametrize("kind", ["dumb", "glasstty"])
def test_a_terminal_that_cannot_place_the_cursor_is_refused(
    server: RealTmux, tmp_path: Path, words: list[str], kind: str
) -> None:
    deployed(server)
    place = ["--config", os.devnull]
    if words != ["demo"]:
        place = ["-S", str(server.socket), *(["-w"] if words else []), str(workspace_of(tmp_path))]
    terminfo = tmp_path / "terminfo"
    if kind != "dumb":
        entry = tmp_path / "entry"
        entry.write_text("glasstty|a terminal without cup, am, cols#80, cr=^M, ind=^J,\n")
        done = subprocess.run(["tic", "-o", str(terminfo), str(entry)], capture_output=True)
        assert done.returncode == 0, done.stderr
    settings = {"TERM": kind, "TERMINFO": str(terminfo)}
    ended, said = said_on_pty([*words, *place], **settings)
    assert ended == 2
    assert f"needs a terminal that can place the cursor; TERM={kind} cannot: set TERM" in said
    assert "\x1b" not in said and said.count("\n") == 1


@contextmanager
def inside(server: RealTmux, tmp_path: Path, columns: int, rows: int) -> Iterator[Terminal]:
    """muster in a session of the very server that has the agents, seen by a client."""
    workspace = workspace_of(tmp_path)
    deployed(server)
    server.run("new-session", "-d", "-s", "desk", "--", *MUSTER, str(workspace))
    with client_of(server, tmp_path / "outer", "desk", columns, rows) as outer:
        yield outer


def clients(server: RealTmux) -> list[str]:
    """The session of each client of the server."""
    return sorted(server.run("list-clients", "-F", "#{client_session}").split())


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_inside_the_same_server_the_client_switches_and_muster_goes_on(
    server: RealTmux, tmp_path: Path, columns: int, rows: int
) -> None:
    with inside(server, tmp_path, columns, rows) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "a")
        screen.shows("deep in the agent")
        assert clients(server) == ["agent_here-1"]
        presses(screen, "C-b", "L")
        comes_back(screen)
        screen.shows("agent      here-1")


def test_inside_the_same_server_one_can_only_look_as_well(
    server: RealTmux, tmp_path: Path
) -> None:
    with inside(server, tmp_path, 80, 24) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "A")
        screen.shows("deep in the agent")
        screen.type("nobody hears this")
        # The first prefix is for the client outside; it sends the second one in.
        presses(screen, "C-b", "C-b", "d")
        comes_back(screen)
        screen.press("j")
        screen.shows("agent      gone-2")
    assert "nobody" not in server.run("capture-pane", "-p", "-t", "agent_here-1:")


def test_in_a_popup_the_session_opens_in_the_popup_and_no_client_is_moved(
    server: RealTmux, tmp_path: Path
) -> None:
    workspace = workspace_of(tmp_path)
    deployed(server)
    for name in ("desk", "other"):
        server.start(name, "echo the session of $0; exec sleep 1000")
    muster = shlex.join([*MUSTER, str(workspace)])
    with (
        client_of(server, tmp_path / "outer", "desk") as screen,
        client_of(server, tmp_path / "theirs", "other"),
    ):
        until(lambda: clients(server) == ["desk", "other"], "both clients")
        listed = server.run("list-clients", "-F", "#{client_session} #{client_name}")
        own = dict(line.split(" ") for line in listed.splitlines())["desk"]
        popup = ["display-popup", "-c", own, "-t", "=desk:", "-w", "100%", "-h", "100%", "-E"]
        with subprocess.Popen(["tmux", "-u", "-S", str(server.socket), *popup, muster]):
            screen.shows("1 live", "here-1")
            # The client that tmux would choose is the one that was used last.
            Terminal(tmp_path / "theirs").press("x")
            screen.press("Down", "a")
            screen.shows("deep in the agent")
            assert clients(server) == ["agent_here-1", "desk", "other"]
            screen.type("from the popup")
            screen.press("Enter")
            screen.shows("heard from the popup")
            presses(screen, "C-b", "d")
            screen.shows("1 live", "here-1", "gone-2")
            assert clients(server) == ["desk", "other"]
            screen.press("q")


def test_where_two_clients_show_muster_neither_is_moved(server: RealTmux, tmp_path: Path) -> None:
    with (
        inside(server, tmp_path, 80, 24) as screen,
        client_of(server, tmp_path / "theirs", "desk"),
    ):
        until(lambda: clients(server) == ["desk", "desk"], "both clients")
        screen.shows("1 live", "here-1")
        screen.press("Down", "a")
        screen.shows("deep in the agent")
        assert clients(server) == ["agent_here-1", "desk", "desk"]
        # The first prefix is for the client outside; it sends the second one in.
        presses(screen, "C-b", "C-b", "d")
        screen.shows("VERDICT", "here-1")
        assert clients(server) == ["desk", "desk"]


def test_an_agent_that_ends_leaves_its_visitor_in_no_other_session(
    server: RealTmux, tmp_path: Path
) -> None:
    server.start("agent_first", SHELL)
    server.start("agent_last", SHELL)
    server.run("set-option", "-g", "detach-on-destroy", "off")
    with inside(server, tmp_path, 80, 24) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        with client_of(server, tmp_path / "theirs", "agent_last") as theirs:
            # tmux would choose the session that was used last, or (3.3a) first.
            theirs.shows("deep in the agent")
            screen.press("Down", "a")
            screen.shows("deep in the agent")
            theirs.type("their own")
            theirs.press("Enter")
            theirs.shows("heard their own")
            server.run("kill-session", "-t", "=agent_here-1")
            comes_back(screen)
            assert clients(server) == ["agent_last", "desk"]


def test_a_pager_is_lent_the_terminal(server: RealTmux, tmp_path: Path) -> None:
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    pager = "sh -c 'cat \"$1\"; echo the end; read -r _' pager"
    with terminal(tmp_path, arguments, 80, 24, PAGER=pager) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "o")
        screen.shows("Open which file?", "1  registry", "2  log")
        screen.press("2")
        screen.shows("log line", "the end")
        screen.press("Enter")
        screen.shows("press any key to return")
        screen.press("Enter")
        comes_back(screen)


@pytest.mark.parametrize("key", ["Space", "Escape", "C-c", "C-z", "Up"])
def test_the_text_of_a_pager_that_reads_no_key_stays_until_a_key(
    server: RealTmux, tmp_path: Path, key: str
) -> None:
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    with terminal(tmp_path, arguments, 80, 24, PAGER="cat") as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "o")
        screen.shows("Open which file?", "2  log")
        screen.press("2")
        screen.shows("log line", "muster: press any key to return")
        screen.press(key)
        comes_back(screen)
        # The key was not left for muster.
        screen.shows("agent      here-1")
        screen.press("q")
        assert screen.exit_code() == 0


def test_muster_ends_while_the_text_of_a_pager_stays(server: RealTmux, tmp_path: Path) -> None:
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    with terminal(tmp_path, arguments, 80, 24, PAGER="cat") as screen:
        screen.shows("1 live", "here-1", "q Quit")
        pid = int(screen.tmux("display-message", "-p", "-t", "%0", "#{pane_pid}"))
        screen.press("Down", "o")
        screen.shows("Open which file?", "2  log")
        screen.press("2")
        screen.shows("log line", "muster: press any key to return")
        os.kill(pid, signal.SIGTERM)
        assert screen.exit_code() == 128 + signal.SIGTERM


def test_a_terminal_that_tmux_does_not_know_is_explained(server: RealTmux, tmp_path: Path) -> None:
    deployed(server)
    arguments = ["-S", str(server.socket), str(workspace_of(tmp_path))]
    terminfo = str(tmp_path / "terminfo")
    with terminal(tmp_path, arguments, 160, 50, TERM="xterm-ghostty", TERMINFO=terminfo) as screen:
        screen.shows("1 live", "here-1", "q Quit")
        screen.press("Down", "a")
        screen.shows("unsuitable terminal", "no terminfo entry for TERM=xterm-ghostty", "tic -x")
        comes_back(screen)
