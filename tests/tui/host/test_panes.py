"""Panes captured, sessions switched to: only those that were meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
    assert lines[0] == "\x1b[31mred" and lines[1] == ""
    found = client.capture(session, answer, session.panes[0])
    assert (found.width, found.height, len(found.lines)) == (80, 24, 24)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session("$1", "agent_a", 1, 1, 0, ("%1",), (1,))
    answer = TmuxSnapshot(TmuxState.ANSWERED, "", tmp_path / "s", {}, 0.0, 1, 1)
    monkeypatch.setenv("PATH", str(fake_binary(tmp_path / "slow", "exec /bin/sleep 60")))
    with pytest.raises(OSError, match="did not answer within"):
        Tmux(tmp_path / "s", timeout=0.2).capture(session, answer, "%1")
    monkeypatch.setenv("PATH", str(fake_binary(tmp_path / "odd", "echo what")))
    with pytest.raises(OSError, match="not the content of a pane"):
        Tmux(tmp_path / "s").capture(session, answer, "%1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="tmux is not installed"):
        Tmux(tmp_path / "s").capture(session, answer, "%1")


def test_switching_needs_a_client_and_exactly_the_same_session(server: RealTmux) -> None:
    server.start("agent_a")
    session, answer = shown(server)
    client = server.client()
    assert client.switch_client(session, answer) == "no current client"
    again = replace(session, created=session.created - 100)
    assert client.switch_client(again, answer) == "its session is gone"
    assert client.switch_client(session, replace(answer, server_pid=1)) == "its session is gone"
