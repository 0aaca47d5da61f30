"""What a caller may get wrong, or what may interrupt it: no write is lost, no lock stays."""

from __future__ import annotations

import fcntl
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from registry import (
    LockedRegistryFile,
    LostLockError,
    WrongShapeError,
    atomic_add_agent,
    atomic_decrement_active_count,
    atomic_increment_counts,
    atomic_mark_agents_completed,
    atomic_update_agent_status,
    clean_up_task,
    clean_up_workspace,
    find_existing_agent,
    finish_agents,
    register_agent,
    registry_health_check,
    report_progress,
    validate_and_repair_registry,
    verify_agent_id_unique,
)
from registry.storage import flock
from tests.support.kept_journals import without_kept
from tests.support.locks import is_free
from tests.support.registries import (
    agent,
    entry_of,
    global_registry,
    load,
    rewrite,
    task_registry,
    write,
)

# --- interruptions ------------------------------------------------------------


@pytest.mark.parametrize("call", range(1, 9))
def test_an_interruption_at_any_write_puts_back_what_was_there(
    task: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before = task.read_bytes()
    real, calls = os.pwrite, iter(range(1, 100))

    def interrupted(fd: int, data: bytes, offset: int) -> int:
        written = real(fd, data, offset)
        if next(calls) == call:
            raise KeyboardInterrupt
        return written

    monkeypatch.setattr(os, "pwrite", interrupted)
    try:
        atomic_add_agent(task, agent("late"), "orchestrator")
        done = True
    except KeyboardInterrupt:
        done = False
    monkeypatch.undo()

    # The seventh write says that the commit is over; it is made then, whoever is told.
    assert done == (call > 7)
    if call >= 7:
        assert load(task)["agents"][-1]["id"] == "late"
    else:
        assert task.read_bytes() == before
    there = {each: each.read_bytes() for each in task.parent.iterdir()}
    assert without_kept(there).keys() == {task}
    assert is_free(task)


def test_a_lock_that_nobody_refers_to_any_more_is_let_go(task: Path) -> None:
    LockedRegistryFile(task).__enter__()
    assert is_free(task)
    assert flock.acquire(task, 0).fd >= 0
    assert is_free(task)


# --- threads, generators and forks ---------------------------------------------


def test_a_block_that_another_thread_ends_is_written_and_let_go(task: Path) -> None:
    def change() -> Iterator[None]:
        with LockedRegistryFile(task) as (registry, file):
            yield
            rewrite(file, registry | {"status": "DONE"})

    block = change()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, block).result()
        assert not is_free(task)
    next(block, None)
    assert load(task)["status"] == "DONE"
    assert is_free(task)


def test_a_child_forked_at_any_moment_keeps_no_lock(task: Path) -> None:
    stop = threading.Event()

    def hold_again_and_again() -> None:
        while not stop.is_set():
            with LockedRegistryFile(task):
                pass

    holder = threading.Thread(target=hold_again_and_again)
    holder.start()
    children = []
    reading, writing = os.pipe()
    try:
        for _ in range(60):
            child = os.fork()
            if child == 0:
                os.close(writing)
                os.read(reading, 1)  # Until the parent is through.
                os._exit(0)
            children.append(child)
        stop.set()
        holder.join()
        assert is_free(task)
    finally:
        stop.set()
        os.close(writing)
        os.close(reading)
        for child in children:
            os.waitpid(child, 0)


def test_written_after_a_lock_was_released_by_hand_it_stays(
    task: Path,
) -> None:
    with (
        pytest.raises(LostLockError, match="cannot write"),
        LockedRegistryFile(task) as (registry, file),
    ):
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
        atomic_increment_counts(task, total=5)
        rewrite(file, registry | {"status": "DONE"})
    assert load(task)["total_spawned"] == 7
    assert load(task)["status"] != "DONE"


# --- arguments ----------------------------------------------------------------


LONE_STRINGS: dict[str, Callable[[Path], Any]] = {
    "complete": lambda path: atomic_mark_agents_completed(path, "busy"),
    "finish": lambda path: finish_agents(path, None, "busy", status="completed"),
    "repair": lambda path: validate_and_repair_registry(path, "agent_busy"),
    "check": lambda path: registry_health_check(path, "agent_busy"),
    "find": lambda path: find_existing_agent("TASK-1", "a", load(path), "running"),
}


@pytest.mark.parametrize("use", LONE_STRINGS.values(), ids=LONE_STRINGS)
def test_a_lone_string_is_no_collection(task: Path, use: Callable[[Path], Any]) -> None:
    before = task.read_bytes()
    with pytest.raises(TypeError, match="not the string"):
        use(task)
    assert task.read_bytes() == before


def test_ids_may_come_from_a_generator(tmp_path: Path) -> None:
    task = write(tmp_path / "T" / "AGENT_REGISTRY.json", task_registry(agent("a"), agent("b")))
    listed = (agent("a", None), agent("b", None))
    everything = write(tmp_path / "registry" / "GLOBAL_REGISTRY.json", global_registry(*listed))
    report = finish_agents(task, everything, (each for each in "ab"), status="completed")
    assert {change.agent_id for change in report.changed} == {"a", "b"}
    assert load(task)["active_count"] == load(everything)["active_agents"] == 0


def test_an_agent_of_the_same_id_in_another_task_is_left_alone(tmp_path: Path) -> None:
    task = write(tmp_path / "T" / "AGENT_REGISTRY.json", task_registry())
    listed = agent("a", "working", task_id="TASK-other")
    everything = write(tmp_path / "registry" / "GLOBAL_REGISTRY.json", global_registry(listed))
    before = everything.read_bytes()
    finish_agents(task, everything, ["a"], status="terminated")
    assert everything.read_bytes() == before


WRONG: dict[str, Callable[[Path], Any]] = {
    "parent that is no string": lambda path: atomic_add_agent(path, agent("n"), 5),  # type: ignore[arg-type]
    "keys that become the same": lambda path: atomic_update_agent_status(
        path, "busy", "working", tags={1: "a", "1": "b"}
    ),
    "what JSON cannot say": lambda path: atomic_add_agent(
        path, agent("n") | {"when": object()}, "orchestrator"
    ),
    "a status that is no string": lambda path: atomic_update_agent_status(path, "busy", None),  # type: ignore[arg-type]
    "half an agent": lambda path: atomic_increment_counts(path, active=1.5),  # type: ignore[arg-type]
    "less than nothing": lambda path: atomic_decrement_active_count(path, -5),
}


@pytest.mark.parametrize("use", WRONG.values(), ids=WRONG)
def test_what_could_not_be_read_again_is_refused_before_it_is_written(
    task: Path, use: Callable[[Path], Any]
) -> None:
    before = task.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        use(task)
    assert task.read_bytes() == before
    assert is_free(task)


def test_a_session_is_known_by_the_name_that_tmux_gives_it(tmp_path: Path) -> None:
    dotted = agent("gpt-4.1_x")
    assert dotted["tmux_session"] == "agent_gpt-4.1_x"
    path = write(tmp_path / "AGENT_REGISTRY.json", task_registry(dotted))
    report = registry_health_check(path, ["agent_gpt-4_1_x"])
    assert (report.zombies, report.orphans) == ((), ())
    assert validate_and_repair_registry(path, ["agent_gpt-4_1_x"]) == ()


def test_an_id_that_is_a_key_already_is_not_unique() -> None:
    assert not verify_agent_id_unique("k", {"agents": {"k": None}}, {})
    assert verify_agent_id_unique("l", {"agents": {"k": None}}, {})


# --- locks of one's own ---------------------------------------------------------


def test_an_operation_within_ones_own_lock_is_refused_at_once(task: Path) -> None:
    with LockedRegistryFile(task):
        with pytest.raises(TimeoutError, match="this thread already holds the lock"):
            atomic_increment_counts(task, total=1)
        with pytest.raises(TimeoutError, match="this thread already holds the lock"):
            report_progress(task, None, "busy", progress=5)
    atomic_increment_counts(task, total=1)


def test_one_file_given_twice_is_refused_at_once(task: Path, tmp_path: Path) -> None:
    # A second name by way of a directory above the workspace.
    linked = tmp_path / "linked"
    linked.symlink_to(task.parent.parent)
    other = linked / task.parent.name / task.name
    report = report_progress(task, other, "busy", progress=5)
    assert "this thread already holds the lock" in " ".join(report.problems)


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "removed"])
def test_a_registry_that_was_replaced_under_its_lock_is_not_acknowledged(
    task: Path, tmp_path: Path, gone: bool
) -> None:
    new = write(tmp_path / "new.json", load(task) | {"status": "REPLACED"})
    with (
        pytest.raises(LostLockError, match="was replaced or removed meanwhile"),
        LockedRegistryFile(task) as (registry, file),
    ):
        rewrite(file, registry | {"status": "DONE"})
        task.unlink() if gone else os.replace(new, task)
    assert gone or load(task)["status"] == "REPLACED"


# --- registries taken for others --------------------------------------------------


def test_a_global_registry_is_not_taken_for_a_tasks(task: Path, global_: Path) -> None:
    before = task.read_bytes(), global_.read_bytes()
    with pytest.raises(WrongShapeError, match=r"GLOBAL_REGISTRY.*this is a global registry"):
        register_agent(global_, task, "fixer")
    with pytest.raises(WrongShapeError, match=r"GLOBAL_REGISTRY.*this is a global registry"):
        report_progress(global_, task, "busy", progress=5)
    assert (task.read_bytes(), global_.read_bytes()) == before
    assert not (global_.parent / "progress").exists()


@pytest.mark.parametrize("text", ["{}", '{"agents": {}}', '{"task_id": "TASK-2", "agents": []}'])
def test_what_is_no_global_registry_is_left_out_and_named(
    task: Path, global_: Path, text: str
) -> None:
    global_.write_text(text)
    found = register_agent(task, global_, "fixer")
    assert str(global_) in " ".join(found.problems)
    assert global_.read_text() == text
    assert found.agent_id in [each["id"] for each in load(task)["agents"]]


# --- arguments that are something else --------------------------------------------


@pytest.mark.parametrize("sessions", [[b"agent_busy"], [5], b"agent_busy"])
def test_sessions_that_are_no_strings_end_nobody(task: Path, global_: Path, sessions: Any) -> None:
    before = task.read_bytes(), global_.read_bytes()
    for clean_up in (
        lambda: clean_up_task(task, global_, sessions, grace=-1),
        lambda: clean_up_workspace(task.parent.parent, sessions, grace=-1),
        lambda: validate_and_repair_registry(task, sessions),
        lambda: registry_health_check(task, sessions),
        lambda: finish_agents(task, global_, sessions, status="completed"),
    ):
        with pytest.raises(TypeError, match="must"):
            clean_up()
    assert (task.read_bytes(), global_.read_bytes()) == before


@pytest.mark.parametrize("grace", [math.nan, math.inf, "5", True])
def test_a_grace_that_is_no_number_ends_nobody(task: Path, global_: Path, grace: Any) -> None:
    with pytest.raises(WrongShapeError, match="grace"):
        clean_up_task(task, global_, [], grace=grace)
    with pytest.raises(WrongShapeError, match="grace"):
        validate_and_repair_registry(task, [], grace=grace)
    with pytest.raises(WrongShapeError, match="grace"):
        registry_health_check(task, [], grace=grace)
    assert entry_of(load(task), "busy")["status"] == "running"


def test_nobody_can_be_called_orchestrator(task: Path, global_: Path) -> None:
    before = task.read_bytes(), global_.read_bytes()
    with pytest.raises(WrongShapeError, match="orchestrator"):
        register_agent(task, global_, "fixer", agent_id="orchestrator")
    with pytest.raises(WrongShapeError, match="orchestrator"):
        atomic_add_agent(task, {"id": "orchestrator"}, "orchestrator")
    assert (task.read_bytes(), global_.read_bytes()) == before


@pytest.mark.parametrize(
    "given", [{"agent_type": None}, {"prompt": None}, {"fields": [1]}, {"fields": "s"}]
)
def test_what_cannot_be_part_of_an_agent_is_refused_and_named(
    task: Path, global_: Path, given: dict[str, Any]
) -> None:
    before = task.read_bytes(), global_.read_bytes()
    (name,) = given
    with pytest.raises((TypeError, WrongShapeError), match=name.removeprefix("agent_")):
        register_agent(task, global_, **({"agent_type": "fixer"} | given))
    assert (task.read_bytes(), global_.read_bytes()) == before
