"""Whom a tree or a task means."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.records import TaskRecord
from tests.support.rolls import (
    agent,
    any_task,
    called,
    no_server,
    roll_call,
    task_record,
    task_state,
)
from tui.model.hierarchy import descendants_of
from tui.model.roll import RollCall, TaskState
from tui.model.select import meant_ids, row_meant, subtrees, tasks_of

FAMILY = (
    agent("root"),
    agent("left", parent="root"),
    agent("leaf", parent="left"),
    agent("right", parent="root"),
    agent("other"),
)


def roll_with(*states: TaskState) -> RollCall:
    return roll_call(*called(*states, answer=no_server()))


ROLL = roll_with(task_state(*FAMILY), task_state(agent("far"), name="TASK-2"))


def tree_of(roll: RollCall, *ids: str) -> list[str]:
    rows = [row for row in roll.agents() if row.key.id in ids]
    return [row.key.id for row in subtrees(roll, rows)]


def test_a_tree_is_an_agent_with_all_its_descendants() -> None:
    assert tree_of(ROLL, "root") == ["root", "left", "leaf", "right"]
    assert tree_of(ROLL, "left") == ["left", "leaf"]
    assert tree_of(ROLL, "right") == ["right"]


def test_trees_in_trees_and_in_other_tasks_are_there_once() -> None:
    assert tree_of(ROLL, "root", "leaf", "left", "far") == ["root", "left", "leaf", "right", "far"]


def test_a_loop_consists_of_descendants_of_its_first_agent() -> None:
    loop = agent("a", parent="c"), agent("b", parent="a"), agent("c", parent="b")
    roll = roll_with(task_state(*loop))
    assert tree_of(roll, "a") == ["a", "b", "c"]
    assert tree_of(roll, "b") == ["b", "c"]


@given(any_task)
def test_every_descendant_has_its_parent_in_the_same_tree(record: TaskRecord) -> None:
    (task,) = called(task_state(record=record), answer=no_server())
    for row in task.agents:
        found = list(descendants_of(task, row))
        assert len({each.key for each in found}) == len(found)
        assert row not in found
        levels = [row.level, *(each.level for each in found)]
        assert all(level > row.level for level in levels[1:])
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_task_is_named_by_its_whole_id() -> None:
    tasks, problems = tasks_of(ROLL, ["TASK-2", "TASK-1", "TASK-2"])
    assert [task.task_id for task in tasks] == ["TASK-2", "TASK-1"]
    assert problems == []
    for name in ("TASK-", "task-1", "TASK-*", "", "TASK-11"):
        assert tasks_of(ROLL, [name]) == ([], [f"no task {name!r} in the registries"])


def test_a_task_that_is_there_twice_names_neither() -> None:
    other = replace(task_state(agent("x"), name="TASK-9"), record=task_record(task_id="TASK-1"))
    roll = roll_with(task_state(), other)
    tasks, (problem,) = tasks_of(roll, ["TASK-1"])
    assert tasks == []
    assert "TASK-9" in problem and "-w" in problem


def test_a_task_that_was_never_read_cannot_be_meant() -> None:
    unread = task_state(name="TASK-3", readable=False, error="is empty")
    tasks, (problem,) = tasks_of(roll_with(unread), ["TASK-3"])
    assert tasks == []
    assert "is empty" in problem


AGENTS = [("fixer-1-a", "fixer"), ("fixer-10-b", "fixer"), ("x-7", "reviewer"), ("fixer-1", "")]


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("fixer-1", ["fixer-1"]),
        ("fixer-10", ["fixer-10-b"]),
        ("fixer", ["fixer-1-a", "fixer-10-b", "fixer-1"]),
        ("rev", ["x-7"]),
        ("x", ["x-7"]),
        ("7", []),
        ("", []),
        ("FIXER-10", []),
    ],
)
def test_a_word_means_its_id_or_all_that_begin_with_it(word: str, ids: list[str]) -> None:
    assert meant_ids(word, AGENTS) == ids


@given(st.lists(st.tuples(st.text("ab", min_size=1), st.text("ab"))), st.text("ab"))
def test_only_a_word_with_one_meaning_names_an_agent(
    agents: list[tuple[str, str]], word: str
) -> None:
    ids = meant_ids(word, agents)
    if word in dict(agents):
        assert ids == [word]
    else:
        assert all(
            any(
                (id_ == each and word in (id_[: len(word)], kind[: len(word)]))
                for id_, kind in agents
            )
            for each in ids
        )
        assert len(set(ids)) == len(ids)


def test_an_agent_is_meant_by_the_beginning_of_its_id_or_type_alone() -> None:
    row, problems = row_meant(ROLL, "lea")
    assert row is not None and row.key.id == "leaf" and not problems
    row, problems = row_meant(ROLL, "l")
    assert row is None
    assert problems == ["'l' can mean several agents; give more of the id: left, leaf"]
    row, problems = row_meant(ROLL, "nobody")
    assert row is None and problems == ["no agent 'nobody' in the registries"]
