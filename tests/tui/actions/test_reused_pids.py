"""Pids that tmux keeps for panes whose process ended, and that are other processes' by now."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.real_tmux import RealTmux, runs
from tests.support.reused_pids import NAMESPACE, can_choose_pids
from tests.support.selection import TESTS
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.host.process.process_tree import Origin, session_processes
from tui.host.process.usage import Meter
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxSnapshot


def test_killing_a_dead_pane_spares_whoever_has_its_pid_now(tmp_path: Path) -> None:
    if not can_choose_pids():
        pytest.skip("needs root, unshare --pid and a writable ns_last_pid")
    words = [*NAMESPACE, sys.executable, "-m", "tests.support.reused_pids", str(tmp_path)]
    done = subprocess.run(
        words, cwd=TESTS.parent, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lives" in done.stdout


def test_a_dead_pane_is_listed_without_its_pid(server: RealTmux) -> None:
    server.start("keeper")
    server.run("set-option", "-g", "remain-on-exit", "on")
    server.start("agent_x", "true")
    there = until(
        lambda: [s for s in server.client().ask().sessions.values() if not s.pids], "its end"
    )
    assert [(each.name, len(each.panes)) for each in there] == [("agent_x", 1)]


class Mixing(Tmux):
    """A server that lists the pid of one agent's pane for another's pane as well."""

    def ask(self) -> TmuxSnapshot:
        answer = super().ask()
        sessions = dict(answer.sessions)
        live, dead = sessions.get("agent_live"), sessions.get("agent_dead")
        if live is not None and dead is not None:
            sessions["agent_dead"] = replace(dead, pids=dead.pids + live.pids)
        return replace(answer, sessions=sessions)


@pytest.fixture
def mixing(server: RealTmux) -> Mixing:
    server.start("agent_live")
    server.start("agent_dead")
    return Mixing(server.socket, 10)


def test_a_pid_that_says_it_is_another_panes_is_not_ended(
    tmp_path: Path, server: RealTmux, mixing: Mixing
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("dead"), entry("live")]})
    (pid,) = mixing.ask().sessions["agent_live"].pids
    roll = take(files, mixing)
    plan = weighed_kill(roll, [row_of(roll, "dead")])
    assert plan.footprint is not None and plan.footprint.processes == 1
    assert carry_out(plan, mixing, "").complete
    assert runs(pid)
    assert server.names() == {"agent_live"}


def test_nor_does_it_cost_the_other_anything(mixing: Mixing) -> None:
    answer = mixing.ask()
    for order in (answer.sessions, dict(reversed(list(answer.sessions.items())))):
        found = Meter[str]().measure(order, answer)
        assert {name: load.processes for name, load in found.items()} == {
            "agent_live": 1,
            "agent_dead": 1,
        }


@pytest.mark.parametrize("says", ["-u TMUX_PANE", "-u TMUX", "TMUX=/x,1,7", "-i"])
def test_a_pane_that_says_nothing_of_another_one_is_ended(server: RealTmux, says: str) -> None:
    server.start("agent_x", f"exec env {says} sleep 1000")
    answer = server.client().ask()
    there = answer.sessions["agent_x"]
    (pid,) = there.pids
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its program")
    found = session_processes(Origin((pid,), there.panes, answer.socket, answer.server_pid))
    assert [each.pid for each in found] == [pid]


def test_a_server_that_was_given_the_pid_of_a_former_one_is_another(
    tmp_path: Path, server: RealTmux
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("x")]})
    server.start("agent_x")
    roll = take(files, server.client())
    plan = weighed_kill(roll, [row_of(roll, "x")])
    former = replace(plan, server_started=plan.server_started - 1)
    assert not carry_out(former, server.client(), "").complete
    tmux, answer = server.client(), server.client().ask()
    before = replace(answer, server_started=answer.server_started - 1)
    tmux.kill_session(answer.sessions["agent_x"], before)
    assert server.names() == {"agent_x"}
