"""Making registries: whole, once, and never over what is there."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import (
    InaccessibleRegistryError,
    RegistryError,
    WrongShapeError,
    create_global_registry,
    create_task_registry,
    durable_commits,
    register_agent,
)
from registry.schema import edits
from tests.support.crowd import Crowd
from tests.support.io_counts import watching
from tests.support.limits import no_file_longer_than
from tests.support.registries import assert_counters_match, load, task_registry, write

_NEW_GLOBAL = {
    "total_tasks": 0,
    "active_tasks": 0,
    "total_agents_spawned": 0,
    "active_agents": 0,
    "max_concurrent_agents": 20,
    "tasks": {},
    "agents": {},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a workspace is to be."""
    return tmp_path / "project" / ".agent-workspace"


def _global(root: Path) -> Path:
    return root / "registry" / "GLOBAL_REGISTRY.json"


def test_a_global_registry_is_made_with_its_workspace(root: Path) -> None:
    made = create_global_registry(root)

    assert (made.path, made.new) == (_global(root), True)
    there = load(made.path)
    assert there == {"created_at": there["created_at"]} | _NEW_GLOBAL
    assert os.listdir(made.path.parent) == [made.path.name]


def test_a_task_is_made_with_directory_and_global_registry_and_is_listed(root: Path) -> None:
    made = create_task_registry(
        root, "TASK-9", "mend it", client_cwd="/src", max_agents=3, fields={"note": [1]}
    )

    assert (made.path, made.new) == (root / "TASK-9" / "AGENT_REGISTRY.json", True)
    there = load(made.path)
    assert there == {
        "task_id": "TASK-9",
        "task_description": "mend it",
        "created_at": there["created_at"],
        "workspace": str(root / "TASK-9"),
        "workspace_base": str(root),
        "client_cwd": "/src",
        "status": "INITIALIZED",
        "priority": "P2",
        "agents": [],
        "agent_hierarchy": {},
        "max_agents": 3,
        "max_depth": 5,
        "max_concurrent": 20,
        "total_spawned": 0,
        "active_count": 0,
        "completed_count": 0,
        "note": [1],
    }
    listed = load(_global(root))
    assert (listed["total_tasks"], listed["active_tasks"]) == (1, 1)
    assert listed["tasks"]["TASK-9"] == {
        "description": "mend it",
        "created_at": there["created_at"],
        "status": "INITIALIZED",
    }


def test_what_is_there_is_not_touched_and_a_task_is_counted_once(root: Path) -> None:
    task = create_task_registry(root, "TASK-9", "first").path
    register_agent(task, _global(root), "fixer")
    before = task.read_bytes(), _global(root).read_bytes()

    again = create_task_registry(root, "TASK-9", "second", max_agents=1)

    assert (again.path, again.new) == (task, False)
    assert not create_global_registry(root).new
    assert (task.read_bytes(), _global(root).read_bytes()) == before


@pytest.mark.parametrize("there", ["", "{", "[]", "\0"])
def test_what_is_there_is_not_touched_even_if_it_is_broken(root: Path, there: str) -> None:
    task = root / "TASK-9" / "AGENT_REGISTRY.json"
    task.parent.mkdir(parents=True)
    task.write_text(there)

    assert not create_task_registry(root, "TASK-9", "x").new
    assert task.read_text() == there


def test_a_task_that_was_made_and_not_listed_is_listed_by_the_next_call(root: Path) -> None:
    create_global_registry(root)
    write(root / "TASK-9" / "AGENT_REGISTRY.json", task_registry(task_id="TASK-9"))

    assert not create_task_registry(root, "TASK-9", "x").new
    assert list(load(_global(root))["tasks"]) == ["TASK-9"]


def test_a_relative_workspace_is_written_down_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = create_task_registry("w", "TASK-9", "x")

    assert load(made.path)["workspace"] == str(tmp_path / "w" / "TASK-9")


@pytest.mark.parametrize(
    "task_id", ["", ".", "..", "a/b", "../x", ".hidden", "registry", "x" * 129, "a\0b", None, 5]
)
def test_an_id_that_cannot_name_a_directory_makes_nothing(root: Path, task_id: Any) -> None:
    with pytest.raises(WrongShapeError, match="task_id"):
        create_task_registry(root, task_id, "x")
    assert not root.exists()


@pytest.mark.parametrize(
    ("fields", "error"), [({"x": object()}, TypeError), ({"agents": 5}, ValueError)]
)
def test_fields_that_make_no_registry_make_nothing(
    root: Path, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        create_task_registry(root, "TASK-9", "x", fields=fields)
    assert not root.exists()


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InaccessibleRegistryError, match="GLOBAL_REGISTRY") as caught:
        create_task_registry(tmp_path / "file", "TASK-9", "x")
    assert isinstance(caught.value, RegistryError)


def test_a_full_disk_leaves_nothing_half(root: Path) -> None:
    create_global_registry(root)
    with no_file_longer_than(100), pytest.raises(OSError):
        create_task_registry(root, "TASK-9", "x")

    assert not os.listdir(root / "TASK-9")
    assert not load(_global(root))["tasks"]


def test_a_locked_global_registry_is_a_timeout_and_is_tried_again(
    root: Path,
) -> None:
    create_global_registry(root)
    with open(_global(root), "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="GLOBAL_REGISTRY"):
            create_task_registry(root, "TASK-9", "x", timeout=0.05)

    create_task_registry(root, "TASK-9", "x")
    assert load(_global(root))["total_tasks"] == 1


@pytest.mark.parametrize(
    ("tasks", "works"), [("missing", True), (None, True), ([], False), ("x", False)]
)
def test_tasks_of_another_shape_are_an_error_unless_there_are_none(
    root: Path, tasks: object, works: bool
) -> None:
    registry = {"total_agents_spawned": 0} | ({} if tasks == "missing" else {"tasks": tasks})
    write(_global(root), registry)

    if works:
        create_task_registry(root, "TASK-9", "x")
        assert load(_global(root))["total_tasks"] == 1
    else:
        with pytest.raises(WrongShapeError, match="GLOBAL_REGISTRY"):
            create_task_registry(root, "TASK-9", "x")
        assert load(_global(root)) == registry


def test_listing_counts_a_task_once() -> None:
    registry: dict[str, Any] = {"tasks": {}, "total_tasks": 7, "active_tasks": 3}

    assert edits.list_task(registry, "a", {})
    assert not edits.list_task(registry, "a", {})
    assert (registry["total_tasks"], registry["active_tasks"]) == (8, 4)


def test_a_task_of_another_workspace_is_listed_without_being_counted() -> None:
    registry: dict[str, Any] = {"tasks": {}, "total_tasks": 7, "active_tasks": 3}
    before = {name: registry[name] for name in ("total_tasks", "active_tasks")}
    assert edits.list_task(registry, "b", {"cross_project_reference": True})
    assert {name: registry[name] for name in before} == before


def test_whoever_is_second_by_a_hair_finds_the_first_ones(root: Path) -> None:
    other: list[bool] = []
    link = os.link

    def linking(*arguments: Any, **options: Any) -> None:
        if not other:
            other.append(True)
            other.append(create_global_registry(root, max_concurrent_agents=7).new)
        link(*arguments, **options)

    with mock.patch.object(os, "link", linking):
        assert not create_global_registry(root).new

    assert other == [True, True]
    assert load(_global(root))["max_concurrent_agents"] == 7
    assert os.listdir(_global(root).parent) == ["GLOBAL_REGISTRY.json"]


def test_within_durable_commits_text_and_directories_are_flushed(root: Path) -> None:
    with durable_commits(), watching() as last_activity:
        create_global_registry(root)

    flushed = [call.path for call in last_activity if call.kind == "flush"]
    assert len(flushed) == 3
    assert flushed[1:] == [_global(root).parent, root]


def test_of_many_that_make_a_workspace_one_does_and_all_find_it(root: Path, crowd: Crowd) -> None:
    for number in range(12):
        crowd.enlist("tests.support.orchestrators", "create", root, f"TASK-{number % 3}", number)
    crowd.go()
    said = crowd.finish()

    # Each registered one agent with what it found.
    assert sum(new for new, _ in said) == 3
    listed = load(_global(root))
    assert sorted(listed["tasks"]) == ["TASK-0", "TASK-1", "TASK-2"]
    assert (listed["total_tasks"], listed["active_tasks"]) == (3, 3)
    assert sorted(listed["agents"]) == sorted(agent_id for _, agent_id in said)
    assert_counters_match(listed)
    for task_id in listed["tasks"]:
        task = load(root / task_id / "AGENT_REGISTRY.json")
        assert len(task["agents"]) == 4
        assert_counters_match(task)
        assert not [name for name in os.listdir(root / task_id) if name.endswith(".new")]
    assert json.dumps(listed)


def test_further_fields_of_both_registries_are_written(root: Path) -> None:
    created = create_task_registry(
        root, "TASK-9", "x", fields={"phases": []}, global_fields={"deliverables_count": 3}
    )
    assert load(created.path)["phases"] == []
    assert load(_global(root))["tasks"]["TASK-9"]["deliverables_count"] == 3
    with pytest.raises(ValueError, match="global_fields must not contain status"):
        create_task_registry(root, "TASK-8", "x", global_fields={"status": "DONE"})
