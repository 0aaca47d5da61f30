"""What is different between two roll calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema import UnreadDatabase
from tests.support.harm import NASTY, harmful
from tests.support.rolls import (
    WORKSPACE,
    agent,
    answered,
    called,
    cannot_tell,
    roll_call,
    session,
    task_record,
    task_state,
)
from tui.cli.format_changes import change_json, change_words
from tui.host.tmux_types import TmuxSnapshot
from tui.model.evidence import Evidence
from tui.model.roll import RollCall
from tui.text.sanitize import as_json_line
from tui.view.diff import AgentChange, Change, OrphanChange, RegistryChange, TmuxChange
from tui.view.diff import differences as all_differences
from tui.view.filter import Filter, agent_fields, orphan_fields, parse

THERE = answered(session("agent_a-1"))


def roll_of(*agents: Any, answer: TmuxSnapshot = THERE, error: str | None = None) -> RollCall:
    state = task_state(*agents, error=error)
    return roll_call(*called(state, answer=answer), answer=answer)


def differences(before: RollCall, after: RollCall, query: str = "") -> list[Change]:
    return list(all_differences(before, after, parse(query)))


BEFORE = roll_of(agent("a-1"))


def test_nothing_changed_is_no_change() -> None:
    assert differences(BEFORE, BEFORE) == []
    assert differences(BEFORE, roll_of(agent("a-1"))) == []


def test_an_agent_changes_its_verdict_its_status_and_its_progress() -> None:
    (change,) = differences(BEFORE, roll_of(agent("a-1", "completed", progress=100.0)))
    assert isinstance(change, AgentChange)
    assert (change.event, change.task) == ("agent-changed", "TASK-1")
    assert change.changed == {
        "verdict": ("live", "leaked"),
        "status": ("running", "completed"),
        "progress": (40.0, 100.0),
    }
    assert "a-1 (TASK-1): verdict live → leaked, status running → completed" in change_words(
        change
    )


def test_agents_come_and_go() -> None:
    two = roll_of(agent("a-1"), agent("b-2", "failed"))
    (came,) = differences(BEFORE, two)
    (went,) = differences(two, BEFORE)
    assert [(c.event, c.row.key.id) for c in (came, went) if isinstance(c, AgentChange)] == [
        ("agent-came", "b-2"),
        ("agent-went", "b-2"),
    ]
    assert change_words(came) == "b-2 (TASK-1): came: failed, failed"


def test_entries_with_the_same_id_are_distinguished() -> None:
    one = roll_of(agent("a-1"), agent("a-1", "failed"))
    (change,) = differences(one, roll_of(agent("a-1"), agent("a-1", "completed")))
    assert change_json(change)["ordinal"] == 1


def test_orphans_come_and_go_and_another_of_the_name_is_another() -> None:
    first, second = session("agent_lost"), session("agent_lost", number=2)
    with_first, with_second = replace(BEFORE, orphans=(first,)), replace(BEFORE, orphans=(second,))
    assert [each.event for each in differences(BEFORE, with_first)] == ["orphan-came"]
    assert [each.event for each in differences(with_first, with_second)] == [
        "orphan-went",
        "orphan-came",
    ]


def test_a_tmux_that_can_no_longer_be_queried_is_reported_first() -> None:
    changes = differences(BEFORE, roll_of(agent("a-1"), answer=cannot_tell()))
    assert changes[0] == TmuxChange(THERE.state, cannot_tell().state, "Permission denied")
    assert [each.event for each in changes[1:]] == ["agent-changed"]


def test_a_registry_becomes_unreadable_and_readable_again() -> None:
    broken = roll_of(agent("a-1"), error="is empty")
    (change,) = differences(BEFORE, broken)
    assert isinstance(change, RegistryChange)
    assert (change.event, change.error) == ("registry-unreadable", "is empty")
    (change,) = differences(broken, BEFORE)
    assert (change.event, change_json(change)["error"]) == ("registry-readable", None)
    assert "can be read again" in change_words(change)
    assert [each.event for each in differences(broken, roll_call())] == [
        "registry-gone",
        "agent-went",
    ]


def test_a_database_that_cannot_be_read_is_one_change_for_all_its_tasks() -> None:
    database = UnreadDatabase(WORKSPACE / "registry" / "state.sqlite3", "is a FIFO")
    (workspace,) = BEFORE.workspaces
    (task,) = workspace.tasks
    state = replace(task.state, error="state.sqlite3: is a FIFO", database=database)
    workspace = replace(
        workspace,
        tasks=(replace(task, state=state),),
        error="state.sqlite3: is a FIFO",
        database=database,
    )
    broken = replace(BEFORE, workspaces=(workspace,))
    (change,) = differences(BEFORE, broken)
    assert isinstance(change, RegistryChange)
    assert (change.path, change.error) == (database.path, "is a FIFO")
    (change,) = differences(broken, BEFORE)
    assert isinstance(change, RegistryChange) and change.path == database.path
    # Another error of the task is its own.
    other = replace(state, error="is empty")
    workspace = replace(workspace, tasks=(replace(task, state=other),))
    (change,) = differences(broken, replace(broken, workspaces=(workspace,)))
    assert isinstance(change, RegistryChange)
    assert (change.path, change.error) == (task.state.registry, "is empty")


@pytest.mark.parametrize(
    ("query", "events"),
    [
        ("verdict:live", ["agent-changed"]),
        ("verdict:leaked", ["agent-changed"]),
        ("verdict:zombie", []),
        ("id:b", []),
    ],
)
def test_a_change_is_reported_if_the_agent_matches_before_or_after(
    query: str, events: list[str]
) -> None:
    after = roll_of(agent("a-1", "completed"))
    assert [each.event for each in differences(BEFORE, after, query)] == events


def test_a_filter_leaves_tmux_and_registries_in() -> None:
    changes = differences(BEFORE, roll_of(answer=cannot_tell(), error="is empty"), "id:nobody")
    assert [each.event for each in changes] == ["tmux-changed", "registry-unreadable"]


# By a model: whoever applies the changes to what was has what is.

Told = dict[tuple[Any, ...], Any]


def told(roll: RollCall, wanted: Filter) -> Told:
    """What somebody knows who was told everything of a roll."""
    found: Told = {("tmux",): (roll.answer.state.value, roll.answer.detail)}
    for workspace in roll.workspaces:
        if workspace.error is not None:
            found["registry", str(workspace.path)] = workspace.error
    for task in roll.tasks():
        if task.state.error is not None:
            found["registry", str(task.state.registry)] = task.state.error
        for row in task.agents:
            if wanted.matches(agent_fields(row, task)):
                known = (row.verdict.value, row.record.status, row.record.progress)
                found["agent", str(row.key.registry), row.key.id, row.key.ordinal] = known
    for each in roll.orphans:
        if wanted.matches(orphan_fields(each)):
            found["orphan", each.name, each.created] = True
    return found


def apply(known: Told, change: Change) -> None:
    said = change_json(change)
    key: tuple[Any, ...]
    match change:
        case AgentChange(event):
            key = ("agent", said["registry"], said["agent"], said["ordinal"])
            if event == "agent-went":
                del known[key]
            else:
                assert (key in known) == (event == "agent-changed")
                now = (said["verdict"], said["status"], said["progress"])
                was = known.get(key, (None, None, None))
                names = ("verdict", "status", "progress")
                for name, old, new in zip(names, was, now, strict=True):
                    assert (event, said["changed"].get(name, [old, old])[0]) == (event, old)
                    assert event == "agent-came" or (name in said["changed"]) == (old != new)
                known[key] = now
        case OrphanChange(event):
            key = ("orphan", said["session"], said["created"])
            if event == "orphan-went":
                del known[key]
            else:
                known[key] = True
        case TmuxChange():
            known[("tmux",)] = (said["state"], said["detail"])
        case RegistryChange(event):
            if event == "registry-unreadable":
                known["registry", said["registry"]] = said["error"]
            else:
                del known["registry", said["registry"]]


AGENTS = st.lists(
    st.builds(
        agent,
        st.sampled_from(["a-1", "b", "c", ""]),
        st.sampled_from(["running", "completed", "odd", ""]),
        progress=st.sampled_from([None, 0.0, 40.0]),
    ),
    max_size=6,
)


@st.composite
def rolls(draw: st.DrawFn) -> RollCall:
    answer = draw(st.sampled_from([THERE, answered(), cannot_tell()]))
    states = [
        task_state(
            record=task_record(draw(AGENTS), task_id=name),
            name=name,
            error=draw(st.sampled_from([None, None, "is empty", "is no JSON"])),
        )
        for name in draw(st.sets(st.sampled_from(["T-1", "T-2", "T-3"])))
    ]
    orphans = draw(
        st.sets(st.sampled_from([(1, "agent_o1"), (2, "agent_o2"), (2, "agent_renamed")]))
    )
    return roll_call(
        *called(*states, answer=answer),
        orphans=tuple(session(name, number=number) for number, name in sorted(orphans)),
        answer=answer,
        error=draw(st.sampled_from([None, "no list"])),
    )


@given(rolls(), rolls())
def test_whoever_applies_the_changes_to_what_was_has_what_is(
    before: RollCall, after: RollCall
) -> None:
    known = told(before, Filter())
    for change in differences(before, after):
        apply(known, change)
    assert known == told(after, Filter())


@given(rolls(), rolls(), st.sampled_from(["id:a", "verdict:zombie,orphan", "-status:running"]))
def test_with_a_filter_only_changes_of_matching_agents_are_reported(
    before: RollCall, after: RollCall, query: str
) -> None:
    wanted = parse(query)
    meant = told(before, wanted).keys() | told(after, wanted).keys()
    expected = []
    for change in differences(before, after):
        said = change_json(change)
        match change:
            case AgentChange():
                if ("agent", said["registry"], said["agent"], said["ordinal"]) not in meant:
                    continue
            case OrphanChange():
                if ("orphan", said["session"], said["created"]) not in meant:
                    continue
        expected.append(change)
    assert differences(before, after, query) == expected


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_acts_on_a_terminal_is_printed(text: str) -> None:
    hostile = roll_of(replace(agent(text, text), type=text), error=text)
    evidence = Evidence(replace(THERE, detail=text))
    hostile = replace(hostile, orphans=(session(text),), evidence=evidence)
    for before, after in ((BEFORE, hostile), (hostile, BEFORE), (hostile, roll_call())):
        for change in differences(before, after):
            assert not harmful(change_words(change))
            assert not harmful(as_json_line(change_json(change)))
