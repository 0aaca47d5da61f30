"""What is read of files and directories that somebody made very large."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import (
    CorruptRegistryError,
    UntrustedJournalError,
    atomic_increment_counts,
    recover_registry,
)
from registry.schema.layout import Workspace, task_places
from registry.snapshots import read_task
from registry.storage.journal import journal_path
from tests.support.everyone import Use, everyone
from tests.support.hot_journal import cut_off_update
from tests.support.io_counts import is_journal, is_registry, watching
from tests.support.registries import load, task_registry, write

TERABYTE = 1 << 40


def sparse(path: Path, start: bytes = b"") -> Path:
    path.write_bytes(start)
    os.truncate(path, TERABYTE)
    return path


@everyone
def test_no_byte_is_read_of_a_registry_that_is_too_large(task: Path, use: Use) -> None:
    sparse(task, b'{"agents": []}')
    with (
        watching() as last_activity,
        pytest.raises(CorruptRegistryError, match="larger than 64 MB"),
    ):
        use(task)
    assert sum(call.got for call in last_activity if is_registry(call.path)) == 0
    assert task.stat().st_size == TERABYTE


def test_one_byte_is_read_of_a_journal_that_is_too_large(task: Path) -> None:
    before = task.read_bytes()
    sparse(journal_path(task), b"muster journal 2 ffffffffffffffff\n")
    with (
        watching() as last_activity,
        pytest.raises(UntrustedJournalError, match="larger than any"),
    ):
        recover_registry(task, 1)
    # Whether it says that its commit is over.
    assert {
        call.got for call in last_activity if is_journal(call.path) and call.kind == "read"
    } == {1}
    assert task.read_bytes() == before


def test_a_large_journal_that_says_its_commit_is_over_costs_nothing(task: Path) -> None:
    place = sparse(journal_path(task))
    with watching() as last_activity:
        atomic_increment_counts(task, total=1)
    assert sum(call.got for call in last_activity if is_journal(call.path)) <= 3
    assert place.stat().st_size == 0
    assert load(task)["total_spawned"] == 3


def test_too_large_beside_a_journal_it_is_left_to_its_owner(
    task: Path,
) -> None:
    cut_off_update(task, "busy")
    os.truncate(task, TERABYTE)
    journal = journal_path(task).read_bytes()
    with pytest.raises(CorruptRegistryError, match="larger than 64 MB"):
        recover_registry(task, 1)
    assert task.stat().st_size == TERABYTE
    assert journal_path(task).read_bytes() == journal


def test_a_directory_of_no_task_costs_one_look(tmp_path: Path) -> None:
    task = write(tmp_path / "TASK-1" / "AGENT_REGISTRY.json", task_registry())
    for number in range(2000):
        (tmp_path / f"other-{number}").mkdir()
        (tmp_path / f"file-{number}").touch()
    real = os.stat
    looks: list[str] = []

    def noted(path: str, **more: Any) -> os.stat_result:
        if str(path).endswith(task.name):
            looks.append(path)
        return real(path, **more)

    with mock.patch.object(os, "stat", noted):
        (place,) = task_places(Workspace(tmp_path), {})
    assert place.registry == task
    assert len(looks) == 2001
    assert read_task(place.registry).record.task_id == "TASK-1"
