"""A peer without the lock replaces or writes a registry just before a commit: once more."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from registry import (
    Audit,
    AuditContext,
    LostLockError,
    create_task_registry,
    finish_agents,
    report_progress,
)
from registry.audit.entries import State
from registry.audit.log import log_of, read_log
from registry.storage import flock, locked_file
from tests.support import peers
from tests.support.everyone import WRITERS, Use
from tests.support.registries import agent, global_registry, load, task_registry, write

OPERATIONS = {name: use for name, use in WRITERS.items() if name != "LockedRegistryFile"}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    # An agent that is not counted, and whose session is gone: every operation has something to do.
    registry = task_registry(agent("busy"), agent("other"), active_count=7)
    return write(tmp_path / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json", registry)


@pytest.fixture
def global_(task: Path) -> Path:
    path = task.parent.parent / "registry" / "GLOBAL_REGISTRY.json"
    return write(path, global_registry(agent("busy"), agent("other")))


def replaced(path: Path, registry: dict[str, Any]) -> None:
    os.replace(write(path.with_name("new.json"), registry), path)


def overwritten(path: Path, registry: dict[str, Any]) -> None:
    peers.careless_write(str(path), registry)


PEERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "replaces": replaced,
    "overwrites": overwritten,
}
every_peer = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)


class BeforeCommits:
    """Lets a peer write a registry before the first commits."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, times: float, write_it: Callable[[int], None]
    ) -> None:
        self.commits = 0
        commits = locked_file._commit

        def commit(changes: Sequence[Any]) -> None:
            self.commits += 1
            if self.commits <= times:
                write_it(self.commits)
            commits(changes)

        monkeypatch.setattr(locked_file, "_commit", commit)


@every_peer
@pytest.mark.parametrize("use", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_is_repeated_and_what_the_peer_wrote_stays(
    task: Path,
    use: Use,
    peer: Callable[[Path, dict[str, Any]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = load(task)
    peered = BeforeCommits(
        monkeypatch, 2, lambda number: peer(task, load(task) | {f"peer {number}": number})
    )
    use(task)
    assert peered.commits == 3
    after = load(task)
    assert (after.pop("peer 1"), after.pop("peer 2")) == (1, 2)
    assert after != first


@every_peer
def test_of_two_registries_none_is_left_behind(
    task: Path,
    global_: Path,
    peer: Callable[[Path, dict[str, Any]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    BeforeCommits(monkeypatch, 1, lambda _: peer(global_, load(global_) | {"peer": 1}))
    done = report_progress(task, global_, "busy", status="completed")
    assert done.problems == ()
    (entry,) = (each for each in load(task)["agents"] if each["id"] == "busy")
    assert entry["status"] == load(global_)["agents"]["busy"]["status"] == "completed"
    assert load(global_)["peer"] == 1


def test_a_new_task_is_listed_in_the_end(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BeforeCommits(monkeypatch, 1, lambda _: replaced(global_, load(global_) | {"peer": 1}))
    create_task_registry(task.parent.parent, "TASK-2", description="another")
    assert load(global_)["peer"] == 1 and "TASK-2" in load(global_)["tasks"]


def test_a_peer_that_never_stops_is_an_error_in_time_and_loses_nothing(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[dict[str, Any]] = []

    def write_it(number: int) -> None:
        written.append(load(task) | {"peer": number})
        replaced(task, written[-1])

    peered = BeforeCommits(monkeypatch, float("inf"), write_it)
    with pytest.raises(LostLockError, match="replaced or removed"):
        report_progress(task, None, "busy", progress=50, timeout=0.1)
    assert peered.commits > 1
    assert load(task) == written[-1]


@every_peer
def test_what_is_on_record_is_what_was_done(
    task: Path,
    global_: Path,
    peer: Callable[[Path, dict[str, Any]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The commit that follows the intent in the log; the first pass writes nothing.
    def write_it(number: int) -> None:
        if number == 2:
            peer(task, load(task) | {"peer": 1})

    BeforeCommits(monkeypatch, 2, write_it)
    done = finish_agents(
        task,
        global_,
        ["busy"],
        status="completed",
        on_record=AuditContext(Audit("complete", "done")),
    )
    assert [change.agent_id for change in done.changed] == ["busy"] and done.problems == ()
    assert load(task)["peer"] == 1
    (entry,) = read_log(log_of(task)).entries
    assert entry.state is State.DONE


def test_a_lock_that_this_process_lost_is_not_taken_again(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a child that was forked in the middle: its parent makes the change.
    def lose(_: int) -> None:
        for lock in tuple(flock._held):
            lock.release()

    peered = BeforeCommits(monkeypatch, 1, lose)
    with pytest.raises(LostLockError, match="no longer holds"):
        report_progress(task, None, "busy", progress=50)
    assert peered.commits == 1
