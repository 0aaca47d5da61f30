"""A part of a roll call, and its order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rolls import (
    NOW,
    WORKSPACE,
    agent,
    answered,
    any_task,
    called,
    roll_call,
    roll_of,
    session,
    task_record,
    task_state,
)
from tui.model.roll import RollCall, Verdict, WorkspaceRoll
from tui.view.filter import agent_fields, parse
from tui.view.sort import Order
from tui.view.subset import arrange, select

ONE = task_state(
    name="TASK-1",
    record=task_record(
        (
            agent("top", "completed", started=NOW - 50, progress=100),
            agent("mid", parent="top", started=NOW - 900, progress=None),
            agent("low", "blocked", parent="mid", started=NOW - 80, progress=7),
            agent("gone", parent="top", started=None, progress=40),
        ),
        task_id="TASK-1",
    ),
)
TWO = task_state(record=task_record((agent("z", "failed"),), task_id="TASK-2"), name="TASK-2")
EMPTY = task_state(name="TASK-3")
THERE = answered(
    session("agent_mid", created=NOW - 902), session("agent_low", number=2, created=NOW - 82)
)
ROLL = roll_call(
    *called(ONE, TWO, EMPTY, answer=THERE), orphans=(session("agent_lost"),), answer=THERE
)


def ids(roll: RollCall) -> list[str]:
    return [row.key.id for row in roll.agents()]


def test_without_a_filter_the_roll_stays_as_it_is() -> None:
    assert select(ROLL, parse("")) is ROLL


def test_only_matching_agents_remain_and_the_counts_are_of_the_whole() -> None:
    left = select(ROLL, parse("verdict:live,blocked"))
    assert ids(left) == ["mid", "low"]
    assert [row.level for row in left.agents()] == [0, 1]
    assert [task.task_id for task in left.tasks()] == ["TASK-1"]
    assert left.orphans == ()
    assert left.counts == ROLL.counts


def test_a_remaining_agent_is_below_its_nearest_remaining_ancestor() -> None:
    left = select(ROLL, parse("id:top,low"))
    assert [(row.key.id, row.level) for row in left.agents()] == [("top", 0), ("low", 1)]


def test_finished_agents_can_be_hidden_and_orphans_stay() -> None:
    left = select(ROLL, parse(""), hide_finished=True)
    assert ids(left) == ["mid", "low", "gone", "z"]
    assert [task.task_id for task in left.tasks()] == ["TASK-1", "TASK-2", "TASK-3"]
    assert len(left.orphans) == 1


def test_what_cannot_be_read_stays() -> None:
    unread = task_state(readable=False, error="is empty")
    roll = roll_of(
        WorkspaceRoll(WORKSPACE, called(unread, answer=answered()), None),
        WorkspaceRoll(WORKSPACE.with_name("no"), (), "cannot list"),
        WorkspaceRoll(WORKSPACE.with_name("fine"), (), None),
    )
    left = select(roll, parse("nobody"))
    assert [task.state.error for task in left.tasks()] == ["is empty"]
    assert [each.error for each in left.workspaces] == [None, "cannot list"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.URGENCY, ["gone", "low", "mid", "top", "z"]),
        (Order.AGE, ["z", "mid", "low", "top", "gone"]),
        (Order.PROGRESS, ["low", "gone", "top", "mid", "z"]),
        (Order.ID, ["gone", "low", "mid", "top", "z"]),
    ],
)
def test_agents_are_sorted_in_their_task_and_tasks_by_their_first(
    order: Order, expected: list[str]
) -> None:
    arranged = arrange(ROLL, order)
    assert ids(arranged) == expected
    assert {row.level for row in arranged.agents()} == {0}
    assert [task.task_id for task in arranged.tasks()][-1] == "TASK-3"


def test_the_agent_that_failed_last_is_the_first_of_the_failed_ones() -> None:
    times = {"early": NOW - 900, "late": NOW - 10, "middle": NOW - 400}
    agents = (
        replace(agent(name, "failed"), started=NOW - 1000, updated=at, ended=None)
        for name, at in times.items()
    )
    roll = roll_call(*called(task_state(*agents), answer=answered()))
    assert ids(arrange(roll, Order.URGENCY)) == ["late", "middle", "early"]


ROLLS = st.lists(any_task, max_size=3).map(
    lambda records: roll_call(
        *called(
            *(task_state(name=f"T-{n}", record=record) for n, record in enumerate(records)),
            answer=answered(session("agent_a")),
        )
    )
)
QUERIES = st.sampled_from(
    ["", "a", "-a", "status:running", "verdict:zombie,live", "id:b -parent:a"]
)


@given(ROLLS, QUERIES, st.booleans())
def test_exactly_the_matching_agents_remain_in_order(
    roll: RollCall, query: str, hide: bool
) -> None:
    wanted = parse(query)
    expected = [
        row.key
        for task in roll.tasks()
        for row in task.agents
        if wanted.matches(agent_fields(row, task))
        and not (hide and row.verdict is Verdict.FINISHED)
    ]
    left = select(roll, wanted, hide_finished=hide)
    assert [row.key for row in left.agents()] == expected
    before = {row.key: row.level for row in roll.agents()}
    for task in left.tasks():
        level = -1
        for row in task.agents:
            assert 0 <= row.level <= min(before[row.key], level + 1)
            level = row.level


@given(ROLLS, st.sampled_from(Order))
def test_sorting_neither_loses_nor_adds_agents(roll: RollCall, order: Order) -> None:
    arranged = arrange(roll, order)
    assert {row.key for row in arranged.agents()} == {row.key for row in roll.agents()}
    assert len(ids(arranged)) == len(ids(roll))
    assert arrange(arranged, order) == arranged
