"""How the roll is looked at: sorted, narrowed, hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rolls import (
    NOW,
    agent,
    answered,
    any_task,
    called,
    roll_call,
    session,
    task_record,
    task_state,
)
from tui.host.process.agent_processes import AgentProcess
from tui.host.process.usage import Load
from tui.model.roll import AgentKey, AgentRow, RollCall, Verdict
from tui.view.outline import (
    Key,
    Line,
    OrphanKey,
    is_asked_for,
    matching,
    nearest,
    outline,
    roots_of,
    sessions_of,
)
from tui.view.view import Sort, View

TASKS = (
    task_state(
        agent("done", "completed", started=NOW - 500, progress=100),
        agent("kid", parent="done", started=NOW - 400, progress=None),
        agent("gone", started=NOW - 300, progress=10),
        agent("shy", "blocked", started=NOW - 200, progress=70),
        name="TASK-1",
    ),
    task_state(
        agent("still", started=NOW - 9000, updated=NOW - 8000, progress=90),
        agent("over", "failed", started=NOW - 100, progress=20),
        name="TASK-2",
    ),
)
THERE = answered(
    session("agent_kid", number=1, created=NOW - 402),
    session("agent_shy", number=2, created=NOW - 202),
    session("agent_still", number=3, created=NOW - 9000, activity=NOW - 8000),
    session("agent_over", number=4, created=NOW - 102),
)
LOST = session("agent_lost", number=9, created=NOW - 250)
LOST_KEY = OrphanKey("$9", int(NOW - 250))
ROLL = roll_call(*called(*TASKS, answer=THERE), orphans=(LOST,), answer=THERE)


def names(lines: tuple[Line, ...]) -> list[str]:
    return [
        line.key.id if isinstance(line.key, AgentKey) else "lost"
        for line in lines
        if isinstance(line.key, AgentKey | OrphanKey)
    ]


def key_of(name: str) -> Key:
    return next(row.key for row in ROLL.agents() if row.key.id == name)


LOADS: dict[Key, Load] = {
    key_of("kid"): Load(5.0, 300, 1),
    key_of("shy"): Load(80.0, 100, 1),
    key_of("still"): Load(None, 200, 1),
    LOST_KEY: Load(20.0, 50, 1),
}


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort.URGENCY, ["gone", "still", "shy", "over", "lost", "kid", "done"]),
        (Sort.AGE, ["still", "done", "kid", "gone", "lost", "shy", "over"]),
        (Sort.PROGRESS, ["gone", "over", "shy", "still", "done", "kid", "lost"]),
        (Sort.CPU, ["shy", "lost", "kid", "done", "gone", "still", "over"]),
        (Sort.MEMORY, ["kid", "still", "shy", "lost", "done", "gone", "over"]),
        (Sort.HIERARCHY, ["done", "kid", "gone", "shy", "still", "over", "lost"]),
    ],
)
def test_what_is_wanted_first_comes_first(sort: Sort, expected: list[str]) -> None:
    assert names(outline(ROLL, (), View(sort=sort), LOADS)) == expected


def test_what_is_sorted_stands_beside_each_other_with_its_task() -> None:
    lines = outline(ROLL, (), View(sort=Sort.URGENCY))
    assert {line.level for line in lines} == {1}
    assert [line.task for line in lines[:3]] == ["a task"] * 3
    assert all(line.folded is None for line in lines)


def test_unreadable_registries_are_above_the_sorted_lines() -> None:
    broken = replace(TASKS[1], error="is empty")
    roll = roll_call(*called(TASKS[0], broken, answer=THERE))
    lines = outline(roll, (), View(sort=Sort.URGENCY))
    assert lines[0].item is roll.workspaces[0].tasks[1]
    assert len(names(lines)) == 6


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(only=Verdict.STALLED), ["still"]),
        (View(only=Verdict.ORPHAN), ["lost"]),
        # The one above leads there.
        (View(only=Verdict.LIVE), ["done", "kid"]),
        (View(only=Verdict.BLOCKED), ["shy"]),
        (View(only=Verdict.LIVE, query="kid"), ["done", "kid"]),
        (View(hide_finished=True), ["done", "kid", "gone", "shy", "still", "over", "lost"]),
        (View(hide_finished=True, sort=Sort.AGE), names(outline(ROLL, (), View(sort=Sort.AGE)))),
        (View(only=Verdict.UNKNOWN), []),
    ],
)
def test_only_matching_agents_are_shown(view: View, expected: list[str]) -> None:
    lines = outline(ROLL, (), view)
    if view.sort is Sort.AGE:
        expected = [name for name in expected if name != "done"]
    assert names(lines) == expected
    assert [line.key.id for line in lines if line.leads and isinstance(line.key, AgentKey)] == [
        name for name in names(lines) if name == "done"
    ]


def test_folds_stay_with_the_finished_hidden_but_open_in_a_search() -> None:
    folded = {key_of("done")}
    assert "kid" not in names(outline(ROLL, folded, View(hide_finished=True)))
    assert "kid" in names(outline(ROLL, folded, View(only=Verdict.LIVE)))


def test_a_finished_task_is_hidden_but_not_an_unreadable_one() -> None:
    over = task_state(agent("a", "completed"), name="TASK-over")
    empty = task_state(name="TASK-empty")
    broken = replace(over, error="is empty")
    for state, shown in ((over, 0), (empty, 1), (broken, 1)):
        roll = roll_call(*called(state, answer=answered()))
        assert len(outline(roll, (), View(hide_finished=True))) == shown


views = st.builds(
    View,
    query=st.sampled_from(["", "a", "status:running", "-b", "verdict:zombie", "TASK"]),
    sort=st.sampled_from(Sort),
    only=st.one_of(st.none(), st.sampled_from(Verdict)),
    hide_finished=st.booleans(),
)


@st.composite
def rolls(draw: st.DrawFn) -> RollCall:
    states = [
        task_state(name=f"TASK-{number}", record=draw(any_task))
        for number in range(draw(st.integers(0, 3)))
    ]
    orphans = tuple(session(f"agent_o{n}", number=n) for n in range(draw(st.integers(0, 2))))
    return roll_call(*called(*states, answer=answered()), orphans=orphans)


@given(rolls(), views)
def test_a_matching_agent_has_one_line_in_every_sort_order(roll: RollCall, view: View) -> None:
    lines = outline(roll, (), view)
    asked_for = [line.key for line in lines if is_asked_for(line)]
    assert len(asked_for) == len(set(asked_for))
    assert set(asked_for) == matching(roll, view).keys()
    assert len({line.key for line in lines}) == len(lines)


@given(rolls(), views)
def test_a_line_only_leads_if_one_beneath_it_is_asked_for(roll: RollCall, view: View) -> None:
    lines = outline(roll, (), view)
    for number, line in enumerate(lines):
        if line.leads:
            assert lines[number + 1].level > line.level
            assert line.folded is False


@given(rolls(), views)
def test_a_view_of_one_verdict_is_of_that_alone(roll: RollCall, view: View) -> None:
    for item in matching(roll, view).values():
        verdict = item.verdict if isinstance(item, AgentRow) else Verdict.ORPHAN
        assert view.only in (None, verdict)
        assert view.only or not (view.hide_finished and verdict is Verdict.FINISHED)


@given(rolls())
def test_the_most_urgent_are_never_below_the_less_urgent(roll: RollCall) -> None:
    order = [*Verdict]
    lines = outline(roll, (), View(sort=Sort.URGENCY))
    found = [
        line.item.verdict if isinstance(line.item, AgentRow) else Verdict.ORPHAN for line in lines
    ]
    assert found == sorted(found, key=order.index)


@given(rolls(), views, st.integers(0, 40))
def test_the_cursor_always_has_a_line_to_go_to(roll: RollCall, view: View, old: int) -> None:
    before = outline(roll)
    lines = outline(roll, (), view)
    place = nearest(lines, before[old % len(before)] if before else None, old)
    assert 0 <= place < max(1, len(lines))


def test_after_the_last_sort_order_comes_the_first() -> None:
    seen = [Sort.HIERARCHY.after(steps) for steps in range(len(Sort))]
    assert seen == list(Sort)
    assert Sort.HIERARCHY.after(-1) is seen[-1] and seen[-1].after(1) is Sort.HIERARCHY


def test_clearing_keeps_the_order_and_what_is_hidden() -> None:
    view = View("x", Sort.AGE, Verdict.LIVE, True)
    assert view.cleared() == View(sort=Sort.AGE, hide_finished=True)


def test_the_sessions_of_lines_are_those_of_agents_and_of_orphans() -> None:
    found = sessions_of(outline(ROLL))
    assert found.keys() == {key_of(name) for name in ("kid", "shy", "still", "over")} | {LOST_KEY}


def test_the_processes_of_lines_are_those_of_agents_without_a_session() -> None:
    task, *others = ROLL.tasks()
    process = AgentProcess(4711, 100, NOW - 60)
    of = {"gone": process, "done": AgentProcess(4712)}
    agents = tuple(replace(row, process=of.get(row.key.id)) for row in task.agents)
    roll = roll_call(replace(task, agents=agents), *others, answer=THERE)
    assert roots_of(outline(roll)) == {key_of("gone"): (4711, 100)}


def test_a_task_says_how_far_its_agents_are_in_the_mean() -> None:
    state = task_state(
        agent("a", "completed", progress=None),
        agent("b", progress=None),
        agent("c", progress=1e9),
        agent("d", "failed", progress=40),
    )
    (task,) = called(state, answer=answered())
    assert (task.completed, task.progress) == (1, 60.0)
    (empty,) = called(task_state(record=task_record()), answer=answered())
    assert (empty.completed, empty.progress) == (0, None)
