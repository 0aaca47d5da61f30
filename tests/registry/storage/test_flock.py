"""The lock itself: who waits, how long, and what becomes of it when its holder goes."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import portalocker
import pytest

from registry import (
    LockedRegistryFile,
    LockTimeoutError,
    RegistryError,
    atomic_increment_counts,
)
from tests.support.crowd import Crowd
from tests.support.registries import load, rewrite, task_registry, write


def open_once(path: Path, timeout: float) -> None:
    with LockedRegistryFile(path, timeout=timeout):
        pass


def test_a_second_opener_times_out_while_a_thread_still_holds(task: Path) -> None:
    holds, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with LockedRegistryFile(task, timeout=30):
            holds.set()
            may_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        holds.wait()
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            open_once(task, 0.3)
        assert 0.3 <= time.monotonic() - begin < 10
        assert holder.is_alive()
    finally:
        may_go.set()
        holder.join()

    open_once(task, 0)


def test_a_second_opener_times_out_while_a_process_still_holds(task: Path, crowd: Crowd) -> None:
    holder = crowd.enlist("tests.support.workers", "hold", task)
    crowd.go()
    assert holder.hear() == "held"

    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        open_once(task, 0.3)
    assert 0.3 <= time.monotonic() - begin < 10
    assert holder.process.poll() is None

    holder.tell()
    holder.finish()
    open_once(task, 0)


def test_timeout_zero_means_one_try_without_any_wait(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        def forbidden(seconds: float) -> None:
            raise AssertionError("it waited")

        monkeypatch.setattr(time, "sleep", forbidden)
        with pytest.raises(TimeoutError):
            open_once(task, 0)


@pytest.mark.parametrize(("timeout", "shown"), [(0, "0s"), (0.05, "0.05s")])
def test_a_timeout_names_the_path_and_how_long_and_is_logged(
    task: Path, caplog: pytest.LogCaptureFixture, timeout: float, shown: str
) -> None:
    said = f"Could not acquire lock on {task} after {shown}"
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(LockTimeoutError) as caught:
            open_once(task, timeout)

    assert str(caught.value).startswith(said)
    assert (caught.value.path, caught.value.timeout) == (task, timeout)
    assert any(message.startswith(said) for message in caplog.messages)


def test_a_waiter_gets_the_lock_when_it_is_let_go(task: Path, crowd: Crowd) -> None:
    holder = crowd.enlist("tests.support.workers", "hold", task)
    crowd.go()
    holder.hear()
    got = threading.Event()

    def wait() -> None:
        open_once(task, 60)
        got.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not got.wait(0.05)
    holder.tell()
    assert got.wait(30)
    waiter.join()


def test_whoever_waits_does_not_keep_the_file_open_between_tries(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_files() -> int:
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return sum(os.path.realpath(link) == str(task) for link in links)

    seen = []
    pause = time.sleep

    def watched(seconds: float) -> None:
        seen.append(open_files())
        pause(seconds)

    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        before = open_files()
        monkeypatch.setattr(time, "sleep", watched)
        with pytest.raises(TimeoutError):
            open_once(task, 0.05)

    assert set(seen) == {before}


def test_the_death_of_the_holder_frees_the_lock(task: Path, crowd: Crowd) -> None:
    holder = crowd.enlist("tests.support.workers", "hold", task)
    crowd.go()
    holder.hear()
    holder.kill()

    open_once(task, 10)


def test_a_child_forked_while_held_does_not_keep_the_lock_of_a_dead_parent(
    task: Path, crowd: Crowd
) -> None:
    holder = crowd.enlist("tests.support.workers", "hold_and_fork", task)
    crowd.go()
    child = int(holder.hear())
    holder.kill()

    os.kill(child, 0)
    open_once(task, 10)
    os.kill(child, 0)


def test_a_forked_child_that_leaves_the_block_neither_writes_nor_unlocks(
    task: Path, crowd: Crowd
) -> None:
    parent = crowd.enlist("tests.support.workers", "fork_inside", task)
    crowd.go()
    parent.finish()

    registry = load(task)
    assert registry["written_by"] == "parent"
    assert os.waitstatus_to_exitcode(registry["child_ended"]) == 7
    open_once(task, 0)


def test_a_program_started_while_held_does_not_keep_the_lock(task: Path) -> None:
    with LockedRegistryFile(task):
        started = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    try:
        open_once(task, 0)
    finally:
        started.communicate()


def test_whoever_waits_for_a_file_that_is_replaced_gets_the_new_one(task: Path) -> None:
    seen: list[object] = []

    def wait() -> None:
        with LockedRegistryFile(task, timeout=30) as (registry, file):
            seen.append(registry["task_id"])
            rewrite(file, registry | {"status": "reached"})

    with open(task, "r+") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        waiter = threading.Thread(target=wait)
        waiter.start()
        new = write(task.with_name("new.json"), task_registry(task_id="new"))
        os.replace(new, task)
    waiter.join()

    assert seen == ["new"]
    assert load(task)["status"] == "reached"


def test_a_file_that_is_replaced_between_opening_and_locking_is_opened_anew(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = write(task.with_name("new.json"), task_registry(task_id="new"))
    real = os.open

    def replaced_meanwhile(path: str, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        fd = real(path, flags, *mode, dir_fd=dir_fd)
        if path == task.name and new.exists():
            os.replace(new, task)
        return fd

    monkeypatch.setattr(os, "open", replaced_meanwhile)
    with LockedRegistryFile(task, timeout=10) as (registry, file):
        assert registry["task_id"] == "new"
        rewrite(file, registry | {"status": "reached"})
    assert load(task)["status"] == "reached"


def test_whoever_waits_for_a_file_that_is_removed_is_told_so(task: Path) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            open_once(task, 30)
        except FileNotFoundError as error:
            raised.append(error)

    with open(task, "r+") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        waiter = threading.Thread(target=wait)
        waiter.start()
        os.unlink(task)
        waiter.join()

    assert str(task) in str(raised[0])


def test_a_failure_to_unlock_is_logged_and_what_was_written_stands(
    task: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_unlock(fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_UN:
            raise OSError(errno.EIO, "Input/output error")
        fcntl.flock(fd, operation)

    monkeypatch.setattr(portalocker.portalocker, "LOCKER", no_unlock)
    with LockedRegistryFile(task) as (registry, file):
        rewrite(file, registry | {"status": "DONE"})
    monkeypatch.undo()

    assert load(task)["status"] == "DONE"
    (message,) = (each for each in caplog.messages if each.startswith("Error unlocking"))
    assert message.startswith(f"Error unlocking registry {task}: ")
    assert "Input/output error" in message
    open_once(task, 0)


def test_a_file_system_without_locks_is_an_error_that_names_the_file(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(portalocker.portalocker, "LOCKER", no_locks)
    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(RegistryError) as caught:
        open_once(task, 5)
    assert str(task) in str(caught.value)
    assert "No locks available" in str(caught.value)


def test_it_says_each_lock_once_and_at_a_level_that_is_shown(
    task: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open(task, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
            open_once(task, 0.02)
    assert len(caplog.messages) == 1


# --- staying away for pollers


class Clock:
    """The monotonic clock, which goes only when it is told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def commit_once(path: Path) -> None:
    atomic_increment_counts(path, total=1)


def test_who_comes_straight_back_stays_away_while_a_peer_has_it_open(
    task: Path, clock: Clock
) -> None:
    with open(task, "r+"):
        for _ in range(40):
            commit_once(task)
            clock.now += 0.01
    assert clock.naps
    # As long as the pause of a peer, together with others, and then not at once again.
    assert all(0 < nap < 0.13 for nap in clock.naps)
    assert len(clock.naps) <= 3


def test_a_file_that_stays_open_for_ever_costs_writers_little(task: Path, clock: Clock) -> None:
    with open(task, "r+"):
        for _ in range(300):
            commit_once(task)
            clock.now += 0.01
        clock.naps.clear()
        began = clock.now
        for _ in range(1000):
            commit_once(task)
            clock.now += 0.01
    assert 0 < sum(clock.naps) < 0.13 * (clock.now - began)


def test_nobody_stays_away_for_who_has_it_open_now_and_then(task: Path, clock: Clock) -> None:
    for _ in range(20):
        with open(task, "r+"):
            for _ in range(3):
                commit_once(task)
                clock.now += 0.02
        commit_once(task)
    assert clock.naps == []


def test_nobody_stays_away_who_does_not_come_straight_back(task: Path, clock: Clock) -> None:
    with open(task, "r+"):
        for _ in range(20):
            commit_once(task)
            clock.now += 0.2
    assert clock.naps == []


def test_nothing_is_imported_while_a_registry_is_locked(task: Path) -> None:
    program = (
        "import json, sys\nfrom registry import LockedRegistryFile\n"
        f"with LockedRegistryFile({str(task)!r}) as (found, file):\n"
        "    before = set(sys.modules)\n"
        "    file.seek(0)\n"
        "    file.write(json.dumps(found | {'a': 1}, indent=2))\n"
        "    file.truncate()\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
    assert json.loads(task.read_text())["a"] == 1
