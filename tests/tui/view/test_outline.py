"""Which lines the roll has: folded, filtered, in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.records import TaskRecord
from tests.support.rolls import (
    NOW,
    POLICY,
    WORKSPACE,
    agent,
    answered,
    any_task,
    asked_twice,
    called,
    roll_call,
    roll_of,
    session,
    task_record,
    task_state,
)
from tui.model.call import call_task
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.view.outline import (
    Key,
    Line,
    OrphanKey,
    OrphansKey,
    Outliner,
    TaskKey,
    WorkspaceKey,
    actionable,
    branches,
    outline,
)
from tui.view.view import View

ONE = task_state(
    name="TASK-1",
    record=task_record(
        (
            agent("builder-1", type_="builder"),
            agent("helper-2", "completed", parent="builder-1", type_="helper"),
            agent("prober-3", parent="helper-2", type_="prober", session="agent_Straße"),
            agent("writer-4", "completed", type_="writer"),
        ),
        task_id="TASK-1",
        description="Mend the bridge",
    ),
)
TWO = task_state(
    record=task_record((agent("builder-9"),), task_id="TASK-2", description="Paint the door"),
    name="TASK-2",
)
LOST = (session("agent_lost", number=7), session("agent_mine", number=8))
ROLL = roll_call(*called(ONE, TWO, answer=answered(session("agent_builder-1"))), orphans=LOST)


def shown(lines: Iterable[Line]) -> list[str]:
    """The lines as names, indented by their level."""
    names = []
    for line in lines:
        key = line.key
        match key:
            case TaskKey():
                name = key.registry.parent.name
            case AgentKey():
                name = key.id
            case WorkspaceKey():
                name = str(key.path)
            case OrphansKey():
                name = "orphans"
            case OrphanKey():
                name = key.session_id
        names.append("  " * line.level + name)
    return names


EVERYTHING = [
    "TASK-1",
    "  builder-1",
    "    helper-2",
    "      prober-3",
    "  writer-4",
    "TASK-2",
    "  builder-9",
    "orphans",
    "  $7",
    "  $8",
]


def agent_key(agent_id: str, task: str = "TASK-1") -> AgentKey:
    return AgentKey(WORKSPACE / task / "AGENT_REGISTRY.json", agent_id)


def task_key(task: str) -> TaskKey:
    return TaskKey(WORKSPACE / task / "AGENT_REGISTRY.json")


def test_without_folds_and_filter_everything_is_there() -> None:
    assert shown(outline(ROLL, ())) == EVERYTHING


def test_a_fold_hides_everything_beneath_and_nothing_else() -> None:
    assert shown(outline(ROLL, {agent_key("builder-1")})) == [
        "TASK-1",
        "  builder-1",
        "  writer-4",
        *EVERYTHING[5:],
    ]
    assert shown(outline(ROLL, {task_key("TASK-1")})) == ["TASK-1", *EVERYTHING[5:]]
    assert shown(outline(ROLL, {OrphansKey()})) == EVERYTHING[:8]


def test_a_fold_within_a_fold_is_remembered() -> None:
    inner = {agent_key("helper-2")}
    assert "      prober-3" not in shown(outline(ROLL, inner))
    both = inner | {agent_key("builder-1")}
    assert shown(outline(ROLL, both)) == shown(outline(ROLL, {agent_key("builder-1")}))


def test_only_what_has_something_beneath_can_be_folded() -> None:
    lines = {line.key: line.folded for line in outline(ROLL, {agent_key("helper-2")})}
    assert lines[agent_key("writer-4")] is None
    assert lines[agent_key("helper-2")] is True
    assert lines[agent_key("builder-1")] is False
    assert lines[task_key("TASK-2")] is False
    empty = roll_call(*called(task_state(name="TASK-3"), answer=answered()))
    assert outline(empty, {task_key("TASK-3")})[0].folded is None


def test_folding_an_agent_without_children_hides_nothing() -> None:
    assert shown(outline(ROLL, {agent_key("writer-4"), agent_key("prober-3")})) == EVERYTHING


def test_a_match_keeps_the_branches_that_lead_to_it() -> None:
    assert shown(outline(ROLL, (), View(query="prober"))) == EVERYTHING[:4]


@pytest.mark.parametrize("query", ["WRITER", "wRiter-4", "  writer  "])
def test_the_case_and_the_blanks_of_a_filter_do_not_matter(query: str) -> None:
    assert shown(outline(ROLL, (), View(query=query))) == ["TASK-1", "  writer-4"]


def test_the_case_does_not_matter_in_any_script() -> None:
    assert shown(outline(ROLL, (), View(query="STRASSE"))) == EVERYTHING[:4]


def test_every_word_must_match_in_any_order() -> None:
    assert shown(outline(ROLL, (), View(query="door builder"))) == ["TASK-2", "  builder-9"]
    assert shown(outline(ROLL, (), View(query="completed writer"))) == ["TASK-1", "  writer-4"]
    assert shown(outline(ROLL, (), View(query="writer running"))) == []


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("bridge", EVERYTHING[:5]),
        ("TASK-2", EVERYTHING[5:7]),
        ("finished", ["TASK-1", "  builder-1", "    helper-2", "  writer-4"]),
        ("orphan", EVERYTHING[7:]),
        ("agent_lost", ["orphans", "  $7"]),
    ],
)
def test_a_filter_finds_tasks_verdicts_sessions_and_orphans(query: str, lines: list[str]) -> None:
    assert shown(outline(ROLL, (), View(query=query))) == lines


def test_a_task_that_matches_is_shown_without_agents_too() -> None:
    empty = task_state(record=task_record(description="nobody yet"))
    roll = roll_call(*called(empty, answer=answered()))
    assert shown(outline(roll, (), View(query="nobody"))) == ["TASK-1"]
    assert outline(roll, (), View(query="somebody")) == ()


def test_a_task_that_cannot_be_read_is_found_by_what_is_listed_of_it() -> None:
    unread = task_state(readable=False, error="is empty", listed_description="Dig the well")
    roll = roll_call(*called(unread, answer=answered()))
    assert shown(outline(roll, (), View(query="well"))) == ["TASK-1"]


def test_folds_do_not_hide_what_a_filter_finds() -> None:
    folded: set[Key] = {task_key("TASK-1"), agent_key("builder-1"), OrphansKey()}
    assert shown(outline(ROLL, folded, View(query="prober"))) == EVERYTHING[:4]
    assert shown(outline(ROLL, folded, View(query="agent_lost"))) == ["orphans", "  $7"]


def two_workspaces() -> RollCall:
    one, two = called(ONE, TWO, answer=answered())
    other = WORKSPACE.with_name("other")
    return roll_of(
        WorkspaceRoll(WORKSPACE, (one,), None),
        WorkspaceRoll(other, (two,), None),
        WorkspaceRoll(WORKSPACE.with_name("empty"), (), "cannot list"),
    )


def test_several_workspaces_have_a_branch_each() -> None:
    assert shown(outline(two_workspaces(), {agent_key("builder-1")})) == [
        "/ws/.agent-workspace",
        "  TASK-1",
        "    builder-1",
        "    writer-4",
        "/ws/other",
        "  TASK-2",
        "    builder-9",
        "/ws/empty",
    ]


def test_a_workspace_folds_and_goes_when_nothing_in_it_matches() -> None:
    roll = two_workspaces()
    folded = {WorkspaceKey(WORKSPACE)}
    assert shown(outline(roll, folded))[:2] == ["/ws/.agent-workspace", "/ws/other"]
    assert shown(outline(roll, folded, View(query="door")))[0] == "/ws/other"


AGENTS = st.lists(
    st.builds(
        agent,
        st.sampled_from(["a", "b", "c", "ä", ""]),
        st.sampled_from(["running", "completed", "odd"]),
        parent=st.sampled_from([None, "a", "b", "c", "nobody"]),
    ),
    max_size=10,
)


@st.composite
def rolls(draw: st.DrawFn) -> RollCall:
    states = [
        task_state(name=f"TASK-{number}", record=task_record(draw(AGENTS)))
        for number in range(draw(st.integers(0, 3)))
    ]
    orphans = tuple(session(f"agent_o{n}", number=n) for n in range(draw(st.integers(0, 2))))
    return roll_call(*called(*states, answer=answered()), orphans=orphans)


QUERIES = st.sampled_from(["", "a", "task", "zombie", "B", "x y", "orphan", "agent_o1"])


@given(rolls(), st.data(), QUERIES)
def test_no_two_lines_have_the_same_key(roll: RollCall, data: st.DataObject, query: str) -> None:
    folded = data.draw(st.sets(st.sampled_from(list(branches(roll)))))
    keys = [line.key for line in outline(roll, folded, View(query=query))]
    assert len(keys) == len(set(keys))


@given(rolls())
def test_every_agent_and_orphan_has_its_line(roll: RollCall) -> None:
    items = [line.item for line in outline(roll, ())]
    assert [item for item in items if isinstance(item, AgentRow)] == list(roll.agents())
    for orphan in roll.orphans:
        assert orphan in items


@given(rolls(), QUERIES)
def test_a_filter_shows_lines_of_the_roll_in_their_order(roll: RollCall, query: str) -> None:
    everything = [line.key for line in outline(roll, ())]
    found = [line.key for line in outline(roll, (), View(query=query))]
    assert found == [key for key in everything if key in set(found)]


@given(rolls())
def test_what_can_be_folded_is_what_has_a_fold(roll: RollCall) -> None:
    foldable = {line.key for line in outline(roll, ()) if line.folded is not None}
    assert foldable <= set(branches(roll))
    closed: set[Key] = set(branches(roll))
    assert all(line.folded in (None, True) for line in outline(roll, closed))


@given(rolls())
def test_agents_and_orphans_can_be_acted_on_and_branches_cannot(roll: RollCall) -> None:
    can = actionable(roll)
    for line in outline(roll, ()):
        assert (line.key in can) == isinstance(line.key, AgentKey | OrphanKey)
        if line.key in can:
            assert can[line.key] == line.item


# --- one roll call after another ----------------------------------------------

_tasks = st.dictionaries(st.sampled_from(["TASK-1", "TASK-2", "TASK-3"]), any_task, min_size=1)
_views = st.sampled_from([View(), View(query="a"), View(hide_finished=True)])


@given(st.lists(st.tuples(_tasks, _views, st.integers(0, 3)), min_size=1, max_size=5))
def test_after_whatever_was_outlined_before_the_lines_are_those_of_the_roll(
    steps: list[tuple[dict[str, TaskRecord], View, int]],
) -> None:
    outliner = Outliner()
    known: dict[tuple[str, int], TaskRoll] = {}
    for records, view, folds in steps:
        # An equal task keeps its identity, as from one live roll call to the next.
        tasks = [
            known.setdefault(
                (name, hash(repr(record))),
                called(task_state(name=name, record=record), answer=answered())[0],
            )
            for name, record in records.items()
        ]
        roll = roll_call(*tasks)
        folded = set(list(branches(roll))[:folds])
        assert outliner.outline(roll, folded, view) == outline(roll, folded, view)


@given(any_task, st.integers(0, 11), st.integers(0, 4), st.sampled_from(["running", "failed"]))
def test_where_one_agent_changed_the_lines_are_those_of_the_roll(
    record: TaskRecord, index: int, folds: int, status: str
) -> None:
    outliner = Outliner()
    agents = [
        replace(each, status=status, progress=99.0) if number == index else each
        for number, each in enumerate(record.agents)
    ]
    before = task_state(record=record)
    after = task_state(record=replace(record, agents=tuple(agents)))
    evidence = asked_twice([before, after], answered())
    was = call_task(before, evidence, POLICY, NOW)
    now = call_task(after, evidence, POLICY, NOW, before=was)
    folded = set(list(branches(roll_call(was)))[1 : folds + 1])
    outliner.outline(roll_call(was), folded)
    lines = outliner.outline(roll_call(now), folded)
    assert lines == outline(roll_call(now), folded)
    assert len(lines) <= len(agents) + 1


def test_the_lines_of_tasks_that_did_not_change_are_not_made_again() -> None:
    outliner = Outliner()
    (one, two), (again,) = (
        called(ONE, TWO, answer=answered()),
        called(ONE, answer=answered(session())),
    )
    before = outliner.outline(roll_call(one, two))
    after = outliner.outline(roll_call(again, two))
    assert [old is new for old, new in zip(before[-2:], after[-2:], strict=True)] == [True, True]
    assert before[0] is not after[0]
