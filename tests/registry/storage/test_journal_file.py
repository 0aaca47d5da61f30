"""The file that journals lie in: whose it is, who may use it, how long it stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from registry import (
    LockedRegistryFile,
    UntrustedJournalError,
    atomic_increment_counts,
    durable_commits,
)
from registry.storage import journal_file
from registry.storage.hot_journal import is_hot
from registry.storage.journal import is_over, journal_path
from tests.support.registries import load, rewrite

SOMEBODY_ELSE = 54_321


def belongs_to_somebody_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says so of a file: only root could give it away."""
    real, inode = os.fstat, place.stat().st_ino

    def fstat(fd: int) -> os.stat_result:
        status = real(fd)
        if status.st_ino != inode:
            return status
        return os.stat_result((*status[:4], SOMEBODY_ELSE, SOMEBODY_ELSE, *status[6:10]))

    monkeypatch.setattr(os, "fstat", fstat)


@pytest.mark.parametrize("durable", [False, True])
def test_the_next_commit_writes_into_the_same_file(task: Path, durable: bool) -> None:
    with durable_commits(durable):
        atomic_increment_counts(task, total=1)
        first = journal_path(task).stat().st_ino
        atomic_increment_counts(task, total=1)
    assert journal_path(task).stat().st_ino == first
    assert is_over(journal_path(task).read_bytes())
    assert not is_hot(task)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666, 0o755])
def test_who_may_use_the_registry_may_use_its_journal(task: Path, mode: int) -> None:
    task.chmod(mode)
    atomic_increment_counts(task, total=1)
    assert stat.S_IMODE(journal_path(task).stat().st_mode) == mode & 0o666


def test_one_that_others_may_not_use_is_made_anew_before_anything_is_written(task: Path) -> None:
    task.chmod(0o600)
    atomic_increment_counts(task, total=1)
    before = journal_path(task).stat()
    task.chmod(0o666)
    atomic_increment_counts(task, total=1)
    after = journal_path(task).stat()
    assert (stat.S_IMODE(before.st_mode), stat.S_IMODE(after.st_mode)) == (0o600, 0o666)


def test_one_that_more_may_write_than_the_registry_is_made_anew(task: Path) -> None:
    task.chmod(0o666)
    atomic_increment_counts(task, total=1)
    task.chmod(0o644)
    atomic_increment_counts(task, total=1)
    assert stat.S_IMODE(journal_path(task).stat().st_mode) == 0o644


def test_root_gives_a_new_one_to_whom_the_registry_belongs(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    belongs_to_somebody_else(task, monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda fd, user, group: given.append((user, group)))
    atomic_increment_counts(task, total=1)
    assert given == [(SOMEBODY_ELSE, SOMEBODY_ELSE)]


@pytest.mark.parametrize("durable", [False, True])
def test_one_of_another_owner_than_the_registry_does_not_stay(
    task: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    belongs_to_somebody_else(task, monkeypatch)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    with durable_commits(durable):
        atomic_increment_counts(task, total=1)
    assert os.listdir(task.parent) == [task.name]


def test_a_large_one_is_emptied(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"note": "n" * journal_file.KEPT_BYTES})
    assert journal_path(task).stat().st_size == 0
    assert load(task)["note"]
    atomic_increment_counts(task, total=1)
    assert not is_hot(task)


def _hard_link(place: Path) -> None:
    target = place.with_name("elsewhere")
    target.write_bytes(b"\0 something of somebody")
    os.link(target, place)


def _symlink(place: Path) -> None:
    target = place.with_name("elsewhere")
    target.write_bytes(b"")
    place.symlink_to(target)


@pytest.mark.parametrize("plant", [_hard_link, _symlink])
def test_a_file_that_looks_as_if_its_commit_were_over_is_not_written_through(
    task: Path, plant: object
) -> None:
    assert callable(plant)
    plant(journal_path(task))
    before = {each: each.read_bytes() for each in task.parent.iterdir()}
    with pytest.raises(UntrustedJournalError):
        atomic_increment_counts(task, total=1)
    assert {each: each.read_bytes() for each in task.parent.iterdir()} == before


def test_an_empty_file_of_another_owner_is_replaced(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = journal_path(task)
    place.write_bytes(b"")
    theirs = os.open(place, os.O_RDONLY)
    belongs_to_somebody_else(place, monkeypatch)
    atomic_increment_counts(task, total=1)
    assert os.pread(theirs, 10, 0) == b""
    assert os.stat(theirs).st_nlink == 0
    os.close(theirs)
    assert load(task)["total_spawned"] == 3


def test_one_of_another_owner_that_says_its_commit_is_over_is_not_written_to(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = journal_path(task)
    place.write_bytes(b"\0 something of somebody")
    belongs_to_somebody_else(place, monkeypatch)
    with pytest.raises(UntrustedJournalError, match=f"belongs to user {SOMEBODY_ELSE}"):
        atomic_increment_counts(task, total=1)
    assert place.read_bytes() == b"\0 something of somebody"


def test_the_directory_is_flushed_once_for_a_file_that_stays(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(journal_file, "sync_directory", flushed.append)
    with durable_commits():
        atomic_increment_counts(task, total=1)
        atomic_increment_counts(task, total=1)
        assert flushed == [journal_path(task)]
        journal_path(task).unlink()
        atomic_increment_counts(task, total=1)
    assert flushed == [journal_path(task)] * 2
