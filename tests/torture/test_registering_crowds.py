"""Many that register agents at once: the testing plan that the first design ended with."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry import (
    LimitReachedError,
    LockedRegistryFile,
    create_task_registry,
    register_agent,
)
from tests.support.crowd import Crowd
from tests.support.peers import POLL
from tests.support.registries import assert_counters_match, load


@pytest.fixture
def new_task(tmp_path: Path) -> tuple[Path, Path]:
    """A task without an agent, with room for many, and its global registry."""
    root = tmp_path / ".agent-workspace"
    task = create_task_registry(root, "TASK-test", "x", max_agents=500, max_concurrent=500).path
    return task, root / "registry" / "GLOBAL_REGISTRY.json"


def _assert_all_there(task: Path, global_: Path, ids: list[str]) -> None:
    in_task, in_global = load(task), load(global_)
    assert len(set(ids)) == len(ids)
    assert sorted(each["id"] for each in in_task["agents"]) == sorted(ids)
    assert sorted(in_global["agents"]) == sorted(ids)
    assert in_task["total_spawned"] == in_task["active_count"] == len(ids)
    assert in_global["total_agents_spawned"] == in_global["active_agents"] == len(ids)
    assert sorted(in_task["agent_hierarchy"]["orchestrator"]) == sorted(ids)
    assert_counters_match(in_task)
    assert_counters_match(in_global)


@pytest.mark.parametrize(("processes", "each"), [(10, 1), (10, 20)], ids=["10", "200"])
def test_agents_registered_at_once_are_there_once_and_counted(
    new_task: tuple[Path, Path], crowd: Crowd, processes: int, each: int
) -> None:
    task, global_ = new_task
    # Of one type: nothing but chance tells their ids apart.
    for _ in range(processes):
        crowd.enlist("tests.support.orchestrators", "register", task, global_, "tester", each)
    crowd.go()

    ids = [agent_id for said in crowd.finish() for agent_id in said]

    assert len(ids) == processes * each
    _assert_all_there(task, global_, ids)


def test_beside_peers_that_keep_the_lock_nothing_is_lost(
    new_task: tuple[Path, Path], crowd: Crowd
) -> None:
    task, global_ = new_task
    counted = register_agent(task, global_, "counted").agent_id
    for _ in range(4):
        crowd.enlist("tests.support.orchestrators", "register", task, global_, "tester", 10)
    for _ in range(3):
        crowd.enlist("tests.support.peers", "count", task, counted, 10, 0.02)
    crowd.go()

    ids = [each for said in crowd.finish() if isinstance(said, list) for each in said]

    in_task = load(task)
    assert sorted(each["id"] for each in in_task["agents"]) == sorted([counted, *ids])
    # A peer counts each of its updates as one more, and as progress.
    assert in_task["agents"][0]["progress"] == 30
    assert in_task["total_spawned"] == 1 + 40 + 30
    assert in_task["active_count"] == 41
    assert_counters_match(load(global_))


def test_no_limit_is_overrun_by_those_who_come_at_once(tmp_path: Path) -> None:
    root = tmp_path / ".agent-workspace"
    task = create_task_registry(root, "TASK-test", "x", max_agents=7).path
    global_ = root / "registry" / "GLOBAL_REGISTRY.json"

    def add(number: int) -> str | None:
        try:
            return register_agent(task, global_, f"tester_{number}").agent_id
        except LimitReachedError:
            return None

    with ThreadPoolExecutor(20) as threads:
        ids = [agent_id for agent_id in threads.map(add, range(20)) if agent_id]

    assert len(ids) == 7
    _assert_all_there(task, global_, ids)


def test_of_those_who_want_one_agent_of_a_type_at_once_one_makes_it(
    new_task: tuple[Path, Path],
) -> None:
    task, global_ = new_task
    with ThreadPoolExecutor(10) as threads:
        found = list(
            threads.map(lambda _: register_agent(task, global_, "only", reuse=True), range(10))
        )

    assert [each.existing for each in found].count(False) == 1
    _assert_all_there(task, global_, list({each.agent_id for each in found}))


def test_agents_added_by_threads_are_all_counted(new_task: tuple[Path, Path]) -> None:
    task, global_ = new_task
    with ThreadPoolExecutor(10) as threads:
        ids = list(
            threads.map(
                lambda number: register_agent(task, global_, f"test_{number}").agent_id, range(30)
            )
        )

    _assert_all_there(task, global_, ids)


def test_a_second_one_times_out_and_gets_the_lock_afterwards(
    new_task: tuple[Path, Path],
) -> None:
    task, global_ = new_task
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with LockedRegistryFile(task):
            held.set()
            let_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        for wait in (2 * POLL, 0):
            with pytest.raises(TimeoutError, match=f"after {wait:g}s"):
                register_agent(task, global_, "late", timeout=wait)
    finally:
        let_go.set()
        holder.join()

    found = register_agent(task, global_, "late")
    _assert_all_there(task, global_, [found.agent_id])
    assert json.loads(task.read_text())["agents"][0]["type"] == "late"
