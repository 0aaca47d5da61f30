"""Crowds of ours and of peers: nothing lost, nothing torn, nobody starved, nothing left."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from registry import LockedRegistryFile
from registry.pair import editing_both
from tests.support.counting import blank
from tests.support.crowd import Crowd, Member
from tests.support.registries import load, write

_UPDATES = 100
_PAUSE = 0.04


def _enlist_both_kinds(crowd: Crowd, path: Path) -> list[Member]:
    names = [(module, f"{module}-{n}") for n in range(16) for module in ("counting", "peers")]
    write(path, blank([name for _, name in names]))
    return [
        crowd.enlist(f"tests.support.{module}", "count", path, name, _UPDATES)
        for module, name in names
    ]


def _assert_all_there(path: Path) -> None:
    registry = load(path)
    assert [each["progress"] for each in registry["agents"]] == [_UPDATES] * 32
    assert registry["total_spawned"] == 3200


def _stop(members: list[Member]) -> list[Any]:
    """Tells the hammering or watching to stop; what each of them said."""
    for member in members:
        member.tell()
    return [json.loads(member.finish()) for member in members]


def test_of_3200_updates_by_16_of_ours_and_16_peers_none_is_lost(
    empty_task: Path, crowd: Crowd
) -> None:
    # A peer may time out here and try again: 16 in a hot loop starve each other.
    _enlist_both_kinds(crowd, empty_task)
    crowd.go()
    crowd.finish()

    _assert_all_there(empty_task)


def test_readers_beside_that_crowd_see_whole_states_only(empty_task: Path, crowd: Crowd) -> None:
    writers = _enlist_both_kinds(crowd, empty_task)
    readers = [crowd.enlist("tests.support.counting", "watch", empty_task) for _ in range(3)]
    crowd.go()
    for writer in writers:
        writer.finish()

    for seen, torn in _stop(readers):
        assert seen
        assert torn == 0
    _assert_all_there(empty_task)


def test_a_slow_poller_among_hot_writers_of_ours_never_times_out(
    empty_task: Path, crowd: Crowd
) -> None:
    names = [f"hot-{number}" for number in range(4)]
    write(empty_task, blank([*names, "slow"]))
    writers = [
        crowd.enlist("tests.support.counting", "hammer", empty_task, name) for name in names
    ]
    peer = crowd.enlist("tests.support.peers", "count", empty_task, "slow", 100, _PAUSE)
    crowd.go()
    poller = json.loads(peer.finish())
    done = _stop(writers)

    assert poller["timeouts"] == 0
    assert len(poller["waits"]) == 100
    registry = load(empty_task)
    assert [each["progress"] for each in registry["agents"]] == [*done, 100]
    assert min(done) > 0


@pytest.mark.parametrize("busy", ["one file", "first of two", "second of two"])
def test_waits_that_time_out_leave_no_thread_and_no_descriptor(
    task: Path, global_: Path, busy: str
) -> None:
    def use() -> AbstractContextManager[object]:
        if busy == "one file":
            return LockedRegistryFile(task, timeout=0.004)
        return editing_both(task, global_, 0.004)

    def left() -> tuple[list[str], list[str]]:
        return os.listdir("/proc/self/fd"), os.listdir("/proc/self/task")

    with use():
        pass  # What is imported on first use may stay open.
    with open(global_ if busy == "second of two" else task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        before = left()
        for _ in range(150):
            with pytest.raises(TimeoutError), use():
                raise AssertionError("it was had")
        assert left() == before
