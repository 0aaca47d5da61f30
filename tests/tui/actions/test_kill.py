"""Killing: exactly the right session, all of its processes, and both registries."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.dialects import DIALECTS, DatabaseFiles
from tests.support.real_tmux import SLEEP, RealTmux, runs
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry, row_of, stamp, take, verdicts
from tests.support.zoo import Zoo
from tests.torture.zoo_rounds import Count, play
from tui.actions.execute import KILL_REASON, Outcome, Result, StepOutcome, carry_out
from tui.actions.plan import Plan
from tui.actions.plan_kill import plan_kill
from tui.host.process import process_kill
from tui.host.process.process_tree import Process
from tui.model.roll import RollCall, Verdict

JSON = pytest.mark.parametrize("files", [Files], indirect=True)
"""For tests that break, lock or compare a JSON registry."""

ROUNDS = pytest.mark.parametrize(
    ("kind", "rounds"),
    [
        pytest.param(Files, 1, id="once"),
        pytest.param(DatabaseFiles, 1, id="once-sqlite"),
        pytest.param(Files, 5, marks=pytest.mark.torture, id="rounds"),
        pytest.param(DatabaseFiles, 5, marks=pytest.mark.torture, id="rounds-sqlite"),
    ],
)
"""A hundred: `python -m tests.torture.zoo_rounds --rounds 100`."""


@pytest.fixture(params=DIALECTS)
def files(tmp_path: Path, request: pytest.FixtureRequest) -> Files:
    kind: type[Files] = request.param
    return kind(
        tmp_path,
        {
            "TASK-1": [entry("x-1"), entry("x-10"), entry("x-1b"), entry("old", "completed")],
            "TASK-2": [entry("v1.2:3"), entry("with blank"), entry("日本")],
        },
    )


def plan_for(roll: RollCall, *ids: str) -> Plan:
    plan = plan_kill(roll, [row_of(roll, each) for each in ids])
    assert len(plan.steps) == len(ids), plan.refused
    return plan


def kill(files: Files, server: RealTmux, *ids: str, reason: str = "") -> Outcome:
    roll = take(files, server.client())
    return carry_out(plan_for(roll, *ids), server.client(), reason)


def only(outcome: Outcome) -> StepOutcome:
    (step,) = outcome.steps
    return step


def is_without_line(outcome: Outcome) -> bool:
    """Whether only the line in a progress file is missing, which could not have the agent's id."""
    (problem,) = outcome.problems
    return "the database has the change" in problem and "a file's name" in problem


def test_a_killed_agent_is_gone_and_terminated_in_both_registries(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_x-1")
    (pid,) = server.pane_pids()
    outcome = kill(files, server, "x-1")
    assert outcome.complete
    assert only(outcome).detail == "ended its session and 1 process; running -> terminated"
    assert not runs(pid)
    assert server.names() == set()
    own, listed = files.agent("x-1"), files.listed("x-1")
    for each in (own, listed):
        assert each["status"] == "terminated"
        assert each["termination_reason"] == KILL_REASON
        assert each["terminated_at"] > stamp(60)
    assert files.agent("x-10")["status"] == "running"
    files.assert_counters_match()


def test_the_operators_reason_is_kept(files: Files, server: RealTmux) -> None:
    server.start("agent_x-1")
    kill(files, server, "x-1", reason="it sang")
    assert files.agent("x-1")["termination_reason"] == "it sang"
    assert files.listed("x-1")["termination_reason"] == "it sang"


@ROUNDS
def test_the_whole_process_tree_goes_and_bystanders_live(kind: type[Files], rounds: int) -> None:
    count = Count()
    for number in range(rounds):
        play(number, count, kind)
    assert count == Count(
        rounds=rounds,
        processes=count.processes,
        survivors=0,
        bystanders=count.bystanders,
        bystanders_alive=count.bystanders,
        complete=rounds,
    )
    assert count.processes >= 15 * rounds and count.bystanders >= 30 * rounds


def test_a_session_that_stays_after_its_program_has_ended_is_ended(
    files: Files, server: RealTmux
) -> None:
    server.start("keeper")
    server.run("set-option", "-g", "remain-on-exit", "on")
    server.start("agent_x-1", "true")
    until(lambda: "1" in server.run("list-panes", "-a", "-F", "#{pane_dead}"), "its end")
    outcome = kill(files, server, "x-1")
    assert only(outcome).detail == "ended its session and 0 processes; running -> terminated"
    assert server.names() == {"keeper"}


def test_neighbours_whose_names_begin_alike_are_not_touched(
    files: Files, server: RealTmux
) -> None:
    ids = {name: server.start(f"agent_{name}") for name in ("x-1", "x-10", "x-1b")}
    plan = plan_for(take(files, server.client()), "x-1")
    server.kill(ids["x-1"])
    outcome = carry_out(plan, server.client(), "")
    assert only(outcome).result is Result.DONE
    assert "already gone" in only(outcome).detail
    assert server.names() == {"agent_x-10", "agent_x-1b"}
    assert files.agent("x-1")["status"] == "terminated"
    assert files.agent("x-10")["status"] == files.agent("x-1b")["status"] == "running"


def test_a_zombie_is_recorded_and_its_neighbours_live(files: Files, server: RealTmux) -> None:
    server.start("agent_x-10")
    server.start("agent_x-1b")
    roll = take(files, server.client())
    assert row_of(roll, "x-1").verdict is Verdict.ZOMBIE
    assert carry_out(plan_for(roll, "x-1"), server.client(), "").complete
    assert server.names() == {"agent_x-10", "agent_x-1b"}
    assert files.agent("x-1")["status"] == files.listed("x-1")["status"] == "terminated"


@pytest.mark.parametrize("agent_id", ["v1.2:3", "with blank", "日本"])
def test_names_that_tmux_changes_or_that_need_care_are_killed_exactly(
    files: Files, server: RealTmux, agent_id: str
) -> None:
    server.start(f"agent_{agent_id}")
    server.start("agent_v1_2_30")
    server.start("agent_with")
    outcome = kill(files, server, agent_id)
    assert outcome.complete or is_without_line(outcome)
    assert server.names() == {"agent_v1_2_30", "agent_with"}
    assert files.agent(agent_id, "TASK-2")["status"] == "terminated"


@pytest.mark.parametrize("name", ["agent_#{pid}", "agent_$HOME", "agent_a\\b", "agent_\x1b[2J"])
def test_an_agent_whose_name_tmux_rewrites_is_refused_and_lives(
    tmp_path: Path, server: RealTmux, name: str
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("odd", tmux_session=name)]})
    server.start("keeper")
    assert server.takes(name) or "\x1b" in name
    before = files.bytes()
    roll = take(files, server.client())
    plan = plan_kill(roll, roll.agents(), roll.orphans)
    assert plan.steps == ()
    assert [label for label, _ in plan.refused] == ["odd"]
    assert files.bytes() == before


@pytest.mark.parametrize("name", ["", "$0", "@0", "%0", "!", "+", "*", "agent_*", "=agent_x-1"])
def test_a_name_that_is_a_target_to_tmux_kills_no_session(
    tmp_path: Path, server: RealTmux, name: str
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("odd", tmux_session=name)]})
    server.start("agent_x-1")
    roll = take(files, server.client())
    carry_out(plan_kill(roll, roll.agents()), server.client(), "")
    assert server.names() == {"agent_x-1"}


def test_several_are_killed_in_one_plan(files: Files, server: RealTmux) -> None:
    for name in ("x-1", "x-10", "with blank"):
        server.start(f"agent_{name}")
    roll = take(files, server.client())
    plan = plan_for(roll, "x-1", "x-10", "with blank", "x-1b")
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete or is_without_line(outcome)
    assert server.names() == set()
    assert {each for each, verdict in verdicts(take(files, server.client())).items()} >= {"x-1"}
    files.assert_counters_match()


# --- what needs no registry ---------------------------------------------------


def test_a_leaked_session_goes_without_a_word_in_the_registries(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_old")
    before = files.bytes()
    outcome = kill(files, server, "old")
    assert outcome.complete and outcome.written == ()
    assert server.names() == set()
    assert files.bytes() == before


def test_an_orphan_goes_without_a_word_in_the_registries(files: Files, server: RealTmux) -> None:
    server.start("agent_nobodys")
    server.start("mine")
    before = files.bytes()
    roll = take(files, server.client(), replace(QUICK, orphan_grace=-1.0))
    assert [each.name for each in roll.orphans] == ["agent_nobodys"]
    outcome = carry_out(plan_kill(roll, (), roll.orphans), server.client(), "")
    assert outcome.complete and outcome.written == ()
    assert server.names() == {"mine"}
    assert files.bytes() == before


# --- what changed between the plan and its execution --------------------------


def left_alone(files: Files, server: RealTmux, plan: Plan) -> StepOutcome:
    """Carries a plan out that must touch nothing any more."""
    before, names = files.bytes(), server.names()
    step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.LEFT, step
    assert server.names() == names
    assert files.bytes() == before
    return step


def test_another_session_of_the_same_name_is_left_alone(files: Files, server: RealTmux) -> None:
    session_id = server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    server.kill(session_id)
    server.start("agent_x-1")
    assert "another session" in left_alone(files, server, plan).detail


def test_a_zombie_that_is_back_is_left_alone(files: Files, server: RealTmux) -> None:
    server.start("keeper")
    plan = plan_for(take(files, server.client()), "x-1")
    server.start("agent_x-1")
    assert "exists again" in left_alone(files, server, plan).detail


def test_an_agent_whose_session_was_renamed_is_killed_by_its_id(
    files: Files, server: RealTmux
) -> None:
    session_id = server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    server.run("rename-session", "-t", f"{session_id}:", "something else")
    assert only(carry_out(plan, server.client(), "")).result is Result.DONE
    assert server.names() == set()
    assert files.agent("x-1")["status"] == "terminated"


def test_who_has_its_name_by_then_is_left_alone(files: Files, server: RealTmux) -> None:
    session_id = server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    server.run("rename-session", "-t", f"{session_id}:", "something else")
    server.start("agent_x-1")
    step = only(carry_out(plan, server.client(), ""))
    assert (
        step.result is Result.LEFT
        and "a session with the name of the agent's session exists" in step.detail
    )
    assert server.names() == {"agent_x-1"}
    assert files.agent("x-1")["status"] == "running"


def test_an_orphan_that_was_renamed_is_left_alone(files: Files, server: RealTmux) -> None:
    session_id = server.start("agent_nobodys")
    roll = take(files, server.client(), replace(QUICK, orphan_grace=-1.0))
    plan = plan_kill(roll, (), roll.orphans)
    server.run("rename-session", "-t", f"{session_id}:", "mine")
    assert "another name" in left_alone(files, server, plan).detail


def test_a_server_that_counts_its_sessions_anew_loses_none(files: Files, server: RealTmux) -> None:
    server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    server.kill_server()
    server.start("agent_x-1")
    new = server.client().ask().sessions["agent_x-1"]
    (step,) = plan.steps
    assert step.session is not None and step.session.id == new.id
    # As if it had been restarted within the second that tmux's clock tells.
    same = replace(step, session=replace(step.session, created=new.created))
    left_alone(files, server, replace(plan, steps=(same,)))


def test_what_outlived_a_session_that_went_by_itself_is_ended(
    files: Files, server: RealTmux, zoo: Zoo
) -> None:
    session_id = server.start("agent_x-1", zoo.command)
    zoo.pids()
    plan = plan_for(take(files, server.client()), "x-1")
    server.kill(session_id)
    assert "setsid" in zoo.alive()
    outcome = carry_out(plan, server.client(), "")
    assert outcome.complete
    assert "was already gone; ended" in only(outcome).detail
    # Of its session only the panes are known any more, and of those it says nothing.
    assert zoo.alive() <= {"wiped"}


# --- what cannot be done ------------------------------------------------------


def test_nothing_is_written_while_the_server_is_silent(files: Files, server: RealTmux) -> None:
    server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    before, pid = files.bytes(), server.server_pid()
    os.kill(pid, signal.SIGSTOP)
    step = only(carry_out(plan, server.client(timeout=0.3), ""))
    os.kill(pid, signal.SIGCONT)
    assert step.result is Result.FAILED
    assert "did not answer" in step.detail
    assert files.bytes() == before
    assert server.names() == {"agent_x-1"}


@JSON
def test_a_kill_that_could_not_be_recorded_says_so_and_is_finished_later(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    good = files.registry().read_bytes()
    files.registry().write_bytes(b"{ broken")
    step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.FAILED
    assert "ended its session" in step.detail and "not recorded" in step.detail
    assert files.registry().read_bytes() == b"{ broken"
    assert "status" not in files.listed("x-1")
    files.registry().write_bytes(good)
    assert kill(files, server, "x-1").complete
    assert files.agent("x-1")["status"] == files.listed("x-1")["status"] == "terminated"


@JSON
def test_a_second_kill_of_the_same_plan_writes_nothing_more(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    assert carry_out(plan, server.client(), "").complete
    after = files.bytes()
    step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.LEFT
    assert "already 'terminated'" in step.detail
    assert files.bytes() == after


def test_a_killed_agent_is_finished_on_the_next_roll(files: Files, server: RealTmux) -> None:
    server.start("agent_x-1", f"trap '' HUP; {SLEEP}")
    assert kill(files, server, "x-1").complete
    roll = until(lambda: take(files, server.client()), "a roll")
    assert row_of(roll, "x-1").verdict is Verdict.FINISHED


def test_with_processes_that_survive_it_is_not_written_down_as_dead(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_x-1")
    plan = plan_for(take(files, server.client()), "x-1")
    before = files.bytes()
    immortal = Process(4711, 0, "immortal", 0)
    monkeypatch.setattr(process_kill, "end", lambda *_: (immortal,))
    step = only(carry_out(plan, server.client(), ""))
    assert step.result is Result.FAILED
    assert step.detail == "still running: immortal (4711)"
    assert files.bytes() == before


def test_a_socket_that_was_swept_away_does_not_leave_the_agent_running(
    files: Files, server: RealTmux
) -> None:
    server.start("agent_x-1")
    (pid,) = server.pane_pids()
    plan = plan_for(take(files, server.client()), "x-1")
    aside = server.socket.rename(server.directory / "aside")
    assert carry_out(plan, server.client(), "").complete
    assert not runs(pid)
    aside.rename(server.socket)
    assert until(lambda: server.names() == set(), "the session's end")
