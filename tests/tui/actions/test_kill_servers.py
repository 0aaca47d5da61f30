"""Killing agents from whose panes other tmux servers were started: those go on."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.plan import Plan
from tui.host.process.usage import Meter


@pytest.fixture
def other() -> Iterator[RealTmux]:
    with RealTmux() as made:
        yield made
        # What left its session outlives the server.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(made.socket) in process.environ().get("TMUX", ""):
                    process.kill()


def starts_server(other: RealTmux, name: str, tmux: str = "tmux") -> str:
    """A command of a pane that starts another server, and goes on."""
    words = [tmux, "-f", "/dev/null", "-S", str(other.socket), "new-session", "-d", "-s", name]
    return f"{shlex.join([*words, 'sleep 1000'])}; sleep 1000 & {SLEEP}"


@pytest.mark.parametrize("program", ["tmux", "mux", "tmux-of-another-name"])
def test_a_server_that_a_killed_agent_started_goes_on_and_is_named(
    tmp_path: Path, server: RealTmux, other: RealTmux, program: str
) -> None:
    tmux = tmp_path / program
    shutil.copy(shutil.which("tmux") or "", tmux)
    files = Files(tmp_path, {"TASK-1": [entry("par"), entry("kid", parent="par")]})
    server.start("agent_par", starts_server(other, "agent_kid", str(tmux)))
    until(lambda: other.names() == {"agent_kid"}, "the other server")
    # It says of itself that it is on that server, whoever was its parent; and its child too.
    other.start("human", "(setsid sleep 120 &); exec sleep 1000", keep=False)
    others = other.pane_pids()
    roll = take(files, server.client())

    def planned() -> Plan | None:
        made = weighed_kill(roll, [row_of(roll, "par")])
        return made if made.footprint is not None and made.footprint.processes == 2 else None

    plan = until(planned, "its two processes")
    assert plan is not None
    says = f"started the tmux server {other.server_pid()} on {other.socket} (2 sessions)"
    assert f"{says}, which continues" in plan.steps[0].says
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete
    assert f"ended its session and 2 processes; the session {says}, which continues" in (
        outcome.steps[0].detail
    )
    assert other.names() == {"agent_kid", "human"}
    assert all(map(runs, others))
    assert files.agent("par")["status"] == "terminated"
    assert files.agent("kid")["status"] == "running"


def test_leftovers_of_a_server_are_not_of_the_agent_that_started_it(
    tmp_path: Path, server: RealTmux, other: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("par")]})
    note = tmp_path / "pid"
    server.start("agent_par", starts_server(other, "agent_kid"))
    until(lambda: other.names() == {"agent_kid"}, "the other server")
    # Its pane id is that of the agent's pane, and it is in no tree of any server.
    left = f"setsid sh -c 'echo $$ > {note}; exec sleep 120' & sleep 0"
    other.start("human", f"{left}; {SLEEP}", keep=False)
    pid = int(until(lambda: note.exists() and note.read_text(), "who left"))
    roll = take(files, server.client())
    plan = weighed_kill(roll, [row_of(roll, "par")])
    assert carry_out(plan, server.client(), "").complete
    assert runs(pid)


def test_what_an_agent_costs_is_what_a_kill_would_free(
    tmp_path: Path, server: RealTmux, other: RealTmux
) -> None:
    server.start("agent_par", starts_server(other, "agent_kid"))
    until(lambda: other.names() == {"agent_kid"}, "the other server")
    answer = server.client().ask()
    until(
        lambda: Meter[str]().measure(answer.sessions, answer)["agent_par"].processes == 2,
        "its own two processes",
    )
