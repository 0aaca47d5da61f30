"""What is wrong with registries, and that setting it right leaves nothing to set right."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.audit.diff import MISSING, differences, snapshot
from registry.checks.apply import apply_fixes
from registry.checks.consistency import global_findings, pair_findings, task_findings
from registry.checks.issue import Issue, IssueKind
from registry.checks.repair import fix
from registry.schema import edits
from registry.schema.timestamps import parse_time
from tests.support.fixture_workspace import SOURCE
from tests.support.inconsistent import globals_, tasks
from tests.support.json_values import exactly, registries
from tests.support.registries import Json, agent, global_registry, task_registry

NOW = parse_time("2026-02-01T12:00:00") or 0.0

TASK, GLOBAL = Path("/w/TASK-1/AGENT_REGISTRY.json"), Path("/w/registry/GLOBAL_REGISTRY.json")


def found(task: Json, global_: Json | None = None) -> list[Issue]:
    """Everything that is found in a task's registry and a global one."""
    everything = task_findings(TASK, task)
    if global_ is not None:
        everything += pair_findings(TASK, task, GLOBAL, global_, NOW)
        everything += global_findings(GLOBAL, global_, [(TASK, task)], ["TASK-1"], now=NOW)
    return everything


def of(kind: IssueKind, findings: list[Issue]) -> list[tuple[Any, ...]]:
    return [
        (each.agent, each.field, each.found, each.fix if each.fixable else "by hand")
        for each in findings
        if each.kind is kind
    ]


# --- whatever it is -----------------------------------------------------------


@given(task=st.one_of(tasks, registries), global_=st.one_of(globals_, registries))
def test_once_set_right_nothing_is_left_to_set_right(task: Json, global_: Json) -> None:
    first = found(task, global_)
    apply_fixes(task, TASK, first)
    apply_fixes(global_, GLOBAL, first)
    assert [each for each in found(task, global_) if each.fixable] == []
    stays = [each.identity for each in first if not each.fixable]
    assert {each.place for each in found(task, global_)} >= {
        each.place
        for each in first
        if not each.fixable
        and each.kind in (IssueKind.DUPLICATE, IssueKind.LOOP, IssueKind.PARENT)
    }, stays


@given(task=st.one_of(tasks, registries), global_=st.one_of(globals_, registries))
def test_nothing_changes_but_what_a_finding_names(task: Json, global_: Json) -> None:
    findings = found(task, global_)
    for file, registry in ((TASK, task), (GLOBAL, global_)):
        before = exactly(registry)
        old = snapshot(registry)
        apply_fixes(registry, file, findings)
        named = {(each.agent, each.field) for each in findings if each.file == file}
        added = {each.agent for each in findings if each.kind is IssueKind.NOT_IN_GLOBAL}
        for change in differences("f", old, registry):
            if change.whole:
                assert change.before is MISSING and change.agent in added
            elif change.field == "agent_hierarchy":
                assert any(each.kind is IssueKind.HIERARCHY for each in findings)
            elif change.field == "tasks":
                assert any(each.kind is IssueKind.NOT_LISTED for each in findings)
            else:
                assert (change.agent, change.field) in named
        # What was there before is whole: fields are replaced, never changed inside.
        assert exactly(old) == before


@given(task=tasks, global_=globals_, other=tasks)
def test_what_is_another_finding_by_now_is_left(task: Json, global_: Json, other: Json) -> None:
    planned = [each for each in task_findings(TASK, task) if each.fixable]
    now = task_findings(TASK, other)
    before = copy.deepcopy(other)
    fixed = fix({TASK: other}, planned, now)
    same = {each.identity for each in now}
    assert all((each.identity in same) == (each in fixed.done) for each in planned)
    assert len(fixed.done) + len(fixed.left) == len(planned)
    expected = before
    apply_fixes(expected, TASK, fixed.done)
    assert exactly(other) == exactly(expected)


def test_the_real_workspace_is_healthy() -> None:
    whole = json.loads((SOURCE / "registry" / "GLOBAL_REGISTRY.json").read_text())
    file = SOURCE / "registry" / "GLOBAL_REGISTRY.json"
    pairs = []
    for path in sorted(SOURCE.glob("*/AGENT_REGISTRY.json")):
        task = json.loads(path.read_text())
        assert task_findings(path, task) == []
        assert pair_findings(path, task, file, whole, NOW) == []
        pairs.append((path, task))
    assert len(pairs) == 5
    assert global_findings(file, whole, pairs, whole["tasks"], now=NOW) == []


# --- counters -----------------------------------------------------------------


@pytest.mark.parametrize("counter", ["active_count", "completed_count", "total_spawned"])
@pytest.mark.parametrize("written", [7, -1, None, True, "1", 1.0])
def test_a_tasks_counter_that_is_off_is_counted_anew(counter: str, written: Any) -> None:
    right = task_registry(agent("a", parent="orchestrator"), agent("b", "completed"))
    task = right | {counter: written}
    assert of(IssueKind.COUNTER, found(task)) == [(None, counter, written, right[counter])]


@pytest.mark.parametrize(
    "counter", ["active_agents", "total_agents_spawned", "total_tasks", "active_tasks"]
)
def test_a_global_counter_that_is_off_is_counted_anew(counter: str) -> None:
    agents = agent("a"), agent("b", "completed")
    right = global_registry(*agents)
    assert found(task_registry(*agents), right) == []
    drifted = right | {counter: 9}
    assert of(IssueKind.COUNTER, found(task_registry(*agents), drifted)) == [
        (None, counter, 9, right[counter])
    ]
    del drifted[counter]
    assert of(IssueKind.COUNTER, found(task_registry(*agents), drifted)) == [
        (None, counter, MISSING, right[counter])
    ]


@pytest.mark.parametrize(
    ("statuses_", "active"),
    [
        (["INITIALIZED", "ACTIVE", "running"], 3),
        (["INITIALIZED", "COMPLETED", "failed"], 1),
        ([None, "INITIALIZED"], 2),
        (["INITIALIZED", "archived", "CANCELLED"], 1),
        (["INITIALIZED", "odd"], None),
    ],
)
def test_active_tasks_are_those_that_are_not_over_if_that_can_be_told(
    statuses_: list[str | None], active: int | None
) -> None:
    listed = {f"TASK-{n}": {"status": status} for n, status in enumerate(statuses_)}
    whole = global_registry(tasks=listed, total_tasks=len(listed), active_tasks=99)
    expected = [(None, "active_tasks", 99, active)] if active is not None else []
    assert of(IssueKind.COUNTER, global_findings(GLOBAL, whole, now=NOW)) == expected


def test_the_tasks_are_the_truth_for_what_the_global_counters_repeat() -> None:
    task = task_registry(agent("a", "completed"), agent("b"), agent("c"))
    whole = global_registry(agent("a", "running"), agent("b", None), active_agents=2)
    findings = found(task, whole)
    assert of(IssueKind.STATUS, findings) == [("a", "status", "running", "completed")]
    assert of(IssueKind.COUNTER, findings) == [(None, "total_agents_spawned", 2, 3)]


# --- two registries -----------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "listed", "differs"),
    [
        ("running", None, False),
        ("paused", None, False),
        ("completed", None, True),
        ("working", "running", True),
        ("completed", "completed", False),
        ("completed", 7, True),
        (None, "running", False),
    ],
)
def test_a_status_that_differs_is_the_tasks(own: str | None, listed: Any, differs: bool) -> None:
    whole = global_registry(agent("a", listed) if listed != 7 else agent("a", status=7))  # type: ignore[arg-type]
    there = MISSING if listed is None else listed
    expected = [("a", "status", there, own)] if differs else []
    assert of(IssueKind.STATUS, found(task_registry(agent("a", own)), whole)) == expected


def test_missing_globally_it_is_put_in_as_others_are_listed() -> None:
    task = task_registry(
        agent("a", "completed", parent="orchestrator", depth=1, prompt="long", completed_at="t")
    )
    (finding,) = (each for each in found(task, global_registry()) if each.agent == "a")
    assert finding.fix == {
        "task_id": "TASK-1",
        "type": "tester",
        "parent": "orchestrator",
        "tmux_session": "agent_a",
        "status": "completed",
        "completed_at": "t",
    }


def test_an_agent_that_the_task_lacks_is_nobodys_to_remove() -> None:
    whole = global_registry(agent("a"), agent("else", task_id="TASK-2"))
    whole["tasks"]["TASK-2"] = {"status": "INITIALIZED"}
    findings = pair_findings(TASK, task_registry(), GLOBAL, whole, NOW)
    assert of(IssueKind.NOT_IN_TASK, findings) == [("a", "agents", "running", "by hand")]
    assert str(TASK) in findings[0].advice
    assert len(findings) == 1


def test_an_id_that_another_task_has_there_cannot_be_put_in() -> None:
    whole = global_registry(agent("a", task_id="TASK-2"))
    findings = pair_findings(TASK, task_registry(agent("a")), GLOBAL, whole, NOW)
    assert of(IssueKind.NOT_IN_GLOBAL, findings) == [("a", "task_id", "TASK-2", "by hand")]


def test_an_unlisted_task_is_put_in_and_a_missing_one_is_said() -> None:
    task = task_registry(created_at="2025")
    whole = global_registry(agent("a", task_id="TASK-9"), total_tasks=1)
    whole["tasks"] = {"TASK-9": {"status": "INITIALIZED"}}
    findings = found(task, whole)
    entry = {"description": "a task", "created_at": "2025", "status": "INITIALIZED"}
    assert of(IssueKind.NOT_LISTED, findings) == [
        (None, "tasks[TASK-1]", MISSING, {"TASK-1": entry})
    ]
    assert of(IssueKind.TASK_MISSING, findings) == [(None, "tasks[TASK-9]", 1, "by hand")]
    assert of(IssueKind.COUNTER, findings) == [
        (None, "total_tasks", 1, 2),
        (None, "active_tasks", 1, 2),
    ]


# --- who started whom ---------------------------------------------------------


def family(hierarchy: Any, **parents_: str | None) -> Json:
    agents = (agent(name, parent=parent) for name, parent in parents_.items())
    return task_registry(*agents, agent_hierarchy=hierarchy)


@pytest.mark.parametrize(
    ("hierarchy", "after"),
    [
        ({"orchestrator": ["a"]}, {"orchestrator": ["a"], "a": ["b"]}),
        ({"orchestrator": ["a", "b"]}, {"orchestrator": ["a"], "a": ["b"]}),
        ({"orchestrator": ["a"], "a": ["b", "b"]}, {"orchestrator": ["a"], "a": ["b"]}),
        ({"orchestrator": ["a", "x"], "a": ["b"]}, {"orchestrator": ["a"], "a": ["b"]}),
        ({"b": ["a"], "a": ["b"]}, {"b": [], "a": ["b"], "orchestrator": ["a"]}),
        ({"x": ["y"], "orchestrator": ["a"], "a": ["b"]}, None),
        (
            {"orchestrator": ["a"], "a": ["b"], "b": []},
            {"orchestrator": ["a"], "a": ["b"], "b": []},
        ),
    ],
)
def test_the_hierarchy_follows_what_agents_say_of_their_parents(
    hierarchy: Json, after: Json | None
) -> None:
    task = family(hierarchy, a="orchestrator", b="a")
    apply_fixes(task, TASK, found(task))
    assert task["agent_hierarchy"] == (after or hierarchy | {"x": []})


def test_a_parent_that_is_not_there_is_said_and_nothing_is_moved() -> None:
    task = family({"orchestrator": ["a"]}, a="nobody")
    assert of(IssueKind.PARENT, found(task)) == [("a", "parent", "nobody", "by hand")]
    assert len(found(task)) == 1


def test_a_loop_is_said_once_and_nothing_is_moved() -> None:
    task = family({"orchestrator": ["a", "b", "c", "d"]}, a="c", b="a", c="b", d="d")
    assert of(IssueKind.LOOP, found(task)) == [
        ("a", "parent", ["a", "c", "b"], "by hand"),
        ("d", "parent", ["d"], "by hand"),
    ]
    assert len(found(task)) == 2


def test_a_loop_of_the_hierarchy_alone_is_one_where_nobody_says_otherwise() -> None:
    around = {"a": ["b"], "b": ["a"]}
    assert of(IssueKind.LOOP, found(family(around, a=None, b=None)))
    assert not of(IssueKind.LOOP, found(family(around, a="orchestrator", b="a")))


def test_a_hierarchy_that_is_none_is_said_and_one_that_is_missing_is_not() -> None:
    assert of(IssueKind.SHAPE, found(family([], a="orchestrator")))
    assert of(IssueKind.SHAPE, found(family({"orchestrator": ["a"], "b": "c"}, a="orchestrator")))
    assert found(family(None, a="orchestrator")) == []
    stuck = family({"orchestrator": "a"}, a="orchestrator")
    assert of(IssueKind.HIERARCHY, found(stuck)) == [("a", "agent_hierarchy", [], "by hand")]


# --- who cannot be told apart -------------------------------------------------


def test_an_id_that_is_there_twice_is_said_and_the_two_are_left_alone() -> None:
    task = task_registry(
        agent("a", "running", parent="orchestrator"), agent("a", "completed", parent="nobody")
    )
    findings = found(task, global_registry(agent("a", "blocked"), total_agents_spawned=1))
    assert of(IssueKind.DUPLICATE, findings) == [("a", "id", 2, "by hand")]
    assert {each.kind for each in findings if each.fixable} == set()


@pytest.mark.parametrize("agents", ["none", 3, [None], {"a": 1}])
def test_agents_that_cannot_be_counted_are_said_and_nothing_is_counted(agents: Any) -> None:
    task = task_registry() | {"agents": agents, "active_count": 5}
    (finding,) = found(task)
    assert (finding.kind, finding.field, finding.fixable) == (IssueKind.SHAPE, "agents", False)


@pytest.mark.parametrize("counted", [1, 2, 3])
def test_agents_that_failed_may_be_counted_as_completed(counted: int) -> None:
    task = task_registry(
        agent("done", "completed"), agent("failed", "failed"), agent("wrong", "error")
    )
    assert found(task | {"completed_count": counted}) == []


@pytest.mark.parametrize("counted", [0, 4])
def test_a_killed_agent_is_not_counted_as_completed(counted: int) -> None:
    task = task_registry(
        agent("done", "completed"),
        agent("failed", "failed"),
        agent("wrong", "error"),
        agent("killed", "terminated", terminated_at="2025-01-01T00:00:00"),
    )
    issues = of(IssueKind.COUNTER, found(task | {"completed_count": counted}))
    assert issues == [(None, "completed_count", counted, 3)]


CLEANED_UP = {"auto_cleanup_timestamp": "2025-01-01T00:00:00"}
"""A field that the orchestrator sets at each end that it counts."""


@pytest.mark.parametrize("counted", [1, 2, 3])
@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            agent("a", "terminated", terminated_at="2025-01-01T00:00:00", **CLEANED_UP),
            id="killed after its end",
        ),
        pytest.param(agent("a", "working", **CLEANED_UP), id="works again"),
        pytest.param(agent("a", "failed", **CLEANED_UP), id="failed twice"),
    ],
)
def test_each_end_that_the_orchestrator_counted_is_accepted(entry: Json, counted: int) -> None:
    task = task_registry(agent("done", "completed"), entry)
    assert found(task | {"completed_count": counted}) == []


def test_an_end_that_the_orchestrator_did_not_count_is_not_demanded() -> None:
    # The status before this report was a word that the orchestrator does not know.
    task = task_registry(agent("done", "completed", completion_validation={}))
    assert found(task | {"completed_count": 0}) == []
    assert found(task | {"completed_count": 1}) == []


def test_a_kill_after_the_end_leaves_the_count_of_ends() -> None:
    task = task_registry(agent("a", "failed", **CLEANED_UP)) | {"completed_count": 1}
    edits.set_status(task, "a", "terminated", {"terminated_at": "2025-01-01T00:00:00"})
    assert task["completed_count"] == 1


def test_a_task_of_another_workspace_is_not_counted() -> None:
    task = task_registry(agent("one"))
    global_ = global_registry(agent("one"))
    global_["tasks"]["TASK-ELSEWHERE"] = {
        "status": "INITIALIZED",
        "cross_project_reference": True,
    }
    assert of(IssueKind.COUNTER, found(task, global_)) == []


@pytest.mark.parametrize(
    ("ago", "compared"), [(0.0, False), (9.0, False), (11.0, True), (-60.0, True)]
)
def test_the_orchestrator_has_time_to_write_an_end(ago: float, compared: bool) -> None:
    ended = datetime.fromtimestamp(NOW - ago).isoformat()
    task = task_registry(agent("one", "completed", last_update=ended))
    global_ = global_registry(agent("one", "running"))
    issues = pair_findings(TASK, task, GLOBAL, global_, NOW)
    assert bool(of(IssueKind.STATUS, issues)) is compared


def test_an_agent_that_reports_between_plan_and_repair_is_still_the_same_finding() -> None:
    whole = global_registry()
    planned = pair_findings(TASK, task_registry(agent("a", last_update="1")), GLOBAL, whole, NOW)
    later = task_registry(agent("a", "blocked", last_update="2"))
    fixed = fix({GLOBAL: whole}, planned, pair_findings(TASK, later, GLOBAL, whole, NOW))
    assert fixed.left == ()
    assert (whole["agents"]["a"]["last_update"], whole["agents"]["a"]["status"]) == (
        "2",
        "blocked",
    )
