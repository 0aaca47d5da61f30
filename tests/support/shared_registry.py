"""A task's registry that several users may write, and operations on this registry."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.storage import commit
from registry.storage.locked_file import editing
from tests.support.other_users import User
from tests.support.registries import agent, global_registry, task_registry, write

ALICE, BOB, CAROL, MALLORY = 64101, 64102, 64103, 64104
AGENTS = 64200


@contextmanager
def searchable() -> Iterator[Path]:
    """Creates a directory that every user may enter, unlike the directories of pytest."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(os.path.realpath(made))
        path.chmod(0o755)
        yield path


@pytest.fixture
def home() -> Iterator[Path]:
    with searchable() as path:
        yield path


def counting(task: Path) -> Callable[[], None]:
    def count() -> None:
        with editing(task, 5) as edit:
            edit.registry["max_agents"] += 1
            edit.changed = True

    return count


def killed_half_way(task: Path) -> Callable[[], None]:
    """Returns a function that is killed after it has written half of the text."""

    def hot_journal(fd: int, text: bytes) -> None:
        os.pwrite(fd, b"\0" + text[1 : len(text) // 2], 0)
        os.kill(os.getpid(), signal.SIGKILL)

    def count() -> None:
        # Runs in a separate process, so this change has no other effect.
        commit._place = hot_journal
        counting(task)()

    return count


def cut_off_by(user: User, task: Path, umask: int = 0o022) -> None:
    assert user.do(killed_half_way(task), umask=umask).signal == signal.SIGKILL
    assert task.read_bytes()[:1] == b"\0"


def shared(home: Path, *, mode: int = 0o664, folder: int = 0o775, group: int = AGENTS) -> Path:
    """Creates a workspace of alice and the group; returns the path of the task's registry."""
    workspace = home / ".agent-workspace"
    task = write(workspace / "TASK-1" / "AGENT_REGISTRY.json", task_registry(agent("busy")))
    global_ = write(workspace / "registry" / "GLOBAL_REGISTRY.json", global_registry())
    for each in (workspace, task.parent, global_.parent):
        os.chown(each, ALICE, group)
        each.chmod(folder)
    for each in (task, global_):
        os.chown(each, ALICE, AGENTS)
        each.chmod(mode)
    return task
