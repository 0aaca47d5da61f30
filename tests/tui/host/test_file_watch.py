"""One stream of file changes, whatever goes and comes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from tui.host import file_watch
from tui.host.directory_identity import identified
from tui.host.file_watch import DirectoryWatcher

NAME = "AGENT_REGISTRY.json"


class Told:
    """What a watcher told, in order; an empty set for "look at everything"."""

    def __init__(self) -> None:
        self.changes: list[set[Path]] = []

    def __call__(self, paths: Collection[Path]) -> None:
        self.changes.append(set(paths))

    def forget(self) -> None:
        self.changes.clear()

    def wait_for(self, path: Path | None) -> None:
        """Waits until a path was told of, or that anything may have been missed."""
        until(
            lambda: any((path in each) if path else not each for each in self.changes),
            f"a word about {path}",
        )


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watcher(told: Told) -> Iterator[DirectoryWatcher]:
    made = DirectoryWatcher(told, (NAME,))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "ws"


@pytest.fixture
def task(root: Path) -> Path:
    path = root / "TASK-1"
    path.mkdir(parents=True)
    return path


def arm(watcher: DirectoryWatcher, told: Told, root: Path, *tasks: Path) -> None:
    """Watches, and waits until the watch is in place."""
    told.forget()
    watcher.watch(identified({root, *tasks}), {root})
    told.wait_for(None)
    told.forget()


def test_after_the_start_of_the_watch_everything_must_be_read(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    watcher.watch(identified({root, task}), {root})
    told.wait_for(None)
    assert told.changes[0] == set()


@pytest.mark.parametrize("how", ["written", "replaced", "deleted"])
def test_a_change_of_a_registry_is_seen(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path, how: str
) -> None:
    registry = task / NAME
    registry.write_text("before")
    arm(watcher, told, root, task)
    if how == "written":
        registry.write_text("after")
    elif how == "replaced":
        (task / "new").write_text("after")
        (task / "new").rename(registry)
    else:
        registry.unlink()
    told.wait_for(registry)


def test_files_with_other_names_and_in_subdirectories_are_ignored(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    (task / "logs").mkdir()
    arm(watcher, told, root, task)
    for number in range(50):
        (task / f"other-{number}.jsonl").write_text("x")
        (task / "logs" / NAME).write_text(str(number))
    (task / NAME).write_text("the end")
    told.wait_for(task / NAME)
    assert set().union(*told.changes) == {task / NAME}


def test_any_entry_of_a_root_that_comes_or_goes_is_seen(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    arm(watcher, told, root, task)
    new = root / "TASK-2"
    new.mkdir()
    told.wait_for(new)
    told.forget()
    shutil.rmtree(new)
    told.wait_for(new)


def test_a_new_task_is_watched_from_the_next_arming_on(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    arm(watcher, told, root, task)
    new = root / "TASK-2"
    new.mkdir()
    arm(watcher, told, root, task, new)
    (new / NAME).write_text("x")
    told.wait_for(new / NAME)


def test_a_directory_that_is_no_longer_watched_is_not_reported(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    other = root / "TASK-2"
    other.mkdir()
    arm(watcher, told, root, task, other)
    arm(watcher, told, root, other)
    (task / NAME).write_text("x")
    (other / NAME).write_text("x")
    told.wait_for(other / NAME)
    assert not any(task / NAME in each for each in told.changes)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_directory_that_went_and_came_back_is_watched_again(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path, times: int
) -> None:
    arm(watcher, told, root, task)
    for _ in range(times):
        # The file system may well give the new directory the old one's number.
        shutil.rmtree(task)
        task.mkdir()
        told.wait_for(task)
        arm(watcher, told, root, task)
    (task / NAME).write_text("x")
    told.wait_for(task / NAME)


def test_a_removed_root_is_reported_and_watched_again_when_it_returns(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    arm(watcher, told, root, task)
    shutil.rmtree(root)
    told.wait_for(root)
    watcher.watch(identified({root, task}), {root})
    task.mkdir(parents=True)
    arm(watcher, told, root, task)
    (task / NAME).write_text("x")
    told.wait_for(task / NAME)


def test_a_directory_that_is_not_there_does_not_disturb_the_others(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    arm(watcher, told, root, task, root / "not there", Path("/dev/null"))
    (task / NAME).write_text("x")
    told.wait_for(task / NAME)


def test_arming_the_same_again_disturbs_nothing(
    watcher: DirectoryWatcher, told: Told, root: Path, task: Path
) -> None:
    arm(watcher, told, root, task)
    for _ in range(100):
        watcher.watch(identified({root, task}), {root})
    (task / NAME).write_text("x")
    told.wait_for(task / NAME)
    assert set() not in told.changes


@pytest.mark.parametrize("armed", [False, True])
def test_a_stopped_watcher_leaves_no_thread(
    told: Told, root: Path, task: Path, armed: bool
) -> None:
    watcher = DirectoryWatcher(told, (NAME,))
    watcher.start()
    if armed:
        arm(watcher, told, root, task)
    assert "muster-watch" in {each.name for each in threading.enumerate()}
    watcher.stop()
    assert "muster-watch" not in {each.name for each in threading.enumerate()}


def test_a_watcher_that_never_started_can_be_stopped(told: Told) -> None:
    DirectoryWatcher(told, (NAME,)).stop()
    assert told.changes == []


def test_used_up_watches_are_reported_once_and_asked_for_ever_more_rarely(
    watcher: DirectoryWatcher,
    told: Told,
    root: Path,
    task: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts: list[float] = []

    def refused(*_: object) -> None:
        attempts.append(watcher._pause)
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(file_watch, "_RETRY", 0.01)
    monkeypatch.setattr(file_watch, "_LONGEST_RETRY", 0.04)
    watcher._pause = 0.01
    monkeypatch.setattr("watchfiles._rust_notify.RustNotify", refused)
    watcher.watch(identified({root, task}), {root})
    until(lambda: len(attempts) >= 4, "the fourth attempt")
    monkeypatch.undo()
    told.wait_for(None)

    assert attempts[:4] == [0.01, 0.02, 0.04, 0.04]
    (record,) = caplog.records
    assert "fs.inotify.max_user_watches" in record.getMessage()
    (task / NAME).write_text("{}")
    told.wait_for(task / NAME)


_FEW_WATCHES = """
import logging, sys, threading
from pathlib import Path
from tui.host.directory_identity import identified
from tui.host.file_watch import DirectoryWatcher
told = threading.Event()
class Log(logging.Handler):
    def emit(self, record): print(record.getMessage()); told.set()
logging.getLogger().addHandler(Log())
root = Path(sys.argv[1])
if sys.argv[2:]: Path("/proc/sys/user/max_inotify_watches").write_text(sys.argv[2])
watcher = DirectoryWatcher(lambda paths: None if paths else sys.argv[2:] or told.set(), ("x",))
watcher.start()
watcher.watch(identified(root.iterdir()), ())
told.wait(20)
watcher.stop()
"""


@pytest.mark.parametrize("watches", ["3", ""])
def test_watches_that_end_halfway_are_reported(tmp_path: Path, watches: str) -> None:
    for number in range(8):
        (tmp_path / f"task-{number}").mkdir()
    alone = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces: the limit of watches cannot be changed for one process")
    words = [*alone, sys.executable, "-c", _FEW_WATCHES, str(tmp_path), *filter(None, [watches])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert ("fs.inotify.max_user_watches" in done.stdout) == bool(watches), done


def test_a_directory_that_may_not_be_read_hides_no_other(
    watcher: DirectoryWatcher,
    told: Told,
    root: Path,
    task: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hidden = root / "TASK-2"
    hidden.mkdir()
    real = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, *rest, **more: path != hidden and real(path, *rest, **more),
    )
    arm(watcher, told, root, task, hidden)
    (hidden / NAME).write_text("{}")
    (task / NAME).write_text("{}")
    told.wait_for(task / NAME)
    assert all(hidden / NAME not in each for each in told.changes)
    assert not caplog.records
