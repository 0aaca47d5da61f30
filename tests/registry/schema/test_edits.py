"""The pure changes: over any sequence of them, counters equal what they count."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from registry import AgentNotFoundError, DuplicateAgentError, RegistryError
from registry.schema import edits
from registry.schema.counters import counter_drifts
from registry.schema.records import counts_as_active
from tests.support.json_values import exactly, ids, registries, statuses
from tests.support.registries import (
    ACTIVE,
    agent,
    assert_counters_match,
    global_registry,
    task_registry,
)

Model = dict[str, str | None]


class AnySequenceOfChanges(RuleBasedStateMachine):
    """A registry beside a model that knows but ids and statuses."""

    registry: dict[str, Any]
    model: Model

    @initialize(
        whole=st.booleans(),
        keyed=st.booleans(),
        first=st.dictionaries(ids, st.one_of(statuses, st.none())),
    )
    def begin(self, whole: bool, keyed: bool, first: Model) -> None:
        agents = [agent(name, status) for name, status in first.items()]
        self.registry = (global_registry if whole else task_registry)(*agents)
        if keyed != whole:
            entries = {each["id"]: each for each in agents}
            self.registry["agents"] = entries if keyed else agents
        self.model = dict(first)

    def _is_active(self, status: str | None) -> bool:
        return status in ACTIVE or (status is None and "tasks" in self.registry)

    @rule(name=ids, status=st.one_of(statuses, st.none()), parent=ids)
    def add(self, name: str, status: str | None, parent: str) -> None:
        if name in self.model:
            before = exactly(self.registry)
            with pytest.raises(DuplicateAgentError):
                edits.add_agent(self.registry, agent(name, status), parent)
            assert exactly(self.registry) == before
            return
        edits.add_agent(self.registry, agent(name, status), parent)
        self.model[name] = status
        if "agent_hierarchy" in self.registry:
            assert self.registry["agent_hierarchy"][parent][-1] == name

    @rule(name=ids, status=statuses)
    def set_status(self, name: str, status: str) -> None:
        if name not in self.model:
            with pytest.raises(AgentNotFoundError):
                edits.set_status(self.registry, name, status, {})
            return
        change = edits.set_status(self.registry, name, status, {"progress": 1})
        assert (change.previous, change.status) == (self.model[name], status)
        self.model[name] = status

    @rule(names=st.lists(ids), status=st.sampled_from(["completed", "terminated"]))
    def finish(self, names: list[str], status: str) -> None:
        done = edits.finish(self.registry, names, status, {})
        expected = {
            name: old for name, old in self.model.items() if name in names and self._is_active(old)
        }
        assert {change.agent_id: change.previous for change in done} == expected
        self.model.update(dict.fromkeys(expected, status))

    @invariant()
    def counters_equal_what_they_count(self) -> None:
        assert_counters_match(self.registry)

    @invariant()
    def every_agent_is_there_once_with_its_status(self) -> None:
        agents = self.registry["agents"]
        if isinstance(agents, dict):
            found = [(name, entry.get("status")) for name, entry in agents.items()]
        else:
            found = [(entry["id"], entry.get("status")) for entry in agents]
        assert dict(found) == self.model
        assert len(found) == len(self.model)


AnySequenceOfChanges.TestCase.settings = settings(stateful_step_count=30)
TestAnySequenceOfChanges = AnySequenceOfChanges.TestCase


@given(registry=registries, name=ids, status=statuses)
def test_on_any_object_a_change_is_made_or_refused_with_nothing_changed(
    registry: dict[str, Any], name: str, status: str
) -> None:
    for change in (
        lambda target: edits.add_agent(target, agent(name, status), "a"),
        lambda target: edits.set_status(target, name, status, {"progress": 1}),
        lambda target: edits.finish(target, [name], "completed", {}),
        lambda target: edits.shift_counters(target, active=-1, total=1),
    ):
        target = copy.deepcopy(registry)
        try:
            change(target)
        except RegistryError:
            assert exactly(target) == exactly(registry)


def test_a_hierarchy_that_is_missing_is_not_put_in_when_agents_are_misshapen() -> None:
    registry: dict[str, Any] = {"agents": "none yet"}
    with pytest.raises(RegistryError):
        edits.add_agent(registry, agent("new"), "orchestrator")
    assert registry == {"agents": "none yet"}


def test_the_agents_own_data_is_not_shared_with_the_registry() -> None:
    registry, given_ = task_registry(), agent("one")
    edits.add_agent(registry, given_, "orchestrator")
    edits.set_status(registry, "one", "completed", {})
    assert given_ == agent("one")


def test_a_counter_never_goes_below_zero_even_where_it_was_off() -> None:
    registry = task_registry(agent("one"), agent("two")) | {"active_count": 1}
    edits.finish(registry, ["one", "two"], "terminated", {})
    assert registry["active_count"] == 0


@pytest.mark.parametrize(("counter", "left"), [(2, 1), (1, 1), (5, 4), (0, 0)])
def test_an_agent_with_an_unknown_status_leaves_the_counter_as_it_was_counted(
    counter: int, left: int
) -> None:
    """The orchestrator counts it when it deploys it, and its own repair leaves it out."""
    registry = task_registry(agent("odd", "brewing"), agent("one"), active_count=counter)

    def end_of(id_: str | None, _: object) -> edits.End | None:
        return ("terminated", {}) if id_ == "odd" else None

    (change,) = edits.finish_each(registry, end_of, counts_as_active)

    assert (change.previous, change.status) == ("brewing", "terminated")
    assert registry["active_count"] == left


@pytest.mark.parametrize(("counter", "right"), [(1, True), (2, True), (0, False), (3, False)])
def test_a_counter_may_include_an_agent_with_an_unknown_status(counter: int, right: bool) -> None:
    registry = task_registry(agent("odd", "brewing"), agent("one"), active_count=counter)
    drifts = [(each.counter, each.counted) for each in counter_drifts(registry)]
    assert drifts == ([] if right else [("active_count", 2)])


def test_children_are_listed_once() -> None:
    registry = task_registry() | {"agent_hierarchy": {"orchestrator": ["one"]}}
    edits.add_agent(registry, agent("one"), "orchestrator")
    assert registry["agent_hierarchy"] == {"orchestrator": ["one"]}
