"""Processes whose environment names another pane than the one where they run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result, StepOutcome
from tui.host.process import pane_environment, procfs
from tui.host.process.pane_origin import PaneOrigins, moved_among
from tui.host.process.usage import Meter


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b")]})


def kill(files: Files, server: RealTmux, agent_id: str) -> StepOutcome:
    roll = take(files, server.client())
    plan = weighed_kill(roll, [row_of(roll, agent_id)])
    (step,) = carry_out(plan, server.client(), "").steps
    return step


def pid_in(path: Path) -> int:
    return int(until(lambda: path.exists() and path.read_text().strip(), path.name))


def named_by(pid: int) -> pane_environment.PaneEnvironment:
    named = until(lambda: pane_environment.pane_said_by(pid), "its environment")
    assert named is not None
    return named


PROGRAMS = {
    "the first process": "exec {program}",
    "a child": "{program}; :",
    "in the pane's process session alone": "({program} &); exec sleep 1000",
}


@pytest.mark.parametrize("how", PROGRAMS)
def test_a_program_in_another_agents_pane_is_that_agents_whatever_it_names(
    tmp_path: Path, files: Files, server: RealTmux, how: str
) -> None:
    """A shell may have read the environment of another pane from a file."""
    server.start(
        "agent_a", f"export -p > {tmp_path}/all; mv {tmp_path}/all {tmp_path}/env; {SLEEP}"
    )
    until((tmp_path / "env").exists, "the environment of a")
    program = PROGRAMS[how].format(program=f"sh -c 'echo $$ > {tmp_path}/pid; {SLEEP}'")
    server.start("agent_b", f". {tmp_path}/env; {program}")
    pid = pid_in(tmp_path / "pid")
    answer = server.client().ask()
    assert named_by(pid).pane == answer.sessions["agent_a"].panes[0]
    sessions = answer.sessions.values()
    assert moved_among(PaneOrigins().read(sessions), sessions) == {}
    assert pid not in Meter[str]().sample(answer.sessions, answer).owned["agent_a"]
    assert kill(files, server, "a").detail.startswith("ended its session and 1 process")
    assert runs(pid) and server.names() == {"agent_b"}
    assert files.agent("a")["status"] == "terminated"
    assert kill(files, server, "b").result is Result.DONE
    assert not runs(pid)


def test_a_panes_first_process_is_the_panes_whatever_it_names(
    tmp_path: Path, files: Files, server: RealTmux
) -> None:
    server.start("agent_b")
    (pane,) = server.client().ask().sessions["agent_b"].panes
    inside = f"echo $$ > {tmp_path}/pid; {SLEEP}"
    server.start("agent_a", f"trap '' HUP; exec env TMUX_PANE={pane} sh -c '{inside}'")
    pid = pid_in(tmp_path / "pid")
    assert kill(files, server, "a").result is Result.DONE
    assert not runs(pid)


JOBS = ("run-shell -b", "if-shell -b", "run-shell")


@pytest.mark.parametrize("command", JOBS)
def test_a_job_belongs_to_the_session_for_which_tmux_started_it(
    tmp_path: Path, files: Files, server: RealTmux, command: str
) -> None:
    server.start("agent_b")
    job = f'trap "" HUP; echo $$ > {tmp_path}/pid; {SLEEP}'
    end = "''" if command.startswith("if") else ""
    server.start("agent_a", f"tmux {command} '{job}' {end}; {SLEEP}")
    pid = pid_in(tmp_path / "pid")
    assert named_by(pid).pane == ""
    assert kill(files, server, "a").result is Result.DONE
    assert not runs(pid)


def test_a_job_that_outlived_its_session_keeps_the_agent_from_being_called_dead(
    tmp_path: Path, files: Files, server: RealTmux
) -> None:
    server.start("agent_b")
    job = f"echo $$ > {tmp_path}/pid; {SLEEP}"
    session = server.start("agent_a", f"tmux run-shell -b '{job}'; {SLEEP}")
    pid = pid_in(tmp_path / "pid")
    server.kill(session)
    roll = take(files, server.client())
    plan = weighed_kill(roll, [row_of(roll, "a")])
    assert plan.steps == ()
    assert f"sleep ({pid}) outlived" in plan.refused[0][1]
    os.kill(pid, signal.SIGKILL)


def nested(server: RealTmux) -> None:
    """Starts a server in the pane %1 of another server, with two agents."""
    made = ["new-session", "-d", "-s"]
    server.run(*made, "agent_b", SLEEP, TMUX_PANE="%1")
    server.start("agent_a")
    assert server.client().ask().sessions["agent_a"].panes == ("%1",)


def test_a_job_of_a_nested_server_is_not_of_the_pane_in_which_that_server_was_started(
    tmp_path: Path, files: Files, server: RealTmux
) -> None:
    nested(server)
    job = f"echo $$ > {tmp_path}/pid; {SLEEP}"
    server.run("run-shell", "-b", "-t", "=agent_b:", job)
    pid = pid_in(tmp_path / "pid")
    assert named_by(pid).pane == "%1"
    assert kill(files, server, "a").result is Result.DONE
    assert runs(pid)
    assert kill(files, server, "b").result is Result.DONE
    assert not runs(pid)


def test_nor_is_what_such_a_job_left_which_is_a_doubt(
    tmp_path: Path, files: Files, server: RealTmux
) -> None:
    nested(server)
    job = f"setsid sh -c 'echo $$ > {tmp_path}/pid; {SLEEP}' &"
    server.run("run-shell", "-b", "-t", "=agent_b:", job)
    pid = pid_in(tmp_path / "pid")
    until(lambda: (found := procfs.stat_of(pid)) and found.parent == 1, "init to have it")
    outcome = kill(files, server, "a")
    assert outcome.result is Result.FAILED
    named = "whose environment names a pane of the session, but another session"
    assert f"sleep ({pid}), {named}" in outcome.detail
    assert runs(pid)
    assert files.agent("a")["status"] == "running"
    os.kill(pid, signal.SIGKILL)
