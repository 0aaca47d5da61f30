"""Many threads and many processes at once on one registry."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry import (
    BusyRegistryError,
    CorruptRegistryError,
    LockedRegistryFile,
    atomic_add_agent,
    atomic_update_agent_status,
)
from registry.schema.statuses import is_active
from registry.snapshots import read_task
from tests.support.crowd import Crowd
from tests.support.registries import (
    agent,
    assert_counters_match,
    global_registry,
    load,
    rewrite,
    task_registry,
    write,
)


def _assert_all_there(path: Path, wanted: int) -> None:
    registry = load(path)
    ids = [each["id"] for each in registry["agents"]]
    assert sorted(ids) == sorted(f"test_agent_{number}" for number in range(wanted))
    assert registry["total_spawned"] == wanted
    assert registry["active_count"] == wanted
    assert sorted(registry["agent_hierarchy"]["orchestrator"]) == sorted(ids)


@pytest.mark.parametrize("adders", [10, 50])
def test_threads_that_add_at_once_lose_no_agent(empty_task: Path, adders: int) -> None:
    together = threading.Barrier(adders)

    def add(number: int) -> None:
        together.wait()
        atomic_add_agent(
            empty_task,
            {"id": f"test_agent_{number}", "type": "test", "status": "running"},
            "orchestrator",
        )

    with ThreadPoolExecutor(adders) as pool:
        list(pool.map(add, range(adders)))

    _assert_all_there(empty_task, adders)


@pytest.mark.parametrize("adders", [10, pytest.param(50, marks=pytest.mark.torture)])
def test_processes_that_add_at_once_lose_no_agent(
    empty_task: Path, crowd: Crowd, adders: int
) -> None:
    for number in range(adders):
        crowd.enlist("tests.support.workers", "add", empty_task, f"test_agent_{number}")
    crowd.go()
    crowd.finish()

    _assert_all_there(empty_task, adders)


def test_of_many_that_add_one_id_at_once_exactly_one_succeeds(empty_task: Path) -> None:
    together = threading.Barrier(8)

    def add(_: int) -> bool:
        together.wait()
        try:
            atomic_add_agent(empty_task, {"id": "wanted", "status": "running"}, "orchestrator")
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 1

    registry = load(empty_task)
    assert [each["id"] for each in registry["agents"]] == ["wanted"]
    assert_counters_match(registry)


def test_counters_match_after_any_mix_of_operations_from_many_processes(
    tmp_path: Path, crowd: Crowd
) -> None:
    first = [agent(f"agent-{number}") for number in range(4)]
    task = write(tmp_path / "AGENT_REGISTRY.json", task_registry(*first))
    global_ = write(tmp_path / "GLOBAL_REGISTRY.json", global_registry(*first))

    for seed in range(5):
        crowd.enlist("tests.support.workers", "mix", task, seed, 80, global_)
    crowd.go()
    added = crowd.finish()

    registry = load(task)
    assert registry["total_spawned"] == len(first) + sum(added)
    ids = [each["id"] for each in registry["agents"]]
    assert len(set(ids)) == len(ids)
    assert_counters_match(registry)
    assert_counters_match(load(global_))


def test_counters_match_at_every_moment_that_anybody_can_see(tmp_path: Path, crowd: Crowd) -> None:
    first = [agent(f"agent-{number}") for number in range(4)]
    task = write(tmp_path / "AGENT_REGISTRY.json", task_registry(*first))

    workers = [crowd.enlist("tests.support.workers", "mix", task, seed, 150) for seed in range(2)]
    crowd.go()
    seen = set()
    while any(worker.process.poll() is None for worker in workers):
        try:
            record = read_task(task).record
        except (BusyRegistryError, CorruptRegistryError):
            continue  # Written all the time, and said so: nothing wrong was shown.
        active = sum(is_active(each.meaning) for each in record.agents)
        completed = sum(each.status == "completed" for each in record.agents)
        assert (record.active_count, record.completed_count) == (active, completed)
        assert record.total_spawned == len(record.agents)
        seen.add((active, completed, record.total_spawned))
    crowd.finish()

    assert len(seen) > 2


def test_one_object_serves_many_threads_and_still_excludes(empty_task: Path) -> None:
    shared = LockedRegistryFile(empty_task, timeout=30)
    inside = threading.Semaphore(1)

    def count(_: int) -> None:
        for _ in range(10):
            with shared as (registry, file):
                assert inside.acquire(blocking=False), "two threads held the lock at once"
                registry["total_spawned"] += 1
                rewrite(file, registry)
                inside.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))

    assert load(empty_task)["total_spawned"] == 80


def test_threads_that_change_one_agent_each_see_what_the_others_did(empty_task: Path) -> None:
    atomic_add_agent(empty_task, {"id": "shared", "status": "running"}, "orchestrator")

    def update(number: int) -> None:
        atomic_update_agent_status(empty_task, "shared", "working", **{f"by_{number}": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(update, range(40)))

    (entry,) = load(empty_task)["agents"]
    assert {entry[f"by_{number}"] for number in range(40)} == set(range(40))
