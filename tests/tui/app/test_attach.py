"""Which session a line leads to, and what is said where it leads nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from textual.app import App

from tests.support.rolls import (
    agent,
    answered,
    called,
    cannot_tell,
    no_server,
    roll_call,
    session,
    task_state,
)
from tests.support.scripted_tmux import ScriptedTmux
from tui.actions import attach as finding
from tui.actions.attach import (
    NowhereToGoError,
    outside_tmux,
    runs_inside,
    session_of,
    still_there,
)
from tui.app.terminal import attach as attaching
from tui.app.terminal.attach import attach
from tui.app.terminal.handover import NoTerminalError, lend_terminal
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.evidence import Evidence
from tui.model.roll import AgentRow
from tui.view.outline import Line, OrphansKey, TaskKey

A = session("agent_a")


def row_of(answer: TmuxSnapshot, **fields: str | None) -> AgentRow:
    roll = roll_call(*called(task_state(agent("a", **fields)), answer=answer))  # type: ignore[arg-type]
    (row,) = roll.agents()
    return row


def line_of(row: AgentRow) -> Line:
    return Line(row.key, row, 1, None)


def test_an_agent_and_an_orphan_lead_to_their_sessions() -> None:
    answer = answered(A)
    assert session_of(row_of(answer), Evidence(answer)) == A
    assert session_of(A, Evidence(answer)) == A


def refused(
    row: AgentRow, answer: TmuxSnapshot, elsewhere: Mapping[str, str] = MappingProxyType({})
) -> str:
    with pytest.raises(NowhereToGoError) as error:
        session_of(row, Evidence(answer, elsewhere=elsewhere))
    return str(error.value)


def test_a_missing_session_is_explained() -> None:
    dead, silent = no_server(), cannot_tell()
    assert "no session on this host: the agent is zombie" in refused(row_of(dead), dead)
    assert "the agent is finished" in refused(row_of(dead, status="completed"), dead)
    assert "names no session" in refused(row_of(dead, session=None), dead)
    assert "tmux cannot be queried" in refused(row_of(silent), silent)
    taken = replace(row_of(dead), name_reused_by=A)
    assert "a session of another agent" in refused(taken, dead)
    other = {"agent_a": "the server at /x/s has it; try -S /x/s"}
    assert "try -S /x/s" in refused(row_of(dead), dead, other)


def task_line() -> Line:
    (task,) = called(task_state(agent("a")), answer=answered(A))
    return Line(TaskKey(task.state.registry), task, 0, False)


@pytest.mark.parametrize("line", [None, Line(OrphansKey(), None, 0, False), task_line()])
async def test_other_lines_lead_nowhere(line: Line | None) -> None:
    answer = answered()
    with pytest.raises(NowhereToGoError, match="move the cursor to an agent"):
        await attach(App(), ScriptedTmux(answer), line, Evidence(answer), read_only=False)


def test_only_exactly_the_same_session_is_attached() -> None:
    seen = answered(A)
    assert still_there(A, seen, seen) == A
    renamed = replace(A, name="agent_b")
    assert still_there(A, seen, answered(renamed)) == renamed
    again = replace(A, created=A.created + 1)
    restarted = replace(answered(A), server_started=5)
    for answer in (answered(), answered(again), answered(replace(A, id="$99")), restarted):
        with pytest.raises(NowhereToGoError, match="agent_a is gone"):
            still_there(A, seen, answer)
    with pytest.raises(NowhereToGoError, match="cannot be queried"):
        still_there(A, seen, cannot_tell())


def test_the_socket_itself_decides_whether_muster_runs_inside(tmp_path: Path) -> None:
    socket, link = tmp_path / "s", tmp_path / "l"
    socket.touch()
    link.symlink_to(socket)
    assert runs_inside({"TMUX": f"{link},1,0"}, socket)
    assert not runs_inside({"TMUX": f"{tmp_path}/other,1,0"}, socket)
    assert not runs_inside({"TMUX": ""}, socket)
    assert not runs_inside({}, socket)
    assert outside_tmux({"TMUX": "x", "TMUX_PANE": "%1", "TERM": "y"}) == {"TERM": "y"}


class SwitchingTmux(ScriptedTmux):
    """Says of a switch what it was told to say."""

    def __init__(
        self, answer: TmuxSnapshot, socket: Path, says: str | None, client: str | None = "/dev/x"
    ) -> None:
        super().__init__(answer)
        self.socket = socket
        self.switched: list[tuple[str, Session]] = []
        self._says = says
        self._client = client

    def own_client(self, session: Session, pane: str, terminal: str) -> str | None:
        return self._client if (pane, terminal) == ("%77", "/dev/pts/77") else None

    def switch_client(self, client: str, session: Session, answer: TmuxSnapshot) -> str | None:
        self.switched.append((client, session))
        return self._says


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The socket of the server that muster runs inside of, in a pane of its own."""
    path = tmp_path / "s"
    path.touch()
    monkeypatch.setenv("TMUX", f"{path},1,0")
    monkeypatch.setenv("TMUX_PANE", "%77")
    monkeypatch.setattr(finding, "terminal_path", lambda: "/dev/pts/77")
    return path


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the terminal was lent to."""
    commands: list[list[str]] = []

    async def lend(
        app: object, words: list[str], environment: Mapping[str, str], descriptors: object
    ) -> object:
        assert "TMUX" not in environment
        commands.append(words)
        return 0, ""

    monkeypatch.setattr(attaching, "lend_terminal", lend)
    return commands


async def go(tmux: SwitchingTmux, read_only: bool = False) -> str:
    answer = answered(A)
    line = line_of(row_of(answer))
    return await attach(App(), tmux, line, Evidence(answer), read_only=read_only)


async def test_inside_the_same_server_the_client_switches(socket: Path) -> None:
    tmux = SwitchingTmux(answered(A), socket, None)
    assert "prefix and L" in await go(tmux)
    assert tmux.switched == [("/dev/x", A)]
    with pytest.raises(NowhereToGoError, match="no current client"):
        await go(SwitchingTmux(answered(A), socket, "no current client"))


async def test_muster_does_not_attach_to_its_own_session(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMUX_PANE", A.panes[0])
    tmux = SwitchingTmux(answered(A), socket, None)
    with pytest.raises(NowhereToGoError, match="muster itself runs in"):
        await go(tmux)
    assert not tmux.switched


async def test_only_to_look_the_terminal_is_lent_even_inside(
    socket: Path, lent: list[list[str]]
) -> None:
    tmux = SwitchingTmux(answered(A), socket, None)
    assert await go(tmux, read_only=True) == ""
    assert not tmux.switched
    assert any(f"attach-session -r -t '{A.id}'" in word for word in lent[0])


@pytest.mark.parametrize("lacks", ["pane", "terminal", "client"])
async def test_where_no_client_is_certain_the_terminal_is_lent(
    socket: Path, lent: list[list[str]], monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    tmux = SwitchingTmux(answered(A), socket, None, None if lacks == "client" else "/dev/x")
    if lacks == "pane":
        monkeypatch.delenv("TMUX_PANE")
    if lacks == "terminal":
        monkeypatch.setattr(finding, "terminal_path", lambda: None)
    assert await go(tmux) == ""
    assert not tmux.switched
    assert any(f"attach-session -t '{A.id}'" in word for word in lent[0])


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        ((1, "open terminal failed"), "tmux could not attach: open terminal failed"),
        ((3, ""), "exit code 3"),
        (NoTerminalError(), "does not run on a terminal"),
        (OSError("no such file"), "cannot start tmux: no such file"),
    ],
)
async def test_an_error_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: object, says: str
) -> None:
    async def lend(*_: object) -> object:
        if isinstance(happens, Exception):
            raise happens
        return happens

    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setattr(attaching, "lend_terminal", lend)
    with pytest.raises(NowhereToGoError, match=says):
        await go(SwitchingTmux(answered(A), tmp_path / "s", None))


async def test_without_a_terminal_nothing_is_lent() -> None:
    app: App[None] = App()
    async with app.run_test():
        with pytest.raises(NoTerminalError):
            await lend_terminal(app, ["true"], os.environ)
