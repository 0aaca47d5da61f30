"""Plans to kill many: who comes first, who is passed over, what is left of earlier ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from registry.audit.entries import EndedSession
from registry.schema.records import TaskRecord
from tests.support.rolls import (
    SOCKET,
    agent,
    answered,
    any_task,
    called,
    cannot_tell,
    roll_call,
    session,
    task_state,
)
from tui.actions import footprint
from tui.actions.evidence.origins import origin_of_ended
from tui.actions.plan import Footprint, Plan
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.actions.preview import Preview
from tui.app.screens.confirm import ConfirmScreen
from tui.cli.format_plan import proposal_lines
from tui.host.tmux_types import TmuxSnapshot
from tui.model.roll import RollCall, TaskState
from tui.model.select import subtrees

FAMILY = (
    agent("root"),
    agent("left", parent="root"),
    agent("leaf", parent="left"),
    agent("through", "completed", parent="root"),
    agent("leak", "completed", parent="through"),
    agent("lost", session=None, parent="root"),
)
THERE = answered(
    *(
        session(f"agent_{name}", number=n)
        for n, name in enumerate(["root", "left", "leaf", "leak"])
    )
)


def roll_with(*states: TaskState, answer: TmuxSnapshot = THERE) -> RollCall:
    return roll_call(*called(*states, answer=answer), answer=answer)


ROLL = roll_with(task_state(*FAMILY))


def plan_tree(roll: RollCall, root: str) -> Plan:
    rows = [row for row in roll.agents() if row.key.id == root]
    return plan_kill(roll, subtrees(roll, rows), whole=True)


def labels(plan: Plan) -> list[str]:
    return [step.label for step in plan.steps]


def refused(plan: Plan) -> dict[str, str]:
    return dict(plan.refused)


def test_a_tree_goes_leaf_first_with_those_that_leaked() -> None:
    plan = plan_tree(ROLL, "root")
    assert labels(plan) == ["leaf", "leak", "left", "root"]
    assert plan.sessions == 4


def test_an_agent_with_an_unknown_state_is_named_and_does_not_stop_the_others() -> None:
    plan = plan_tree(ROLL, "root")
    assert refused(plan) == {
        "lost": "its state is unknown: the registry names no session for this agent"
    }


def test_a_finished_agent_is_skipped_in_a_tree_and_refused_by_name() -> None:
    assert "through" not in refused(plan_tree(ROLL, "root"))
    assert "through" in refused(plan_kill(ROLL, ROLL.agents()))


def test_the_tree_of_a_finished_agent_may_contain_a_session() -> None:
    plan = plan_tree(ROLL, "through")
    assert (labels(plan), plan.refused) == (["leak"], ())


def test_a_tree_of_finished_agents_is_refused() -> None:
    roll = roll_with(task_state(agent("a", "failed"), agent("b", "completed", parent="a")))
    plan = plan_tree(roll, "a")
    assert plan.steps == ()
    assert set(refused(plan)) == {"a", "b"}


def test_an_unreadable_registry_keeps_a_whole_tree_as_it_is() -> None:
    roll = roll_with(task_state(*FAMILY, error="is half written"))
    plan = plan_tree(roll, "root")
    assert plan.steps == ()
    assert "is half written" in refused(plan)["leaf"]


def test_no_agent_is_killed_while_tmux_cannot_be_queried() -> None:
    plan = plan_tree(roll_with(task_state(*FAMILY), answer=cannot_tell()), "root")
    assert plan.steps == ()
    assert set(refused(plan)) >= {"root", "left", "leaf"}


def test_only_descendants_outside_the_plan_continue() -> None:
    says = {step.label: step.says for step in plan_tree(ROLL, "root").steps}
    assert "continue" not in says["root"]
    rows = [row for row in ROLL.agents() if row.key.id in ("root", "left")]
    says = {step.label: step.says for step in plan_kill(ROLL, rows).steps}
    assert says["root"].endswith("2 descendants of the agent continue")
    assert says["left"].endswith("1 descendant of the agent continues")


@given(any_task)
def test_children_always_come_before_their_parents_and_no_agent_twice(record: TaskRecord) -> None:
    names = {each.tmux_session for each in record.agents if each.tmux_session}
    answer = answered(*(session(name, number=n) for n, name in enumerate(sorted(names))))
    roll = roll_with(task_state(record=record), answer=answer)
    plan = plan_kill(roll, roll.agents(), whole=True)
    levels = [step.row.level for step in plan.steps if step.row is not None]
    assert levels == sorted(levels, reverse=True)
    ended = [step.session.id for step in plan.steps if step.session is not None]
    assert len(set(ended)) == len(ended)


def test_what_another_session_looks_into_is_not_killed_with_it() -> None:
    agents, view = session("agent_x", number=1), session("agent_x-7", number=7)
    view = replace(view, panes=agents.panes, pids=agents.pids)
    roll = roll_with(task_state(agent("x")), answer=answered(agents, view))
    plan = plan_kill(roll, roll.agents(), [view])
    assert plan.steps == ()
    assert "agent_x-7 shows the same panes" in refused(plan)["x"]
    assert "agent_x shows the same panes" in refused(plan)["agent_x-7"]


# --- what it weighs -----------------------------------------------------------


def weighed(plan: Plan, *weights: Footprint | None) -> Plan:
    steps = zip(plan.steps, weights, strict=True)
    return replace(
        plan, steps=tuple(replace(step, footprint=footprint) for step, footprint in steps)
    )


def test_a_plan_weighs_what_its_steps_weigh() -> None:
    plan = plan_tree(ROLL, "left")
    assert plan.footprint is None
    plan = weighed(plan, Footprint(2, 1 << 20), Footprint(3, 2 << 20))
    assert plan.footprint == Footprint(5, 3 << 20)
    assert plan.preview().steps[0][0] == "leaf (session agent_leaf, 2 processes, 1 MB)"
    assert "Ends 2 sessions and 5 processes" in plan.preview().note
    assert "frees about 3 MB" in plan.preview().note


def test_what_is_known_of_some_is_not_said_of_all() -> None:
    plan = weighed(plan_tree(ROLL, "left"), Footprint(2, 1 << 20), None)
    assert plan.footprint is None
    assert "Ends 2 sessions on" in plan.preview().note
    assert "is not known" in plan.preview().note


def test_a_plan_that_ends_nothing_weighs_nothing() -> None:
    assert plan_complete(ROLL, ROLL.agents()).footprint == Footprint(0, 0)
    roll = roll_with(task_state(agent("zombie")))
    assert plan_kill(roll, roll.agents()).footprint == Footprint(0, 0)
    assert not plan_kill(roll, roll.agents()).preview().grave


# --- what an earlier kill left ------------------------------------------------

LEFT = EndedSession("agent_a", "$1", 1000, str(SOCKET), "a", 4711, 500, ("%1", "%2"))


def test_what_an_earlier_kill_left_of_a_zombie_is_ended_with_it() -> None:
    roll = roll_with(task_state(agent("a")))
    (step,) = plan_kill(roll, roll.agents(), unfinished=[LEFT]).steps
    assert (step.earlier, step.session, step.writes) == (LEFT, None, True)


def test_the_leftovers_of_a_finished_agent_are_ended() -> None:
    roll = roll_with(task_state(agent("a", "completed")))
    for whole in (True, False):
        plan = plan_kill(roll, roll.agents(), whole=whole, unfinished=[LEFT])
        (step,) = plan.steps
        assert (step.earlier, step.writes, plan.files) == (LEFT, False, ())
        assert plan.preview().grave


def test_an_agent_that_has_a_session_again_has_nothing_left_over() -> None:
    roll = roll_with(task_state(agent("a")), answer=answered(session("agent_a")))
    (step,) = plan_kill(roll, roll.agents(), unfinished=[LEFT]).steps
    assert step.earlier is None
    assert step.session is not None


def test_the_ended_session_of_another_agent_or_server_does_not_count() -> None:
    roll = roll_with(task_state(agent("a")))
    for other in (
        replace(LEFT, agent="b"),
        replace(LEFT, agent=None),
        replace(LEFT, name="agent_b"),
        replace(LEFT, socket="/elsewhere"),
    ):
        (step,) = plan_kill(roll, roll.agents(), unfinished=[other]).steps
        assert step.earlier is None


def test_what_was_left_is_found_under_another_path_of_the_socket(tmp_path: Path) -> None:
    socket, link = tmp_path / "s", tmp_path / "link"
    link.symlink_to(tmp_path)
    for asked, logged in ((socket, link / "s"), (link / "s", socket)):
        answer = replace(answered(), socket=asked)
        roll = roll_with(task_state(agent("a")), answer=answer)
        ended = replace(LEFT, socket=str(logged))
        (step,) = plan_kill(roll, roll.agents(), unfinished=[ended]).steps
        assert step.earlier == ended
        assert footprint._is_left(replace(ended, agent=None), answer)


@pytest.mark.parametrize("name", ["agent_a.b", "agent_a_b"])
def test_what_was_left_is_found_under_either_spelling(name: str) -> None:
    roll = roll_with(task_state(agent("a", session="agent_a.b")))
    ended = replace(LEFT, name=name)
    (step,) = plan_kill(roll, roll.agents(), unfinished=[ended]).steps
    assert step.earlier == ended


def panes_of(ended: EndedSession, answer: TmuxSnapshot) -> tuple[str, ...] | None:
    return origin_of_ended(ended, answer).panes


def test_panes_of_an_ended_session_count_only_where_unambiguous() -> None:
    same = replace(answered(), server_pid=4711, server_started=500)
    assert panes_of(LEFT, same) == ("%1", "%2")
    later = replace(same, server_pid=4712, server_started=900)
    assert panes_of(LEFT, later) == ("%1", "%2"), "they are known by the process of their server"
    assert panes_of(LEFT, replace(same, server_started=900)) == (), "its pid was given again"
    assert panes_of(replace(LEFT, server_pid=None), same) == ()
    there = session("another", number=1)
    assert panes_of(LEFT, replace(later, sessions={there.name: there})) == ("%1", "%2")
    moved = session("elsewhere", number=2)
    assert moved.panes == ("%2",)
    lives = replace(same, sessions={moved.name: moved})
    assert panes_of(LEFT, lives) == ("%1",), "one lives on in another session"


def test_each_remark_on_a_plan_is_a_paragraph_and_is_whole() -> None:
    remarks = tuple(f"After this, phase {n} has no active agent. " + "x" * 350 for n in range(3))
    preview = Preview("Kill 1 agent", (("a", "ends"),), (), (), "note", remarks=remarks)
    parts = [part for part in ConfirmScreen(preview)._lines() if isinstance(part, str)]
    for shown in (list(proposal_lines(preview)), [part.strip() for part in parts]):
        assert [line for line in shown if "After this" in line] == list(remarks)
