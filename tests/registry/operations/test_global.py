"""The same operations on a workspace's global registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import (
    DuplicateAgentError,
    atomic_add_agent,
    atomic_decrement_active_count,
    atomic_increment_counts,
    atomic_mark_agents_completed,
    atomic_update_agent_status,
    validate_and_repair_registry,
)
from tests.support.registries import (
    ACTIVE,
    TERMINAL,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    is_counted,
    load,
    write,
)
from tests.support.selection import case

TASK_WORDS = {"active_count", "total_spawned", "completed_count", "agent_hierarchy"}


def test_adding_puts_the_agent_under_its_id_and_counts_it(global_: Path) -> None:
    new = {"id": "new", "task_id": "TASK-1", "parent": "busy", "tmux_session": "agent_new"}
    atomic_add_agent(global_, new, "busy")

    registry = load(global_)
    assert list(registry["agents"]) == ["busy", "done", "new"]
    assert registry["agents"]["new"] == new
    assert (registry["total_agents_spawned"], registry["active_agents"]) == (3, 2)
    assert_counters_match(registry)
    assert not TASK_WORDS & set(registry)


@pytest.mark.parametrize("status", [*ACTIVE, *TERMINAL, "paused"])
def test_an_added_agent_counts_as_active_unless_its_status_is_terminal(
    global_: Path, status: str
) -> None:
    atomic_add_agent(global_, agent("new", status), "orchestrator")
    assert load(global_)["active_agents"] == 1 + is_counted(status)


def test_an_id_that_is_there_is_refused_and_nothing_changes(global_: Path) -> None:
    before = global_.read_bytes()
    with pytest.raises(DuplicateAgentError, match="busy"):
        atomic_add_agent(global_, agent("busy"), "orchestrator")
    assert global_.read_bytes() == before


def test_an_empty_global_registry_gets_an_object_of_agents(tmp_path: Path) -> None:
    path = write(tmp_path / "g.json", {"tasks": {}})
    atomic_add_agent(path, agent("first"), "orchestrator")
    registry = load(path)
    assert registry["agents"] == {"first": agent("first")}
    assert_counters_match(registry)


def test_the_first_update_of_an_entry_without_status_counts_it_out(global_: Path) -> None:
    said = atomic_update_agent_status(global_, "busy", "completed")

    registry = load(global_)
    assert entry_of(registry, "busy")["status"] == "completed"
    assert registry["active_agents"] == 0
    assert said == {
        "success": True,
        "agent_id": "busy",
        "previous_status": None,
        "new_status": "completed",
        "active_count": 0,
        "completed_count": None,
        "total_spawned": 2,
    }
    assert not TASK_WORDS & set(registry)


def test_the_first_update_of_an_entry_without_status_may_find_it_at_work(global_: Path) -> None:
    atomic_update_agent_status(global_, "busy", "working")
    assert load(global_)["active_agents"] == 1


STATUSES = [*ACTIVE, *TERMINAL, "paused", None]


@pytest.mark.parametrize("old", STATUSES)
def test_counters_follow_every_change_of_status(tmp_path: Path, old: str | None) -> None:
    for new in filter(None, STATUSES):
        path = write(tmp_path / "g.json", global_registry(agent("one", old), agent("other")))
        with case(new):
            atomic_update_agent_status(path, "one", new)
            assert_counters_match(load(path))


def test_an_unknown_agent_is_a_value_error_and_nothing_changes(global_: Path) -> None:
    before = global_.read_bytes()
    with pytest.raises(ValueError, match="nobody"):
        atomic_update_agent_status(global_, "nobody", "completed")
    assert global_.read_bytes() == before


def test_counts_go_up_and_down_and_never_below_zero(global_: Path) -> None:
    atomic_increment_counts(global_, active=2, total=3)
    registry = load(global_)
    assert (registry["active_agents"], registry["total_agents_spawned"]) == (3, 5)
    atomic_decrement_active_count(global_, 2)
    assert load(global_)["active_agents"] == 1
    atomic_decrement_active_count(global_, 2)
    assert load(global_)["active_agents"] == 0
    assert not TASK_WORDS & set(load(global_))


def test_completing_takes_only_active_agents_and_a_second_call_returns_zero(
    global_: Path,
) -> None:
    assert atomic_mark_agents_completed(global_, ["busy", "done", "nobody"]) == 1
    registry = load(global_)
    assert entry_of(registry, "busy")["status"] == "completed"
    assert "completed_at" in entry_of(registry, "busy")
    assert "completed_at" not in entry_of(registry, "done")
    assert_counters_match(registry)

    before = global_.read_bytes()
    assert atomic_mark_agents_completed(global_, ["busy", "done", "nobody"]) == 0
    assert global_.read_bytes() == before


def test_agents_may_be_a_list_here_too(tmp_path: Path) -> None:
    path = write(tmp_path / "g.json", global_registry() | {"agents": [agent("one", None)]})
    validate_and_repair_registry(path, None)
    atomic_add_agent(path, agent("two"), "orchestrator")
    atomic_update_agent_status(path, "one", "failed")

    registry = load(path)
    assert [entry["id"] for entry in registry["agents"]] == ["one", "two"]
    assert_counters_match(registry)


def test_its_tasks_and_their_counters_are_left_alone(global_: Path) -> None:
    before = load(global_)
    atomic_add_agent(global_, agent("new"), "orchestrator")
    atomic_mark_agents_completed(global_, ["new", "busy"])
    after = load(global_)
    for field in ("created_at", "tasks", "total_tasks", "active_tasks", "max_concurrent_agents"):
        assert after[field] == before[field]
