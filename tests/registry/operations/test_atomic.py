"""Each atomic operation on a task's registry."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from registry import (
    AgentNotFoundError,
    DuplicateAgentError,
    WrongShapeError,
    atomic_add_agent,
    atomic_decrement_active_count,
    atomic_increment_counts,
    atomic_mark_agents_completed,
    atomic_update_agent_status,
)
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    agent,
    assert_counters_match,
    entry_of,
    is_counted,
    load,
    task_registry,
    write,
)
from tests.support.selection import case


def is_now(stamp: Any) -> bool:
    return abs((datetime.now() - datetime.fromisoformat(stamp)).total_seconds()) < 60


# --- adding


def test_adding_appends_counts_and_files_under_the_parent(task: Path) -> None:
    new = agent("new", depth=2, prompt="é\ud800", tracked_files={"a": [1, None]})
    atomic_add_agent(task, new, "busy")

    registry = load(task)
    assert registry["agents"][-1] == new
    assert [each["id"] for each in registry["agents"]] == ["busy", "done", "new"]
    assert registry["agent_hierarchy"] == {"orchestrator": ["busy", "done"], "busy": ["new"]}
    assert (registry["total_spawned"], registry["active_count"]) == (3, 2)
    assert_counters_match(registry)


@pytest.mark.parametrize("status", [*ACTIVE, *TERMINAL, "paused", "", None])
def test_an_added_agent_counts_as_active_unless_its_status_is_terminal(
    task: Path, status: str | None
) -> None:
    atomic_add_agent(task, agent("new", status), "orchestrator")

    registry = load(task)
    assert registry["active_count"] == 1 + is_counted(status)
    assert registry["total_spawned"] == 3


def test_an_agent_that_is_added_completed_is_counted_so(task: Path) -> None:
    atomic_add_agent(task, agent("new", "completed"), "orchestrator")
    assert_counters_match(load(task))


@pytest.mark.parametrize("present", ["busy", "done"])
def test_an_id_that_is_there_is_refused_and_nothing_changes(task: Path, present: str) -> None:
    before = task.read_bytes()
    with pytest.raises(DuplicateAgentError, match=present) as caught:
        atomic_add_agent(task, agent(present), "someone else")

    assert isinstance(caught.value, ValueError)
    assert task.read_bytes() == before


@pytest.mark.parametrize("held", [None, 5, {"id": "another"}, {"status": "running"}])
def test_an_id_that_is_a_key_already_is_refused_whatever_it_holds(
    tmp_path: Path, held: object
) -> None:
    path = write(tmp_path / "r.json", task_registry() | {"agents": {"taken": held}})
    before = path.read_bytes()
    with pytest.raises(DuplicateAgentError):
        atomic_add_agent(path, agent("taken"), "orchestrator")
    assert path.read_bytes() == before


@pytest.mark.parametrize("nameless", [{}, {"id": ""}, {"id": None}, {"id": 5}])
def test_an_agent_without_an_id_is_refused(task: Path, nameless: dict[str, Any]) -> None:
    before = task.read_bytes()
    with pytest.raises(WrongShapeError, match="id"):
        atomic_add_agent(task, nameless, "orchestrator")
    assert task.read_bytes() == before


@pytest.mark.parametrize(
    "misshapen",
    [
        {"agents": "none yet"},
        {"agents": 0},
        {"agent_hierarchy": []},
        {"agent_hierarchy": {"orchestrator": "busy"}},
    ],
)
def test_a_registry_that_cannot_take_an_agent_is_left_alone(
    task: Path, misshapen: dict[str, Any]
) -> None:
    write(task, load(task) | misshapen)
    before = task.read_bytes()
    with pytest.raises(WrongShapeError, match=next(iter(misshapen))):
        atomic_add_agent(task, agent("new"), "orchestrator")
    assert task.read_bytes() == before


@pytest.mark.parametrize("bare", [{}, {"agents": None, "agent_hierarchy": None}])
def test_a_bare_registry_gets_what_is_missing(tmp_path: Path, bare: dict[str, Any]) -> None:
    path = write(tmp_path / "r.json", bare)
    atomic_add_agent(path, agent("first"), "orchestrator")

    registry = load(path)
    assert registry["agents"] == [agent("first")]
    assert registry["agent_hierarchy"] == {"orchestrator": ["first"]}
    assert (registry["total_spawned"], registry["active_count"]) == (1, 1)


def test_an_object_of_agents_takes_an_agent_under_its_id(tmp_path: Path) -> None:
    keyed = {"old": {"status": "running"}}
    path = write(tmp_path / "r.json", task_registry(agent("old")) | {"agents": keyed})
    atomic_add_agent(path, agent("new"), "old")

    registry = load(path)
    assert list(registry["agents"]) == ["old", "new"]
    assert registry["agent_hierarchy"]["old"] == ["new"]
    assert_counters_match(registry)


def test_what_json_has_no_word_for_is_refused_and_nothing_changes(task: Path) -> None:
    before = task.read_bytes()
    with pytest.raises(TypeError):
        atomic_add_agent(task, agent("new", started_at=datetime.now()), "orchestrator")
    assert task.read_bytes() == before


def test_adding_says_so(task: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        atomic_add_agent(task, agent("new"), "orchestrator")
    assert any(each.startswith("Atomically added agent new") for each in caplog.messages)
    assert f"Registry locked and loaded: {task}" in caplog.messages


@pytest.mark.parametrize("foreign", ["tasks", "active_agents", "total_agents_spawned"])
def test_a_field_of_the_global_registry_does_not_make_a_task_one(task: Path, foreign: str) -> None:
    write(task, load(task) | {foreign: 9})
    atomic_add_agent(task, agent("new"), "busy")
    atomic_update_agent_status(task, "busy", "completed")
    registry = load(task)
    assert registry.pop(foreign) == 9
    assert registry["agent_hierarchy"]["busy"] == ["new"]
    assert_counters_match(registry)


# --- status


def test_an_update_sets_status_time_and_further_fields_and_says_what_it_did(task: Path) -> None:
    said = atomic_update_agent_status(task, "busy", "blocked", progress=40, blocked_by="done")

    entry = entry_of(load(task), "busy")
    assert (entry["status"], entry["progress"], entry["blocked_by"]) == ("blocked", 40, "done")
    assert is_now(entry["last_update"])
    assert said == {
        "success": True,
        "agent_id": "busy",
        "previous_status": "running",
        "new_status": "blocked",
        "active_count": 1,
        "completed_count": 1,
        "total_spawned": 2,
    }


def test_an_update_may_bring_its_own_time(task: Path) -> None:
    atomic_update_agent_status(task, "busy", "working", last_update="2025-01-01T00:00:00")
    assert entry_of(load(task), "busy")["last_update"] == "2025-01-01T00:00:00"


def test_an_unknown_agent_is_a_value_error_and_nothing_changes(task: Path) -> None:
    before = task.read_bytes()
    with pytest.raises(ValueError, match="nobody") as caught:
        atomic_update_agent_status(task, "nobody", "completed")

    assert isinstance(caught.value, AgentNotFoundError)
    assert str(task) in str(caught.value)
    assert task.read_bytes() == before


def test_an_update_cannot_change_the_id(task: Path) -> None:
    before = task.read_bytes()
    with pytest.raises(ValueError, match="id"):
        atomic_update_agent_status(task, "busy", "running", id="another")
    assert task.read_bytes() == before


STATUSES = [*ACTIVE, *TERMINAL, "paused", None]


@pytest.mark.parametrize("old", STATUSES)
def test_counters_follow_every_change_of_status(tmp_path: Path, old: str | None) -> None:
    for new in filter(None, STATUSES):
        agents = (agent("one", old), agent("other", "working"))
        path = write(tmp_path / "r.json", task_registry(*agents))
        with case(new):
            said = atomic_update_agent_status(path, "one", new)
            registry = load(path)
            assert_counters_match(registry)
            assert said["previous_status"] == old
            assert said["active_count"] == registry["active_count"] == 1 + is_counted(new)
            assert said["completed_count"] == registry["completed_count"] == (new == "completed")


def test_an_id_that_is_there_twice_is_changed_in_both_places(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", task_registry(agent("twin"), agent("twin", "working")))
    atomic_update_agent_status(path, "twin", "completed")

    registry = load(path)
    assert [each["status"] for each in registry["agents"]] == ["completed"] * 2
    assert_counters_match(registry)


@pytest.mark.parametrize("junk", [None, "3", 2.0, True, [], {}])
def test_a_counter_that_is_no_number_is_counted_anew(task: Path, junk: object) -> None:
    names = ("active_count", "completed_count", "total_spawned")
    write(task, load(task) | dict.fromkeys(names, junk))
    atomic_add_agent(task, agent("new"), "orchestrator")
    atomic_update_agent_status(task, "busy", "completed")
    assert_counters_match(load(task))


# --- counters


def test_counts_go_up_by_what_was_asked(task: Path) -> None:
    atomic_increment_counts(task, active=2, total=3)
    registry = load(task)
    assert (registry["active_count"], registry["total_spawned"]) == (3, 5)
    assert registry["completed_count"] == 1


def test_counting_nothing_writes_nothing(task: Path) -> None:
    before = task.stat().st_mtime_ns
    atomic_increment_counts(task)
    assert task.stat().st_mtime_ns == before


def test_the_active_count_goes_down_by_what_was_asked_and_never_below_zero(task: Path) -> None:
    atomic_increment_counts(task, active=4)
    seen = []
    for amount in (1, 3, 1, 100):
        atomic_decrement_active_count(task, amount)
        seen.append(load(task)["active_count"])
    assert seen == [4, 1, 0, 0]
    assert load(task)["total_spawned"] == 2


def test_the_active_count_goes_down_by_one_unless_told_otherwise(task: Path) -> None:
    atomic_decrement_active_count(task)
    assert load(task)["active_count"] == 0


def test_no_count_goes_below_zero_by_a_negative_increment(task: Path) -> None:
    atomic_increment_counts(task, active=-10, total=-10)
    registry = load(task)
    assert (registry["active_count"], registry["total_spawned"]) == (0, 0)


# --- completing in bulk


def test_completing_takes_only_active_agents_and_a_second_call_returns_zero(
    tmp_path: Path,
) -> None:
    others = [agent(f"is {status}", status) for status in (*TERMINAL, "paused", None)]
    path = write(tmp_path / "r.json", task_registry(*map(agent, ACTIVE, ACTIVE), *others))
    ids = [*ACTIVE, *(each["id"] for each in others), "nobody"]

    assert atomic_mark_agents_completed(path, ids) == 3
    registry = load(path)
    for name in ACTIVE:
        assert entry_of(registry, name)["status"] == "completed"
        assert is_now(entry_of(registry, name)["completed_at"])
    assert [each for each in registry["agents"] if each["id"] not in ACTIVE] == others
    assert_counters_match(registry)

    before = path.read_bytes()
    assert atomic_mark_agents_completed(path, ids) == 0
    assert path.read_bytes() == before


def test_completing_nobody_writes_nothing(task: Path) -> None:
    before = task.stat().st_mtime_ns
    assert atomic_mark_agents_completed(task, []) == 0
    assert task.stat().st_mtime_ns == before


def test_completing_leaves_agents_that_were_not_named(task: Path) -> None:
    atomic_add_agent(task, agent("other"), "orchestrator")
    assert atomic_mark_agents_completed(task, ["other", "other"]) == 1
    assert entry_of(load(task), "busy")["status"] == "running"
    assert_counters_match(load(task))
