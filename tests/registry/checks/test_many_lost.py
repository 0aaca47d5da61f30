"""Very many lost agents: the work for each is the same, however many there are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output.history import History, Trace
from registry.agent_output.listing import FoundFile
from registry.audit.diff import MISSING, snapshot
from registry.checks.apply import ReturnedAgents, apply_fixes
from registry.checks.consistency import task_findings
from registry.checks.issue import Issue, IssueKind
from registry.checks.lost import lost_findings
from registry.schema import edits
from registry.schema.counters import counter_drifts
from registry.schema.depth import Ancestors
from tests.support.inconsistent import tasks
from tests.support.json_values import exactly
from tests.support.registries import Json, agent, task_registry

TASK = Path("/w/TASK-1/AGENT_REGISTRY.json")
STARTED = "2026-02-01T10:00:00"
SHAPES = ("all below one", "chain", "chain in the registry", "wrong hierarchy")


class Id(str):
    """An id that counts how often it is compared."""

    compared = 0

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        Id.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def story(shape: str, count: int) -> tuple[Json, list[Trace]]:
    ids = [Id(f"a{number:05}") for number in range(count)]
    parents = ["orchestrator", *ids] if shape == "chain" else ["orchestrator"] * count
    task = task_registry()
    if shape == "chain in the registry":
        # The lost agents are below the members of a long chain without depths.
        chain = [Id(f"c{number:05}") for number in range(count)]
        above = [Id("nobody"), *chain]
        task = task_registry(*(agent(c, parent=p) for c, p in zip(chain, above, strict=False)))
        for entry in task["agents"]:
            entry.pop("depth", None)
        parents = list(chain)
    if shape == "wrong hierarchy":
        task = task_registry(*(agent(Id(f"w{number:05}")) for number in range(count)))
        task["agent_hierarchy"] = {"nobody": [entry["id"] for entry in task["agents"]]}
    traces = [
        Trace(
            id_,
            (FoundFile("progress", ("progress", id_), 0.0),),
            History("working", 1, STARTED, STARTED, parent),
        )
        for id_, parent in zip(ids, parents, strict=False)
    ]
    return task, traces


def work(act: Callable[[], object]) -> int:
    """The number of calls of functions, and of comparisons of ids."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    Id.compared = 0
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return calls + Id.compared


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_is_proportional_to_the_number_of_lost_agents(shape: str) -> None:
    def examined(count: int) -> int:
        task, traces = story(shape, count)

        def act() -> None:
            lost = lost_findings(TASK, task, traces, None, None, 1e9)
            assert len([issue for issue in lost if issue.fixable]) == count
            apply_fixes(snapshot(task), TASK, task_findings(TASK, task, lost=lost))

        return work(act)

    few, many = examined(100), examined(400)
    assert many < 6 * few, (few, many)


# One at a time, as it was done before.


def put_back(task: Json, entry: Mapping[str, Any]) -> None:
    wrong = {drift.counter for drift in counter_drifts(task)}
    kept = {name: task.get(name, MISSING) for name in wrong}
    edits.add_agent(task, dict(entry), entry["parent"])
    for name, value in kept.items():
        if value is MISSING:
            task.pop(name, None)
        else:
            task[name] = value


@given(tasks, st.lists(st.sampled_from(["working", "completed", "failed", "killed"])))
def test_many_are_put_back_as_one_after_the_other(task: Json, statuses: list[str]) -> None:
    entries = [
        {"id": f"new-{number}", "parent": "orchestrator", "status": status}
        for number, status in enumerate(statuses)
    ]
    singly, together = (snapshot(task) for _ in range(2))
    for each in (singly, together):
        if isinstance(each.get("agent_hierarchy"), dict):
            each["agent_hierarchy"] = {
                parent: list(children) if isinstance(children, list) else children
                for parent, children in each["agent_hierarchy"].items()
            }
    before = exactly(task)
    returned = ReturnedAgents(together)
    for entry in entries:
        try:
            put_back(singly, entry)
        except Exception as error:
            with pytest.raises(type(error)):
                returned.add(entry)
        else:
            returned.add(entry)
    assert exactly(singly) == exactly(together)
    assert exactly(task) == before


ids = st.sampled_from("abcdefgh")
parents_ = st.dictionaries(ids, st.tuples(ids, st.sampled_from([None, 0, 2, 7])))


@given(parents_, st.lists(st.tuples(ids, ids, st.sampled_from([None, 3]))))
def test_ancestors_that_are_remembered_are_as_they_are_now(
    present: dict[str, tuple[str, int | None]], more: list[tuple[str, str, int | None]]
) -> None:
    by_id = {id_: {"parent": parent, "depth": depth} for id_, (parent, depth) in present.items()}
    remembered = Ancestors(by_id)
    for id_, parent, depth in more:
        for each in "abcdefgh":
            fresh = Ancestors(dict(by_id))
            assert remembered.depth_below(each) == fresh.depth_below(each) == depth_of(by_id, each)
            assert remembered.missing_above(each) == fresh.missing_above(each)
        if id_ not in by_id and remembered.missing_above(parent) != id_ != parent:
            by_id[id_] = {"parent": parent, "depth": depth}
            remembered.forget(id_)


def depth_of(by_id: Mapping[str, Json], parent: str) -> int:
    depth, above, seen = 1, parent, set[str]()
    while above in by_id and above not in seen:
        stated = by_id[above]["depth"]
        if stated:
            return depth + int(stated)
        seen.add(above)
        depth, above = depth + 1, by_id[above]["parent"]
    return depth


def test_a_child_that_moves_to_a_list_that_also_changes_is_listed_once() -> None:
    task = task_registry(agent("a", parent="b"), agent("b", parent="a2"), agent("a2"))
    task["agent_hierarchy"] = {"a2": ["a", "a", "b", "b"], "b": ["x"]}
    issues: list[Issue] = task_findings(TASK, task)
    apply_fixes(task, TASK, issues)
    assert not [i for i in task_findings(TASK, task) if i.kind is IssueKind.HIERARCHY]
    assert task["agent_hierarchy"] == {"a2": ["b"], "b": ["a"]}
