"""Panes captured, sessions switched to: only those that were meant."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.real_tmux import RealTmux, fake_binary
from tests.support.waiting import until
from tui.host.tmux import Tmux
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState

PRINTS = r"printf '\033[31mred\n\nlast'; exec sleep 1000"


def shown(server: RealTmux, name: str = "agent_a") -> tuple[Session, TmuxSnapshot]:
    answer = server.client().ask()
    return answer.sessions[name], answer


def test_a_pane_is_captured_with_its_colours_and_empty_lines(server: RealTmux) -> None:
    server.start("agent_a", PRINTS)
    session, answer = shown(server)
    client = server.client()

    def captured() -> tuple[str, ...]:
        return client.capture(session, answer, session.panes[0]).lines

    until(lambda: "last" in "".join(captured()), "the text")
    lines = captured()
    # tmux 3.7 resets the colour at the end of the line.
    assert lines[0].removesuffix("\x1b[39m") == "\x1b[31mred" and lines[1] == ""
    found = client.capture(session, answer, session.panes[0])
    # tmux 3.2 counts the status line, which is not shown.
    assert found.width == 80 and found.height == len(found.lines) in (23, 24)
    assert found.activity >= session.created


@pytest.mark.parametrize("changed", ["server", "session", "pane"])
def test_a_pane_of_anything_else_is_never_captured(server: RealTmux, changed: str) -> None:
    server.start("agent_a", PRINTS)
    server.start("agent_b", PRINTS)
    session, answer = shown(server)
    pane = shown(server, "agent_b")[0].panes[0] if changed == "pane" else session.panes[0]
    if changed == "server":
        answer = replace(answer, server_pid=1)
    if changed == "session":
        session = shown(server, "agent_b")[0]
    with pytest.raises(OSError, match="its session is gone"):
        server.client().capture(session, answer, pane)


def test_a_capture_without_an_answer_raises_an_error(
    tmp_path: Path, listened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session("$1", "agent_a", 1, 1, 0, ("%1",), (1,))
    answer = TmuxSnapshot(TmuxState.ANSWERED, "", listened, {}, 0.0, 1, 1)
    monkeypatch.setenv("PATH", str(fake_binary(tmp_path / "slow", "exec /bin/sleep 60")))
    with pytest.raises(OSError, match="did not answer within"):
        Tmux(listened, timeout=0.2).capture(session, answer, "%1")
    monkeypatch.setenv("PATH", str(fake_binary(tmp_path / "odd", "echo what")))
    with pytest.raises(OSError, match="not the content of a pane"):
        Tmux(listened).capture(session, answer, "%1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="tmux is not installed"):
        Tmux(listened).capture(session, answer, "%1")


@pytest.fixture
def desk(server: RealTmux) -> Iterator[Client]:
    """A client of the session "desk", and an agent's session."""
    server.start("agent_a")
    server.start("desk")
    with attached(server, "desk") as client:
        yield client


@contextmanager
def attached(server: RealTmux, session: str, *options: str) -> Iterator[Client]:
    """A client of a session."""
    ours, theirs = pty.openpty()
    command = ["tmux", "-S", str(server.socket), "attach-session", *options, "-t", f"={session}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, env=environment, start_new_session=True
    )
    name = os.ttyname(theirs)
    try:
        until(lambda: name in server.run("list-clients"), "the client")
        pane = server.run("display-message", "-p", "-t", f"={session}:", "#{pane_id} #{pane_tty}")
        yield Client(name, *pane.split(" "))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


class Client(NamedTuple):
    """A client, and the pane that it shows.

    Attributes:
        name: Its name.
        pane: The id of the pane.
        terminal: The pane's terminal.
    """

    name: str
    pane: str
    terminal: str


def test_the_own_client_is_the_only_one_that_shows_the_own_pane(
    server: RealTmux, desk: Client
) -> None:
    session, answer = shown(server)
    tmux = server.client()

    def own(pane: str = desk.pane, terminal: str = desk.terminal) -> str | None:
        return tmux.own_client(session, pane, terminal)

    assert own() == desk.name
    assert own(terminal=desk.name) is None, "a popup has another terminal"
    assert own(pane=session.panes[0]) is None
    assert tmux.own_client(replace(session, id="$99"), desk.pane, desk.terminal) is None
    with attached(server, "agent_a"):
        assert own() == desk.name, "the other client shows another pane"
        assert tmux.switch_client(desk.name, session, answer) is None
        assert own() is None, "the pane is not shown now"
    server.run("switch-client", "-c", desk.name, "-t", "=desk:")
    with attached(server, "desk", "-r"):
        assert own() == desk.name, "a read-only client sends no keys"
    with attached(server, "desk"):
        assert own() is None
    server.run("set-option", "-t", "=agent_a:", "detach-on-destroy", "off")
    assert own() is None


def test_switching_needs_a_client_and_exactly_the_same_session(
    server: RealTmux, desk: Client
) -> None:
    session, answer = shown(server)
    client = server.client()
    assert "can't find client" in str(client.switch_client("/dev/pts/none", session, answer))
    again = replace(session, created=session.created - 100)
    assert client.switch_client(desk.name, again, answer) == "its session is gone"
    restarted = replace(answer, server_pid=1)
    assert client.switch_client(desk.name, session, restarted) == "its session is gone"
    assert client.switch_client(desk.name, session, answer) is None
    assert server.run("list-clients", "-F", "#{client_session}") == "agent_a"
