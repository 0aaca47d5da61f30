"""Snapshots: whole, taken beside any writer, and in nobody's way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import (
    BusyRegistryError,
    CorruptRegistryError,
    LockedRegistryFile,
    atomic_increment_counts,
    registry_health_check,
)
from registry.schema.records import TaskRecord
from registry.snapshots import (
    changed_since,
    read_agent_fields,
    read_global,
    read_registry,
    read_task,
    when_free,
    while_busy,
)
from tests.support import peers
from tests.support.crowd import Crowd, Member
from tests.support.registries import agent, load, rewrite, task_registry, write

LONG_AGO = (1_700_000_000, 1_700_000_000)


def _generation(record: TaskRecord) -> str:
    """The one number that every part of a state of `peers.stamped` carries."""
    assert record.task_id == record.status
    assert {each.type for each in record.agents} == {record.task_id}
    assert len(record.agents) == 60
    assert record.task_id is not None
    return record.task_id


def _watch(path: Path, writers: list[Member]) -> set[str]:
    """Reads as long as anybody writes; the generations that were seen."""
    seen = set()
    while any(writer.process.poll() is None for writer in writers):
        try:
            seen.add(_generation(read_task(path).record))
        except (BusyRegistryError, CorruptRegistryError):
            continue  # It could not be read in time, and said so: nothing torn was shown.
    return seen


@pytest.mark.parametrize(
    ("module", "role", "rounds"),
    [
        ("tests.support.peers", "careless", 150),
        ("tests.support.peers", "restamp", 400),
        ("tests.support.workers", "restamp", 400),
    ],
    ids=["a careless peer", "a careful peer", "one of ours"],
)
def test_beside_a_writer_every_snapshot_is_of_one_state(
    tmp_path: Path, crowd: Crowd, module: str, role: str, rounds: int
) -> None:
    path = write(tmp_path / "AGENT_REGISTRY.json", peers.stamped(0))
    writer = crowd.enlist(module, role, path, rounds)
    crowd.go()
    seen = _watch(path, [writer])
    crowd.finish()

    assert len(seen) > 2
    assert _generation(read_task(path).record) == f"{rounds - 1:08d}"


def test_beside_peers_and_ours_at_once_every_snapshot_is_of_one_state(
    tmp_path: Path, crowd: Crowd
) -> None:
    path = write(tmp_path / "AGENT_REGISTRY.json", peers.stamped(0))
    writers = [
        crowd.enlist("tests.support.peers", "restamp", path, 60),
        crowd.enlist("tests.support.workers", "restamp", path, 200),
    ]
    crowd.go()
    seen = _watch(path, writers)
    crowd.finish()

    assert len(seen) > 2


def test_a_torn_file_is_read_when_its_writer_is_through(tmp_path: Path) -> None:
    path = write(tmp_path / "AGENT_REGISTRY.json", {})
    text = json.dumps(peers.stamped(7), indent=2)
    with open(path, "w") as file:
        file.write(text[:1000])
        file.flush()
        with pytest.raises((BusyRegistryError, CorruptRegistryError)):
            read_task(path)
        file.write(text[1000:])
    assert _generation(read_task(path).record) == "00000007"


def test_two_states_within_one_tick_of_the_clock_are_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A writer without a lock got in between while size and time stayed the same.
    path = write(tmp_path / "AGENT_REGISTRY.json", peers.stamped(1))
    before = path.read_bytes()
    write(path, peers.stamped(2))
    now = time.time() + 3600
    os.utime(path, (now, now))
    after = path.read_bytes()
    answers = [before[:2000] + after[2000:]]
    real = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        if answers and os.path.samestat(os.fstat(fd), path.stat()):
            return answers.pop()
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert _generation(read_task(path).record) == "00000002"
    assert not answers


def test_reading_waits_for_no_lock_on_a_file_that_rests(task: Path) -> None:
    os.utime(task, LONG_AGO)
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert [each.id for each in read_task(task).record.agents] == ["busy", "done"]
        assert registry_health_check(task, None).path == task


def test_inside_a_block_others_read_the_old_state(task: Path) -> None:
    os.utime(task, LONG_AGO)
    with LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})
        assert read_task(task).record.status == "INITIALIZED"
    assert read_task(task).record.status == "DONE"


def test_readers_keep_no_writer_out(task: Path) -> None:
    through = threading.Event()

    def read() -> None:
        while not through.is_set():
            # There may be no quiet moment for a while.
            with contextlib.suppress(BusyRegistryError):
                read_task(task)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(50):
            atomic_increment_counts(task, total=1)
    finally:
        through.set()
        for reader in readers:
            reader.join()
    assert load(task)["total_spawned"] == 52


def test_reading_changes_nothing_and_leaves_nothing_open(task: Path, global_: Path) -> None:
    before = task.stat(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_task(task)
        read_global(global_)
        read_registry(task)
        read_agent_fields(task, "busy")
    after = task.stat(), len(os.listdir("/proc/self/fd"))
    assert (after[0].st_mtime_ns, after[0].st_ctime_ns) == (
        before[0].st_mtime_ns,
        before[0].st_ctime_ns,
    )
    assert after[1] == before[1]
    assert os.listdir(task.parent) == [task.name]


def test_a_snapshot_says_what_was_read_and_where(task: Path, global_: Path) -> None:
    snapshot = read_task(task)
    assert snapshot.path == task
    assert snapshot.record.task_id == "TASK-1"
    assert snapshot.signature.size == task.stat().st_size
    assert list(read_global(global_).record.tasks) == ["TASK-1"]
    assert read_registry(task) == json.loads(task.read_bytes())


def test_every_field_of_one_agent_can_be_asked_for(task: Path) -> None:
    odd = agent("odd", None, prompt="\ud800", tracked_files={"a": [float("inf")]})
    write(task, task_registry(agent("one"), odd))
    assert read_agent_fields(task, "odd") == odd
    assert read_agent_fields(task, "nobody") is None


# --- has it changed


@pytest.fixture
def resting(task: Path) -> Path:
    """A registry that nobody has touched for long."""
    os.utime(task, LONG_AGO)
    return task


def test_a_registry_that_rests_has_not_changed(resting: Path) -> None:
    signature = read_task(resting).signature
    read_task(resting)
    assert not changed_since(resting, signature)


def _longer(path: Path) -> None:
    write(path, load(path) | {"status": "a longer status"})


def _same_size_and_time(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"busy", b"lazy"))
    os.utime(path, LONG_AGO)


def _replaced(path: Path) -> None:
    copy = path.with_name("copy.json")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, LONG_AGO)
    os.replace(copy, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "longer": _longer,
    "of the same size and time": _same_size_and_time,
    "replaced by a copy": _replaced,
    "gone": os.unlink,
    "written by one of ours": lambda path: atomic_increment_counts(path, total=1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_registry_that_is_changed_is_noticed(
    resting: Path, change: Callable[[Path], object]
) -> None:
    signature = read_task(resting).signature
    change(resting)
    assert changed_since(resting, signature)


def test_a_file_too_young_to_be_told_apart_counts_as_changed(task: Path) -> None:
    # Two states of one size within one tick of the clock carry the same stamp.
    now = time.time()
    os.utime(task, (now, now + 3600))
    assert changed_since(task, read_task(task).signature)


def test_a_busy_writer_is_waited_for_and_the_registry_is_read(task: Path) -> None:
    turns: list[int] = []

    def read() -> int:
        turns.append(len(turns))
        if len(turns) < 3:
            raise BusyRegistryError(task)
        return turns[-1]

    assert when_free(read) == 2
    assert turns == [0, 1, 2]


def test_nothing_but_a_busy_writer_is_waited_for(task: Path) -> None:
    turns: list[int] = []

    def read() -> None:
        turns.append(len(turns))
        raise CorruptRegistryError(task, "it ends in the middle")

    with pytest.raises(CorruptRegistryError):
        when_free(read)
    assert turns == [0]


def test_who_waits_for_writers_gives_up_in_the_end() -> None:
    assert len(list(while_busy(lambda: True, timeout=0))) == 1
    assert len(list(while_busy(lambda: False))) == 1
