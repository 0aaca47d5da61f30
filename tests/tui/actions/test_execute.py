"""Plans say what will be done and to whom; completing agents does just that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from registry.schema import Workspace
from registry.sources import JsonTask, SqliteWorkspace
from tests.support.dialects import DatabaseFiles
from tests.support.rolls import (
    WORKSPACE,
    agent,
    answered,
    called,
    cannot_tell,
    no_server,
    roll_call,
    session,
    task_state,
)
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.workspaces import Files, entry, read, row_of, stamp, take, write
from tui.actions.execute import Outcome, Result, carry_out
from tui.actions.plan import Plan, Verb
from tui.actions.plan_complete import checked_complete, plan_complete
from tui.actions.plan_kill import plan_kill
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.roll import AgentRow, RollCall, TaskState, Verdict
from tui.model.select import rows_of

AGENTS = (
    agent("live"),
    agent("stalled", started=0.0, updated=0.0),
    agent("zombie"),
    agent("leaked", "completed"),
    agent("finished", "completed"),
    agent("unknown", session=None),
)
THERE = answered(
    session("agent_live", number=1),
    session("agent_stalled", number=2, created=0, activity=0),
    session("agent_leaked", number=3),
)
ORPHAN = session("agent_lost", number=9)


def roll_with(*states: TaskState, answer: TmuxSnapshot = THERE) -> RollCall:
    return roll_call(*called(*states, answer=answer), orphans=(ORPHAN,), answer=answer)


ROLL = roll_with(task_state(*AGENTS))
REGISTRY = WORKSPACE / "TASK-1" / "AGENT_REGISTRY.json"
GLOBAL = WORKSPACE / "registry" / "GLOBAL_REGISTRY.json"


def does(plan: Plan) -> dict[str, tuple[bool, bool]]:
    """For each step of a plan: whether it ends a session, whether it writes."""
    return {step.label: (step.session is not None, step.writes) for step in plan.steps}


def refused(plan: Plan) -> dict[str, str]:
    return dict(plan.refused)


def test_the_roll_of_these_tests_has_every_verdict() -> None:
    assert {row.verdict.value for row in ROLL.agents()} == {row.key.id for row in ROLL.agents()}


# --- plans to kill ------------------------------------------------------------


def test_a_kill_ends_what_lives_and_records_what_died() -> None:
    plan = plan_kill(ROLL, ROLL.agents(), ROLL.orphans)
    assert does(plan) == {
        "live": (True, True),
        "stalled": (True, True),
        "zombie": (False, True),
        "leaked": (True, False),
        "agent_lost": (True, False),
    }
    assert set(refused(plan)) == {"finished", "unknown"}
    assert plan.sessions == 4
    assert plan.title() == "Kill 4 agents and 1 orphaned session"
    assert plan.socket == THERE.socket


def test_a_plan_names_the_files_that_will_change_each_once() -> None:
    assert plan_kill(ROLL, ROLL.agents()).files == (REGISTRY, GLOBAL)
    leaked = [row for row in ROLL.agents() if row.verdict is Verdict.LEAKED]
    assert plan_kill(ROLL, leaked, ROLL.orphans).files == ()
    alone = replace(task_state(agent("zombie")), source=JsonTask(REGISTRY))
    roll = roll_with(alone)
    assert plan_kill(roll, roll.agents()).files == (REGISTRY,)


def test_an_agent_with_an_unknown_state_is_not_killed() -> None:
    roll = roll_with(task_state(*AGENTS), answer=cannot_tell())
    plan = plan_kill(roll, roll.agents())
    assert plan.steps == ()
    assert "Permission denied" in refused(plan)["live"]


def test_the_session_that_muster_runs_in_is_refused() -> None:
    ours = replace(session("agent_live"), pids=(os.getppid(),))
    roll = roll_with(task_state(agent("live")), answer=answered(ours))
    plan = plan_kill(roll, roll.agents(), [replace(ORPHAN, pids=(os.getpid(),))])
    assert plan.steps == ()
    assert set(refused(plan)) == {"live", "agent_lost"}


def test_a_session_that_two_agents_claim_is_refused() -> None:
    one, other = agent("one", session="agent_live"), agent("other", session="agent_live")
    roll = roll_with(task_state(one, other))
    plan = plan_kill(roll, roll.agents())
    assert plan.steps == ()
    assert "other" in refused(plan)["one"]


@pytest.mark.parametrize("plan_for", [plan_kill, plan_complete])
def test_an_id_that_is_there_twice_with_two_sessions_is_refused(
    plan_for: Callable[[RollCall, Iterable[AgentRow]], Plan],
) -> None:
    twice = task_state(agent("live"), agent("live", session="agent_elsewhere"))
    roll = roll_with(twice)
    assert {row.verdict for row in roll.agents()} == {Verdict.LIVE, Verdict.ZOMBIE}
    for row in roll.agents():
        plan = plan_for(roll, [row])
        assert plan.steps == ()
        assert "twice" in refused(plan)["live"]


def test_an_id_that_is_there_twice_with_one_session_is_killed() -> None:
    roll = roll_with(task_state(agent("live"), agent("live")))
    assert len(plan_kill(roll, list(roll.agents())[:1]).steps) == 1


def test_without_a_status_it_loses_its_session_and_gets_no_status() -> None:
    roll = roll_with(task_state(agent("live", "")))
    plan = plan_kill(roll, roll.agents())
    assert does(plan) == {"live": (True, False)}
    assert "''" in plan.steps[0].says
    assert plan.files == ()


def test_of_a_status_that_nobody_knows_it_is_killed_and_completed() -> None:
    roll = roll_with(task_state(agent("live", "paused")))
    assert does(plan_kill(roll, roll.agents())) == {"live": (True, True)}
    assert [step.label for step in plan_complete(roll, roll.agents()).steps] == ["live"]


# --- plans to complete --------------------------------------------------------


def test_a_completion_takes_all_active_agents_and_ends_no_session() -> None:
    plan = plan_complete(ROLL, ROLL.agents())
    assert [step.label for step in plan.steps] == ["live", "stalled", "zombie"]
    assert all(step.writes for step in plan.steps)
    assert set(refused(plan)) == {"leaked", "finished", "unknown"}
    assert plan.title() == "Mark 3 agents as completed"
    assert "its session is not ended" in plan.steps[0].says


def test_a_completion_may_be_a_termination() -> None:
    plan = plan_complete(ROLL, ROLL.agents(), "terminated")
    assert plan.status == "terminated"
    assert plan.title() == "Mark 3 agents as terminated"


def test_an_agent_without_a_status_is_not_completed() -> None:
    roll = roll_with(task_state(agent("live", "")))
    plan = plan_complete(roll, roll.agents())
    assert plan.steps == ()
    assert "''" in refused(plan)["live"]


# --- naming agents ------------------------------------------------------------


def ids_of(roll: RollCall, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    rows, problems = rows_of(roll, ids)
    return [row.key.id for row in rows], problems


def test_agents_are_named_by_their_whole_ids() -> None:
    assert ids_of(ROLL, ["zombie", "live", "zombie"]) == (["zombie", "live"], [])


@pytest.mark.parametrize("name", ["liv", "lives", "LIVE", "l*", "", "agent_live"])
def test_a_text_that_only_resembles_an_id_names_no_agent(name: str) -> None:
    rows, problems = ids_of(ROLL, [name])
    assert rows == []
    assert problems == [f"no agent {name!r} in the registries"]


def test_an_id_in_two_tasks_is_refused_with_both_tasks() -> None:
    roll = roll_with(task_state(agent("live")), task_state(agent("live"), name="TASK-2"))
    rows, (problem,) = ids_of(roll, ["live"])
    assert rows == []
    assert str(REGISTRY) in problem and "TASK-2" in problem


# --- completing ---------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Two tasks, no session anywhere: every active agent is a zombie."""
    return Files(
        tmp_path,
        {
            "TASK-1": [entry("a"), entry("b"), entry("done", "completed")],
            "TASK-2": [entry("c", "blocked")],
        },
    )


def complete(files: Files, tmux: ScriptedTmux, *ids: str, reason: str = "") -> Outcome:
    roll = take(files, ScriptedTmux(no_server()))
    rows = [row_of(roll, each) for each in ids]
    return carry_out(plan_complete(roll, rows), tmux, reason)


def test_zombies_are_completed_in_both_registries(files: Files) -> None:
    outcome = complete(files, ScriptedTmux(no_server()), "a", "b", "c")
    assert outcome.complete
    assert set(outcome.written) == {
        files.registry("TASK-1").resolve(),
        files.registry("TASK-2").resolve(),
        files.global_registry.resolve(),
    }
    for agent_id, task in (("a", "TASK-1"), ("b", "TASK-1"), ("c", "TASK-2")):
        own, listed = files.agent(agent_id, task), files.listed(agent_id)
        assert own["status"] == listed["status"] == "completed"
        assert own["completed_at"] == listed["completed_at"]
    files.assert_counters_match()
    assert read(files.registry())["completed_count"] == 3


def test_a_completion_asks_tmux_once_and_ends_no_session(files: Files) -> None:
    tmux = ScriptedTmux(no_server())
    complete(files, tmux, "a", "b", "c")
    assert (tmux.asked, tmux.killed) == (1, [])


def test_the_reason_is_kept_in_both_registries(files: Files) -> None:
    complete(files, ScriptedTmux(no_server()), "a", reason="weg damit ✓")
    assert files.agent("a")["completion_reason"] == "weg damit ✓"
    assert files.listed("a")["completion_reason"] == "weg damit ✓"


def test_a_zombie_that_is_back_from_the_dead_is_left_alone(files: Files) -> None:
    outcome = complete(files, ScriptedTmux(answered(session("agent_a"))), "a", "b")
    assert [step.result for step in outcome.steps] == [Result.LEFT, Result.DONE]
    assert "exists again" in outcome.steps[0].detail
    assert files.agent("a")["status"] == "running"
    assert "status" not in files.listed("a")
    assert files.agent("b")["status"] == "completed"
    files.assert_counters_match()


def test_nothing_is_written_while_tmux_cannot_tell(files: Files) -> None:
    before = files.bytes()
    outcome = complete(files, ScriptedTmux(cannot_tell()), "a", "c")
    assert [step.result for step in outcome.steps] == [Result.FAILED, Result.FAILED]
    assert "Permission denied" in outcome.steps[0].detail
    assert files.bytes() == before


def test_an_agent_that_was_completed_meanwhile_is_not_changed(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    plan = plan_complete(roll, [row_of(roll, "a")], "terminated")
    files.write_task("TASK-1", entry("a", "failed"), entry("b"), entry("done", "completed"))
    (step,) = carry_out(plan, ScriptedTmux(no_server()), "").steps
    assert step.result is Result.LEFT
    assert step.detail == "its status is already 'failed'"
    assert files.agent("a")["status"] == "failed"
    assert files.listed("a")["status"] == "failed"


def test_what_an_agent_was_before_is_told(files: Files) -> None:
    assert complete(files, ScriptedTmux(no_server()), "c").steps[0].detail == (
        "blocked -> completed"
    )


def test_an_agent_that_vanished_from_its_registry_is_reported(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    plan = plan_complete(roll, [row_of(roll, "c")])
    files.write_task("TASK-2", entry("d"))
    listed = read(files.global_registry)
    del listed["agents"]["c"]
    write(files.global_registry, listed)
    (step,) = carry_out(plan, ScriptedTmux(no_server()), "").steps
    assert step.result is Result.LEFT
    assert "is not in" in step.detail


def test_one_broken_registry_does_not_keep_the_others_from_being_written(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    plan = plan_complete(roll, [row_of(roll, each) for each in "ac"])
    files.registry("TASK-1").write_text("{ broken")
    outcome = carry_out(plan, ScriptedTmux(no_server()), "")
    results = {step.label: step for step in outcome.steps}
    assert results["a"].result is Result.FAILED
    assert "not recorded" in results["a"].detail
    assert results["c"].result is Result.DONE
    assert files.registry("TASK-1").read_text() == "{ broken"
    assert "status" not in files.listed("a")
    assert files.listed("c")["status"] == "completed"


def test_a_broken_global_registry_is_a_problem_and_not_a_secret(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    plan = plan_complete(roll, [row_of(roll, "a")])
    files.global_registry.write_text("")
    outcome = carry_out(plan, ScriptedTmux(no_server()), "")
    assert files.agent("a")["status"] == "completed"
    assert not outcome.complete
    assert "global registry" in outcome.problems[0]
    assert files.global_registry.read_text() == ""


def test_a_second_completion_finds_nothing_to_do(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    plan = plan_complete(roll, [row_of(roll, "a")])
    carry_out(plan, ScriptedTmux(no_server()), "")
    after = files.bytes()
    (step,) = carry_out(plan, ScriptedTmux(no_server()), "").steps
    assert step.result is Result.LEFT
    assert files.bytes() == after


def test_a_plan_says_what_it_is() -> None:
    assert plan_kill(ROLL, ()).verb is Verb.KILL
    assert plan_complete(ROLL, ()).verb is Verb.COMPLETE
    assert plan_kill(ROLL, ()).steps == ()


def test_a_plan_of_orphans_alone_speaks_of_no_agents() -> None:
    assert plan_kill(ROLL, (), ROLL.orphans).title() == "Kill 1 orphaned session"


# --- a name that was taken again ----------------------------------------------


def test_an_agent_whose_name_is_reused_can_be_completed_but_not_killed(files: Files) -> None:
    files.write_task("TASK-1", entry("a", started_at=stamp(7200), last_update=stamp(7000)))
    tmux = ScriptedTmux(answered(made_now("agent_a")))
    roll = take(files, tmux)
    row = row_of(roll, "a")
    assert (row.verdict, row.session) == (Verdict.UNKNOWN, None)
    assert plan_kill(roll, [row]).steps == ()
    plan = plan_complete(roll, [row])
    assert [step.says for step in plan.steps] == [
        "set its status to completed; the other agent's session, which now has the name, "
        "is not ended"
    ]
    assert carry_out(plan, tmux, "").complete
    assert files.agent("a")["status"] == "completed"
    assert tmux.killed == []
    after = row_of(take(files, tmux), "a")
    assert (after.verdict, after.session) == (Verdict.FINISHED, None)
    assert "another session got the name of this agent's session" in after.note


@pytest.mark.parametrize("kind", [Files, DatabaseFiles])
def test_an_agent_without_a_session_and_a_pid_is_completed_only_alone(
    tmp_path: Path, kind: type[Files]
) -> None:
    lost, other = entry("lost", tmux_session=None), entry("other", tmux_session=None)
    files = kind(tmp_path, {"TASK-1": [lost, other]})
    tmux = ScriptedTmux(answered(made_now("agent_other")))
    roll = take(files, tmux)
    rows = [row_of(roll, "lost"), row_of(roll, "other")]
    assert {row.verdict for row in rows} == {Verdict.UNKNOWN}
    together = checked_complete(roll, rows)
    assert together.steps == () and "complete this agent alone" in dict(together.refused)["lost"]
    # The other agent may run in the session that has its usual name.
    ((_, why),) = checked_complete(roll, rows[1:]).refused
    assert "alone" not in why
    plan = checked_complete(roll, rows[:1], "terminated")
    (step,) = plan.steps
    assert "although its entry names neither a session nor a pid" in step.says
    assert carry_out(plan, tmux, "").complete
    assert files.agent("lost")["status"] == "terminated"
    assert files.agent("other")["status"] == "running"


@pytest.mark.parametrize("kind", [Files, DatabaseFiles])
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_kill_of_an_agent_that_ends_meanwhile_is_done(
    tmp_path: Path, kind: type[Files], status: str
) -> None:
    files = kind(tmp_path, {"TASK-1": [entry("a")]})

    class Completing(ScriptedTmux):
        def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
            SqliteWorkspace(Workspace(files.path)).tasks({})[0].report(
                "a", status=status, progress=None, message=""
            )
            self._answers = [no_server()]
            return None

    tmux = Completing(answered(made_now("agent_a")))
    roll = take(files, tmux)
    outcome = carry_out(plan_kill(roll, [row_of(roll, "a")]), tmux, "")
    (step,) = outcome.steps
    assert (step.result, outcome.complete) == (Result.DONE, True)
    assert step.detail.startswith("ended its session")
    assert step.detail.endswith(f"its status is already {status!r}")
    assert files.agent("a")["status"] == status
