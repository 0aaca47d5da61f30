"""The roll: who is on it, in what order; and the orphans beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.records import AgentRecord, TaskRecord
from registry.schema.session_names import all_spellings
from tests.support.rolls import (
    NOW,
    POLICY,
    agent,
    answered,
    any_task,
    asked_twice,
    called,
    cannot_tell,
    no_server,
    session,
    task_record,
    task_state,
)
from tui.host.tmux_types import TmuxSnapshot
from tui.model.call import call_task
from tui.model.orphans import find_orphans
from tui.model.roll import AgentRow, TaskState


def rows_of(record: TaskRecord) -> tuple[AgentRow, ...]:
    (roll,) = called(task_state(record=record), answer=answered())
    return roll.agents


# --- the tree -----------------------------------------------------------------


@given(any_task)
def test_every_agent_is_on_the_roll_exactly_once(record: TaskRecord) -> None:
    rows = rows_of(record)
    assert Counter(id(row.record) for row in rows) == Counter(id(each) for each in record.agents)


@given(any_task)
def test_every_agent_has_a_key_of_its_own(record: TaskRecord) -> None:
    keys = [row.key for row in rows_of(record)]
    assert len(set(keys)) == len(record.agents)


def parent_rows(rows: tuple[AgentRow, ...]) -> list[int | None]:
    """The parent of each row as its level says: the last row that is one level higher."""
    found: list[int | None] = []
    path: list[int] = []
    for index, row in enumerate(rows):
        assert row.level <= len(path), "a level was skipped"
        del path[row.level :]
        found.append(path[-1] if path else None)
        path.append(index)
    return found


def named_parent(record: TaskRecord, child: AgentRecord) -> AgentRecord | None:
    """The agent that a child's `parent`, or else the hierarchy, names."""
    first: dict[str, AgentRecord] = {}
    for each in record.agents:
        first.setdefault(each.id, each)
    if child.parent and child.parent in first:
        return first[child.parent]
    listing = [
        first[parent]
        for parent, children in record.hierarchy.items()
        if child.id in children and parent in first
    ]
    return listing[-1] if listing else None


def hangs_in_loop(record: TaskRecord, start: AgentRecord) -> bool:
    seen = [start]
    while (above := named_parent(record, seen[-1])) is not None:
        if above is start:
            return True
        if any(above is each for each in seen):
            return False
        seen.append(above)
    return False


@given(any_task)
def test_parents_come_before_their_children_one_level_above_them(record: TaskRecord) -> None:
    rows = rows_of(record)
    for row, above in zip(rows, parent_rows(rows), strict=True):
        wanted = named_parent(record, row.record)
        if above is not None:
            assert rows[above].record is wanted
        elif wanted is not None:
            assert hangs_in_loop(record, row.record), "only a loop may be cut open"


@given(any_task)
def test_children_are_counted(record: TaskRecord) -> None:
    rows = rows_of(record)
    beneath = Counter(parent_rows(rows))
    assert [row.children for row in rows] == [beneath[index] for index in range(len(rows))]


def levels(*agents: AgentRecord, hierarchy: Mapping[str, tuple[str, ...]] | None = None) -> object:
    return [(row.key.id, row.level) for row in rows_of(task_record(agents, hierarchy))]


def test_an_agents_own_parent_goes_before_the_hierarchy() -> None:
    tree = levels(
        agent("a"), agent("b"), agent("c", parent="a"), hierarchy={"b": ("c",), "a": ("b",)}
    )
    assert tree == [("a", 0), ("b", 1), ("c", 1)]


def test_the_hierarchy_helps_where_the_parent_is_missing_or_nobody() -> None:
    tree = levels(
        agent("a"),
        agent("b", parent=None),
        agent("c", parent="nobody"),
        hierarchy={"a": ("b", "c")},
    )
    assert tree == [("a", 0), ("b", 1), ("c", 1)]


def test_who_names_itself_as_its_parent_stands_at_the_top() -> None:
    assert levels(agent("a", parent="a"), agent("b", parent="a")) == [("a", 0), ("b", 1)]


def test_a_loop_is_cut_open_in_one_place() -> None:
    tree = levels(
        agent("under", parent="b"),
        agent("a", parent="c"),
        agent("b", parent="a"),
        agent("c", parent="b"),
    )
    assert tree == [("a", 0), ("b", 1), ("under", 2), ("c", 2)]


def test_ten_thousand_agents_in_one_line_do_not_overflow() -> None:
    chain = [agent("0")] + [agent(str(n), parent=str(n - 1)) for n in range(1, 10_000)]
    rows = rows_of(task_record(chain))
    assert [row.level for row in rows] == list(range(10_000))


# --- anew -----------------------------------------------------------------------

_edits = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "id": st.sampled_from("abf"),
                    "status": st.sampled_from(["running", "completed", "paused"]),
                    "parent": st.one_of(st.none(), st.sampled_from("abc")),
                    "progress": st.just(77.0),
                    "started": st.just(NOW - 1),
                },
            ),
        ),
    ),
    max_size=4,
)


def edited(record: TaskRecord, edits: list[tuple[int, dict[str, Any] | None]]) -> TaskRecord:
    """A registry after some changes: agents that changed, moved to the end or came."""
    # Equal, but read anew.
    agents = [replace(each) for each in record.agents]
    for index, change in edits:
        if index >= len(agents):
            agents.append(agent("a" if change is None else "new"))
        elif change is None:
            agents.append(agents.pop(index))
        else:
            agents[index] = replace(agents[index], **change)
    return replace(record, agents=tuple(agents))


@given(any_task, _edits, st.booleans(), st.sets(st.sampled_from("abcde")))
def test_what_is_called_anew_is_what_would_be_called_without_a_before(
    record: TaskRecord,
    edits: list[tuple[int, dict[str, Any] | None]],
    readable: bool,
    there: set[str],
) -> None:
    before = task_state(record=record)
    state = task_state(
        record=edited(record, edits), error=None if readable else "it cannot be read"
    )
    answer = answered(*(session(f"agent_{each}", number=ord(each)) for each in there))
    evidence = asked_twice([before, state], answer)
    known = call_task(before, evidence, POLICY, NOW)
    anew = call_task(state, evidence, POLICY, NOW, before=known)
    assert anew == call_task(state, evidence, POLICY, NOW)


def test_who_did_not_change_keeps_its_row() -> None:
    agents = [agent("a"), agent("b"), agent("c", parent="a"), agent("d", "completed")]
    before = task_state(*agents)
    answer = answered(session("agent_a"), session("agent_b", number=2))
    evidence = asked_twice([before], answer)
    known = call_task(before, evidence, POLICY, NOW)
    changed = task_state(*(replace(each) for each in agents[:3]), agent("d", "failed"))
    anew = call_task(changed, evidence, POLICY, NOW, before=known)
    kept = [row.key.id for row in anew.agents if any(row is each for each in known.agents)]
    assert kept == ["a", "c", "b"]


# --- orphans ------------------------------------------------------------------

OLD_ENOUGH = session("agent_lost", number=2, created=NOW - POLICY.orphan_grace)


def orphans(*states: TaskState, answer: TmuxSnapshot, listed: tuple[str, ...] = ()) -> list[str]:
    found = find_orphans(states, [all_spellings(listed)], answer, POLICY, NOW)
    return ["nobody can tell"] if found is None else [each.name for each in found]


def test_a_session_named_like_an_agents_that_no_registry_has_is_an_orphan() -> None:
    assert orphans(task_state(agent()), answer=answered(session(), OLD_ENOUGH)) == ["agent_lost"]


def test_orphans_come_in_the_order_of_their_names() -> None:
    made = [session(f"agent_{letter}", number=n) for n, letter in enumerate("cab")]
    assert orphans(answer=answered(*made)) == ["agent_a", "agent_b", "agent_c"]


@pytest.mark.parametrize("name", ["main", "agents", "my_agent_x", "Agent_x", "agent"])
def test_other_sessions_are_nobodys_business(name: str) -> None:
    assert orphans(answer=answered(session(name))) == []


def test_a_session_is_no_orphan_before_its_agent_can_have_been_written_down() -> None:
    young = session("agent_lost", created=NOW - POLICY.orphan_grace + 1)
    assert orphans(answer=answered(young)) == []


def test_no_orphan_is_what_a_registry_may_have_listed_since() -> None:
    there = answered(session("agent_lost", created=NOW - 60))
    grace = POLICY.orphan_grace
    assert find_orphans([], (), there, POLICY, NOW - 60 + grace - 1) == ()
    assert find_orphans([], (), there, POLICY, NOW - 60 + grace) != ()


@pytest.mark.parametrize("status", ["running", "completed", "paused"])
def test_a_session_of_any_agent_of_a_registry_is_no_orphan(status: str) -> None:
    assert orphans(task_state(agent("lost", status)), answer=answered(OLD_ENOUGH)) == []
    nameless = task_state(agent("lost", status, session=None))
    assert orphans(nameless, answer=answered(OLD_ENOUGH)) == []


def test_a_session_that_only_the_global_registry_lists_is_no_orphan() -> None:
    assert orphans(answer=answered(OLD_ENOUGH), listed=("agent_lost",)) == []
    dotted = answered(session("agent_lost_1"))
    assert orphans(answer=dotted, listed=("agent_lost.1",)) == []


def test_nothing_is_an_orphan_while_a_registry_was_never_read() -> None:
    unread = task_state(name="TASK-2", readable=False, error="is empty")
    assert orphans(task_state(), unread, answer=answered(OLD_ENOUGH)) == ["nobody can tell"]


def test_a_registry_that_cannot_be_read_now_still_accounts_for_its_sessions() -> None:
    was_read = task_state(agent("lost"), error="is empty")
    assert orphans(was_read, answer=answered(OLD_ENOUGH)) == []


def test_no_orphans_while_an_agents_session_has_an_unknown_name() -> None:
    odd = task_state(agent("odd", session="agent_#{pid}"))
    assert orphans(odd, answer=answered(OLD_ENOUGH)) == ["nobody can tell"]


def test_nothing_is_an_orphan_without_an_answer() -> None:
    assert orphans(answer=cannot_tell()) == []
    assert orphans(answer=no_server()) == []
