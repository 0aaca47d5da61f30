"""Beside programs that keep the orchestrator's lock protocol."""

from __future__ import annotations

import fcntl
import json
import threading
from pathlib import Path

import pytest

from registry import LockedRegistryFile, atomic_increment_counts
from tests.support import peers
from tests.support.crowd import Crowd
from tests.support.registries import load, rewrite


def test_of_a_thousand_updates_by_peers_and_by_us_none_is_lost(
    empty_task: Path, crowd: Crowd
) -> None:
    inode = empty_task.stat().st_ino

    for name in ("alice", "bob"):
        crowd.enlist("tests.support.peers", "careful", empty_task, name, 200)
    for name in ("ours", "also ours"):
        crowd.enlist("tests.support.workers", "add_and_count", empty_task, name, 50, 250)
    crowd.go()
    crowd.finish()

    registry = load(empty_task)
    assert registry["total_spawned"] == 1000
    assert registry["updates of alice"] == list(range(200))
    assert registry["updates of bob"] == list(range(200))
    for name in ("ours", "also ours"):
        mine = [each["id"] for each in registry["agents"] if each["id"].startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(50)]
    assert registry["active_count"] == len(registry["agents"]) == 100
    assert empty_task.stat().st_ino == inode


def test_a_peer_that_holds_the_flock_keeps_us_out(empty_task: Path) -> None:
    with open(empty_task, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError):
            LockedRegistryFile(empty_task, timeout=0.05).__enter__()
    with LockedRegistryFile(empty_task, timeout=0):
        pass


def test_a_peer_cannot_take_the_flock_that_we_hold(empty_task: Path) -> None:
    with (
        LockedRegistryFile(empty_task),
        open(empty_task, "r+") as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_peer_that_waits_for_us_gets_the_lock_and_sees_what_we_wrote(empty_task: Path) -> None:
    seen = []

    def update() -> None:
        peers.careful_update(str(empty_task), lambda found: seen.append(found["total_spawned"]))

    with LockedRegistryFile(empty_task) as (registry, file):
        peer = threading.Thread(target=update)
        peer.start()
        registry["total_spawned"] = 7
        rewrite(file, registry)
    peer.join()

    assert seen == [7]


def test_our_update_lands_in_the_file_that_a_waiting_peer_has_open(empty_task: Path) -> None:
    # A writer that renamed a new file over the old one would fail here.
    with open(empty_task, "r+") as waiting:
        atomic_increment_counts(empty_task, total=5)
        assert json.load(waiting)["total_spawned"] == 5
