"""Being told of the end of processes."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tui.host.process import exit_watch as module
from tui.host.process.exit_watch import ExitWatcher


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any session."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def deaths() -> Iterator[ExitWatcher]:
    watch = ExitWatcher()
    yield watch
    watch.close()


def test_a_death_is_reported_before_the_timeout(
    deaths: ExitWatcher, sleeper: subprocess.Popen[bytes]
) -> None:
    deaths.watch([sleeper.pid])
    threading.Timer(0.1, sleeper.kill).start()
    assert deaths.wait(60.0)


def test_a_death_is_reported_once(deaths: ExitWatcher, sleeper: subprocess.Popen[bytes]) -> None:
    deaths.watch([sleeper.pid])
    sleeper.kill()
    assert deaths.wait(60.0)
    assert not deaths.wait(0.0)


def test_without_a_death_the_wait_ends_with_its_time(
    deaths: ExitWatcher, sleeper: subprocess.Popen[bytes]
) -> None:
    deaths.watch([sleeper.pid])
    started = time.monotonic()
    assert not deaths.wait(0.2)
    assert 0.19 <= time.monotonic() - started < 10


def test_only_the_last_named_processes_are_watched(
    deaths: ExitWatcher, sleeper: subprocess.Popen[bytes]
) -> None:
    deaths.watch([sleeper.pid])
    deaths.watch([os.getpid()])
    sleeper.kill()
    sleeper.wait()
    assert not deaths.wait(0.1)


def test_a_process_that_is_gone_already_is_left_to_the_roll_call(
    deaths: ExitWatcher, sleeper: subprocess.Popen[bytes]
) -> None:
    sleeper.kill()
    sleeper.wait()
    deaths.watch([sleeper.pid])
    assert not deaths.wait(0.0)


def test_a_wait_is_ended_from_another_thread(deaths: ExitWatcher) -> None:
    threading.Timer(0.1, deaths.wake).start()
    assert deaths.wait(60.0)
    assert not deaths.wait(0.0)


def test_a_reported_process_is_not_reported_again_while_it_is_not_reaped(
    deaths: ExitWatcher, sleeper: subprocess.Popen[bytes]
) -> None:
    deaths.watch([sleeper.pid])
    sleeper.kill()
    assert deaths.wait(60.0)
    assert deaths.watch([sleeper.pid]) == {sleeper.pid}
    assert not deaths.wait(0.0)
    assert deaths.watch([]) == set()


def test_the_limit_on_open_files_is_raised_for_more_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"soft": 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["soft"], 524_288))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.update(soft=new[0]))
    assert module._room_for(500) == 500
    assert limits == {"soft": 1024}
    assert module._room_for(5000) == 5000
    assert limits["soft"] > 5000


def test_where_it_cannot_be_raised_fewer_are_watched(
    deaths: ExitWatcher, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
) -> None:
    room = module._OTHER_DESCRIPTORS + 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (room, room))
    # Else it would be lowered to that, for good, for all tests to come.
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    before = len(os.listdir("/proc/self/fd"))
    deaths.watch([os.getpid(), os.getppid(), sleeper.pid, 1])
    assert len(os.listdir("/proc/self/fd")) == before + 2
    deaths.watch(())
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.undo()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > room
