"""A writer that is stopped (SIGSTOP, a debugger, a frozen container) holds no reader up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from registry import LockedRegistryFile, atomic_increment_counts, read_registry
from registry.errors import LostLockError
from registry.pair import editing_both
from registry.storage import commit
from registry.storage.locked_file import editing
from tests.support import peers
from tests.support.registries import load
from tests.torture.kills.tracing import stop_at_calls

linux = pytest.mark.skipif(sys.platform != "linux", reason="ptrace(2) and leases are Linux's")

# Between lease and lease: to look at the stamp, to reserve room, to look at the stamp,
# to let go; and the same with the four calls that put a text in place.
_TO_RESERVE = 4
_TO_PLACE = 7


def blocked(action: Callable[[], object], *registries: Path) -> list[int]:
    """How many system calls in a row an action was at while nobody could open a registry."""
    seen: list[bool] = []

    def look() -> None:
        held = []
        for path in registries:
            try:
                # Refused at once where a plain open would wait, whatever kind of lease it is.
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
            except BlockingIOError:
                held.append(path)
        seen.append(bool(held))

    assert stop_at_calls(action, look).acknowledged
    assert len(seen) > 10
    return [len(list(run)) for held, run in groupby(seen) if held]


@linux
def test_who_is_stopped_in_a_commit_blocks_only_while_it_replaces_the_text(task: Path) -> None:
    def grow() -> None:
        with editing(task) as edit:
            edit.registry["more"] = "x" * 1000
            edit.changed = True

    def shrink() -> None:
        with editing(task) as edit:
            edit.registry["more"] = ""
            edit.changed = True

    assert blocked(grow, task) == [_TO_RESERVE, _TO_PLACE]
    assert blocked(shrink, task) == [_TO_PLACE]
    assert load(task)["more"] == ""


@linux
def test_stopped_in_a_commit_of_two_it_blocks_only_while_replacing(
    task: Path, global_: Path
) -> None:
    def grow_both() -> None:
        with editing_both(task, global_) as edits:
            for edit in edits:
                edit.registry["more"] = "x" * 1000
                edit.changed = True

    places = [_TO_RESERVE, _TO_RESERVE, _TO_PLACE, _TO_PLACE]
    assert blocked(grow_both, task, global_) == places


@linux
def test_who_is_stopped_with_the_lock_or_while_it_reads_blocks_nobody(task: Path) -> None:
    def lock() -> None:
        with LockedRegistryFile(task):
            pass

    assert blocked(lock, task) == []
    assert blocked(lambda: read_registry(task), task) == []


@linux
def test_who_leaves_a_poller_its_turn_blocks_nobody(task: Path) -> None:
    def hot() -> None:
        for _ in range(10):
            atomic_increment_counts(task, total=1)

    with open(task, "r+"):
        # While another process has it open no lease is to be had at all.
        assert blocked(hot, task) == []


@pytest.mark.parametrize("length", [0, 3000], ids=["a shorter text", "a longer text"])
@pytest.mark.parametrize("moment", ["_write_journal", "_reserve", "_replace"])
def test_what_is_written_without_the_lock_in_the_middle_of_a_commit_stands(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch, moment: str, length: int
) -> None:
    before = global_.read_bytes()
    real = getattr(commit, moment)

    def late(first: object, *rest: object) -> None:
        real(first, *rest)
        if not done:
            done.append(True)
            peers.careless_write(str(task), {"mine": "x" * 50})

    def early(first: object, *rest: object) -> None:
        if not done:
            done.append(True)
            peers.careless_write(str(task), {"mine": "x" * 50})
        real(first, *rest)

    done: list[bool] = []
    monkeypatch.setattr(commit, moment, late if moment == "_write_journal" else early)
    with (
        pytest.raises(LostLockError, match="without the lock"),
        editing_both(task, global_) as both,
    ):
        for edit in both:
            edit.registry["more"] = "x" * length
            edit.changed = True

    assert load(task) == {"mine": "x" * 50}
    assert global_.read_bytes() == before
    monkeypatch.undo()
    atomic_increment_counts(global_, total=1)
    assert load(task) == {"mine": "x" * 50}
