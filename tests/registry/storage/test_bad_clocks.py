"""A file whose time lies ahead: the clock was set back, or another machine wrote it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from registry import (
    CorruptRegistryError,
    LockedRegistryFile,
    atomic_increment_counts,
    read_registry,
    recover_registry,
)
from registry.database import stamp_of
from registry.schema.layout import last_reports
from registry.snapshots import changed_since, read_task
from registry.storage.files import file_age
from tests.support.databases import Database
from tests.support.hot_journal import cut_off_update
from tests.support.one_agent import built as built
from tests.support.registries import load

_YEAR = 365 * 86400


class Clocks:
    """Both clocks; they go only when they are told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now = time.time()
        self.monotonic = time.monotonic()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(time, "sleep", clocks.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clocks.monotonic)
    monkeypatch.setattr(time, "time", lambda: clocks.now)
    monkeypatch.setattr(time, "time_ns", lambda: int(clocks.now * 1e9))
    return clocks


@pytest.fixture(params=["a file of next year", "a clock set back by an hour"])
def ahead(request: pytest.FixtureRequest, clocks: Clocks) -> Iterator[Callable[[Path], None]]:
    """Makes a file's time lie ahead of the clock."""

    def make(path: Path) -> None:
        if request.param == "a file of next year":
            os.utime(path, (clocks.now + _YEAR,) * 2)
        else:
            os.utime(path, (clocks.now,) * 2)
            clocks.now -= 3600

    yield make


def test_a_corrupt_file_is_called_so_at_once(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None]
) -> None:
    task.write_text('{"agents": [')
    ahead(task)
    began = clocks.monotonic
    for _ in range(3):
        with pytest.raises(CorruptRegistryError):
            atomic_increment_counts(task, total=1)
        with pytest.raises(CorruptRegistryError):
            LockedRegistryFile(task).__enter__()
    assert clocks.monotonic - began < 0.2


def test_a_file_is_read_while_its_lock_is_held(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None]
) -> None:
    ahead(task)
    began = clocks.monotonic
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert read_registry(task)["task_id"] == "TASK-1"
        assert read_task(task).record.task_id == "TASK-1"
    assert clocks.monotonic == began


def test_a_file_that_rests_is_not_read_again_and_again(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None]
) -> None:
    ahead(task)
    read_task(task)
    clocks.sleep(0.02)
    assert not changed_since(task, read_task(task).signature)


def test_what_is_written_at_once_with_the_same_time_and_size_is_not_missed(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None]
) -> None:
    ahead(task)
    found = read_task(task)
    times = task.stat().st_atime_ns, task.stat().st_mtime_ns
    task.write_bytes(task.read_bytes().replace(b"TASK-1", b"TASK-2"))
    os.utime(task, ns=times)
    clocks.sleep(0.02)
    assert changed_since(task, found.signature)
    assert read_task(task).record.task_id == "TASK-2"


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes a file with an mtime of a whole second for one of a file system without fractions."""
    monkeypatch.setattr(file_age, "_is_coarse", lambda status: status.st_mtime_ns % 10**9 == 0)


@pytest.mark.parametrize("fraction", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_one_time_of_a_whole_second_is_an_accident(fraction: tuple[int, int]) -> None:
    second = 1_700_000_000 * 10**9
    changed, used = (second + 4_000_000 * each for each in fraction)
    status = SimpleNamespace(st_mtime_ns=second, st_ctime_ns=changed, st_atime_ns=used)
    assert file_age._is_coarse(status) == (fraction == (0, 0))  # type: ignore[arg-type]


@pytest.mark.usefixtures("coarse")
def test_times_of_whole_seconds_hide_no_write(task: Path, clocks: Clocks) -> None:
    """Some file systems round all times down: ext4 with small inodes, FAT, and others."""
    clocks.now = int(clocks.now) + 0.1
    times = (int(clocks.now) * 10**9,) * 2
    os.utime(task, ns=times)
    clocks.sleep(0.1)
    found = read_task(task)
    assert changed_since(task, found.signature)
    clocks.sleep(0.7)
    task.write_bytes(task.read_bytes().replace(b"TASK-1", b"TASK-2"))
    os.utime(task, ns=times)
    found = read_task(task)
    assert found.record.task_id == "TASK-2"
    clocks.sleep(3)
    assert changed_since(task, found.signature)
    assert not changed_since(task, read_task(task).signature)


@pytest.mark.usefixtures("coarse")
def test_times_of_whole_seconds_hide_no_commit(built: Database, clocks: Clocks) -> None:
    clocks.now = int(clocks.now) + 0.1
    times = (int(clocks.now) * 10**9,) * 2
    os.utime(built.path, ns=times)
    clocks.sleep(0.7)
    assert stamp_of(built.path) is None
    clocks.sleep(3)
    assert stamp_of(built.path) is not None


def test_a_broken_text_does_not_keep_a_commit_from_being_finished(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None]
) -> None:
    cut_off_update(task, "busy")
    task.write_text("neither the old text nor the new one")
    ahead(task)

    assert recover_registry(task, timeout=5)

    assert load(task)["agents"][0]["status"] == "blocked"
    (copy,) = task.parent.glob("*.broken")
    assert copy.read_text() == "neither the old text nor the new one"


def test_a_progress_file_was_written_when_it_was_first_seen(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None]
) -> None:
    reports = task.parent / "progress" / "busy_progress.jsonl"
    reports.parent.mkdir()
    reports.write_text(json.dumps({"status": "working"}) + "\n")
    ahead(reports)

    first = last_reports(task, ["busy"])["busy"]
    assert first <= clocks.now
    clocks.sleep(600)
    assert last_reports(task, ["busy"])["busy"] == first
    clocks.now -= 7200
    assert last_reports(task, ["busy"])["busy"] == pytest.approx(clocks.now - 600)


def test_one_file_more_than_are_remembered_makes_no_other_look_new(
    task: Path, clocks: Clocks, ahead: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_age, "_SEEN_AT_MOST", 3)
    monkeypatch.setattr(file_age, "_first_seen", {})
    files = [task.with_name(f"{number}.json") for number in range(4)]
    for each in files:
        each.write_text("{}")
        ahead(each)
    for each in files:
        assert file_age.seconds_since_write(each.stat()) == 0
    clocks.sleep(600)
    assert [file_age.seconds_since_write(each.stat()) for each in files[1:]] == [600] * 3
