"""Agents that have files but that no registry lists: what is found, and what puts them back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output.history import History, Trace
from registry.agent_output.listing import FoundFile
from registry.audit.diff import snapshot
from registry.checks.apply import apply_fixes
from registry.checks.consistency import (
    global_findings,
    pair_findings,
    task_findings,
    with_lost,
)
from registry.checks.issue import Issue, IssueKind
from registry.checks.lost import REGISTERED_WITHIN, lost_findings
from registry.checks.repair import fix
from registry.schema.counters import counter_drifts
from registry.schema.records import agent_entries
from registry.schema.timestamps import parse_time
from tests.support.inconsistent import globals_, tasks
from tests.support.json_values import exactly, registries, statuses
from tests.support.registries import Json, agent, global_registry, task_registry

NOW = parse_time("2026-02-01T12:00:00") or 0.0
TASK, GLOBAL = Path("/w/TASK-1/AGENT_REGISTRY.json"), Path("/w/registry/GLOBAL_REGISTRY.json")
STARTED = "2026-02-01T10:00:00"
ID = "code_fixer-215911-8c90c7"


COMPLETED = History("completed", 100, STARTED, STARTED)


def trace(
    agent_id: str = ID,
    history: History | None = COMPLETED,
    kinds: Sequence[str] = ("progress",),
    age: float = 3600,
) -> Trace:
    """The files of an agent as they are found in the task's directory."""
    files = tuple(FoundFile(kind, (kind, agent_id), NOW - age) for kind in kinds)
    return Trace(agent_id, files, history)


def lost(task: Json, *traces: Trace, global_: Json | None = None) -> list[Issue]:
    file = GLOBAL if global_ is not None else None
    return lost_findings(TASK, task, traces, file, global_, NOW)


histories = st.builds(
    lambda status, parent: History(status, 40, STARTED, STARTED, parent),
    statuses.filter(bool),
    st.sampled_from(["orchestrator", "a", "b", "x", "y", "z", "nobody", None]),
)
traces_ = st.dictionaries(
    st.sampled_from(["a", "x", "y", "z"]), st.one_of(st.none(), histories)
).map(lambda found: [trace(id_, history) for id_, history in found.items()])


def everything(task: Json, global_: Json, traces: Sequence[Trace]) -> list[Issue]:
    """All issues of both registries, as the doctor finds them."""
    missing = lost_findings(TASK, task, traces, GLOBAL, global_, NOW)
    found = task_findings(TASK, task, lost=missing)
    found += pair_findings(TASK, task, GLOBAL, global_, NOW, lost=missing)
    pairs = [(TASK, with_lost(TASK, task, missing))]
    return found + global_findings(GLOBAL, global_, pairs, ["TASK-1"], now=NOW)


@given(st.one_of(tasks, registries), st.one_of(globals_, registries), traces_)
def test_once_put_back_nothing_is_left_to_put_back(
    task: Json, global_: Json, traces: list[Trace]
) -> None:
    before = exactly(task), exactly(global_)
    first = everything(task, global_, traces)
    assert (exactly(task), exactly(global_)) == before
    for file, registry in ((TASK, task), (GLOBAL, global_)):
        apply_fixes(registry, file, first)
    assert [issue for issue in everything(task, global_, traces) if issue.fixable] == []
    put_back = {issue.agent for issue in first if issue.kind is IssueKind.LOST and issue.fixable}
    assert put_back <= {id_ for id_, _ in agent_entries(task)}
    assert not put_back & {
        issue.agent
        for issue in everything(task, global_, traces)
        if issue.kind in (IssueKind.LOOP, IssueKind.PARENT)
    }


@given(tasks, traces_)
def test_counters_that_were_right_are_right_and_others_stay(
    task: Json, traces: list[Trace]
) -> None:
    found = lost(task, *traces)
    wrong = {drift.counter: drift.written for drift in counter_drifts(task)}
    old = snapshot(task)
    apply_fixes(task, TASK, found)
    for drift in counter_drifts(task):
        assert drift.written == wrong[drift.counter]
    assert task["agents"][: len(old["agents"])] == old["agents"]


def test_an_entry_says_what_the_files_prove() -> None:
    history = History("working", 40, STARTED, "2026-02-01T10:05:00", "boss")
    task = task_registry(agent("boss", depth=2))
    (issue,) = lost(task, trace(history=history), global_=global_registry(agent("boss")))
    assert issue.fixable
    assert issue.fix == {
        "id": ID,
        "type": "code_fixer",
        "tmux_session": f"agent_{ID}",
        "parent": "boss",
        "depth": 3,
        "status": "working",
        "started_at": STARTED,
        "progress": 40,
        "last_update": "2026-02-01T10:05:00",
    }


def test_what_the_files_do_not_prove_is_not_written() -> None:
    (issue,) = lost(task_registry(), trace("own-name", History()))
    assert issue.fix == {
        "id": "own-name",
        "type": "own-name",
        "parent": "orchestrator",
        "depth": 1,
        "status": "running",
    }


def test_the_hierarchy_proves_a_parent_that_no_file_names() -> None:
    task = task_registry(agent("boss"), agent_hierarchy={"orchestrator": ["boss"], "boss": [ID]})
    (issue,) = lost(task, trace())
    assert issue.fix["parent"] == "boss"
    assert task_findings(TASK, task, lost=[issue]) == [issue]


def test_a_parent_that_is_lost_too_is_put_back_first() -> None:
    child = trace("a", History("working", parent="z"))
    parent = trace("z", History("working"))
    task = task_registry()
    found = lost(task, child, parent)
    assert [(issue.agent, issue.fix["depth"]) for issue in found] == [("a", 2), ("z", 1)]
    apply_fixes(task, TASK, found)
    assert task["agent_hierarchy"] == {"z": ["a"], "orchestrator": ["z"]}
    assert task_findings(TASK, task) == []


@pytest.mark.parametrize(
    ("parents", "why"),
    [
        ({"a": "nobody"}, "nobody is not in the registry"),
        ({"a": "b", "b": "a"}, "b is not in the registry"),
        ({"a": "child"}, "both parent and descendant of the agent"),
    ],
)
def test_without_its_parent_an_agent_is_not_put_back(parents: dict[str, str], why: str) -> None:
    task = task_registry(agent("child", parent="a"))
    found = lost(
        task, *(trace(id_, History("working", parent=above)) for id_, above in parents.items())
    )
    assert [issue.fixable for issue in found] == [False] * len(parents)
    assert why in found[0].advice


@pytest.mark.parametrize(
    ("kinds", "advice"),
    [
        (("prompt",), "its deployment failed or was withdrawn"),
        (("findings",), "no line of the agent's files"),
    ],
)
def test_files_that_prove_nothing_put_no_agent_back(kinds: tuple[str, ...], advice: str) -> None:
    (issue,) = lost(task_registry(), trace(history=None, kinds=kinds))
    assert not issue.fixable and advice in issue.advice
    assert issue.found == [f"{kinds[0]}/{ID}"]


def test_an_agent_that_only_the_global_registry_lists_keeps_its_entry() -> None:
    task = task_registry(agent("boss"))
    listed = agent(ID, None, parent="boss", started_at="2026-02-01T09:00:00", tmux_session="own")
    whole = global_registry(agent("boss"), listed)
    found = everything(task, whole, [trace()])
    assert [issue.kind for issue in found] == [IssueKind.LOST, IssueKind.STATUS, IssueKind.COUNTER]
    for file, registry in ((TASK, task), (GLOBAL, whole)):
        apply_fixes(registry, file, found)
    back = task["agents"][1]
    assert (back["type"], back["parent"], back["tmux_session"]) == ("tester", "boss", "own")
    assert (back["started_at"], back["status"]) == ("2026-02-01T09:00:00", "completed")
    assert whole["agents"][ID]["status"] == "completed"
    # Without proof it is still unknown whether it worked.
    unproven = everything(task_registry(), whole, [trace(history=None)])
    assert IssueKind.LOST not in {issue.kind for issue in unproven}
    assert IssueKind.NOT_IN_TASK in {issue.kind for issue in unproven}


def test_an_agent_that_any_registry_lists_is_not_lost() -> None:
    assert lost(task_registry(agent(ID)), trace()) == []
    elsewhere = global_registry(agent(ID, task_id="TASK-2"))
    assert lost(task_registry(), trace(), global_=elsewhere) == []


def test_an_agent_of_another_task_is_not_put_back() -> None:
    other = Path("/w/TASK-2/AGENT_REGISTRY.json")
    (issue,) = lost_findings(
        TASK, task_registry(), [trace()], GLOBAL, global_registry(), NOW, others={ID: other}
    )
    assert not issue.fixable and str(other) in issue.advice


def test_without_the_global_registry_no_agent_is_put_back() -> None:
    for global_ in (None, {"agents": 5, "tasks": {}}):
        (issue,) = lost_findings(TASK, task_registry(), [trace()], GLOBAL, global_, NOW)
        assert not issue.fixable and str(GLOBAL) in issue.advice


def test_an_agent_may_still_be_registered_a_minute_after_its_start() -> None:
    fresh = History("working", 1, "2026-02-01T11:59:30")
    assert lost(task_registry(), trace(history=fresh, age=1)) == []
    assert lost(task_registry(), trace(history=None, kinds=["prompt"], age=30)) == []
    assert lost(task_registry(), trace(history=fresh, age=REGISTERED_WITHIN + 1)) != []
    # It reports every second, but it started long ago.
    assert lost(task_registry(), trace(age=1)) != []
    # A time in the future says that a clock is wrong, and nothing about the agent.
    assert lost(task_registry(), trace(age=-3600)) != []


def test_what_it_reported_since_the_plan_is_written() -> None:
    planned = lost(task_registry(), trace(history=History("working", 40, STARTED, STARTED)))
    task = task_registry()
    later = lost(task, trace(history=History("completed", 100, STARTED, "2026-02-01T10:09:00")))
    fixed = fix({TASK: task}, planned, later)
    assert fixed.done == tuple(later)
    assert task["agents"][0]["status"] == "completed"
    assert task["completed_count"] == 1


def test_an_agent_that_was_listed_since_the_plan_is_left() -> None:
    planned = lost(task_registry(), trace())
    task = task_registry(agent(ID, "working"))
    before = exactly(task)
    fixed = fix({TASK: task}, planned, lost(task, trace()))
    assert fixed.done == () and "no longer exists" in fixed.left[0][1]
    assert exactly(task) == before
