"""What root makes in another user's workspace is that user's, whenever root is killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import (
    Audit,
    AuditContext,
    atomic_increment_counts,
    create_global_registry,
    create_task_registry,
    finish_agents,
    publish_metrics,
    report_progress,
)
from registry.audit.log import append, log_in
from registry.storage.files import anchor, new_file
from tests.support.other_users import User, only_root
from tests.support.registries import agent, global_registry, task_registry, write
from tests.support.selection import in_torture

ALICE = 64101

alice = User(ALICE)
root = User(0)


class Home:
    """A workspace of alice's."""

    def __init__(self, base: Path) -> None:
        self.workspace = base / "project" / ".agent-workspace"
        self.task = self.workspace / "TASK-1" / "AGENT_REGISTRY.json"
        self.global_ = self.workspace / "registry" / "GLOBAL_REGISTRY.json"
        self.lay_out()

    def lay_out(self) -> None:
        anchor._pins.clear()
        project = self.workspace.parent
        shutil.rmtree(project, ignore_errors=True)
        write(self.task, task_registry(agent("busy"), agent("other")))
        write(self.global_, global_registry(agent("busy", None), agent("other", None)))
        for folder, _, files in os.walk(project):
            for each in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(each, ALICE, ALICE)

    def of_root(self) -> list[str]:
        """All that is root's in it."""
        found = (each for each in self.workspace.rglob("*") if each.lstat().st_uid == 0)
        return sorted(str(each.relative_to(self.workspace)) for each in found)


@pytest.fixture
def home() -> Iterator[Home]:
    pins = dict(anchor._pins)
    with tempfile.TemporaryDirectory() as made:
        base = Path(os.path.realpath(made))
        base.chmod(0o755)
        yield Home(base)
    anchor._pins.clear()
    anchor._pins.update(pins)


def _report(home: Home) -> None:
    report = report_progress(home.task, home.global_, "busy", progress=5)
    assert report.problems == ()


def _complete(home: Home, agent_id: str = "busy") -> None:
    on_record = AuditContext(Audit("complete", "why"))
    finish_agents(home.task, home.global_, [agent_id], status="completed", on_record=on_record)


def _complete_alone(home: Home) -> None:
    on_record = AuditContext(Audit("complete", "why"))
    finish_agents(home.task, None, ["busy"], status="completed", on_record=on_record)


def _complete_in_both(home: Home) -> None:
    create_global_registry(home.workspace)
    on_record = AuditContext(Audit("complete", "why"))
    finish_agents(home.task, None, ["other"], status="completed", on_record=on_record)


def _make_task(home: Home) -> None:
    create_task_registry(home.workspace, "TASK-2", "made")


def _count_in_task(home: Home) -> None:
    atomic_increment_counts(home.task.parent.with_name("TASK-2") / home.task.name, total=1)
    atomic_increment_counts(home.global_, total=1)
    create_task_registry(home.workspace, "TASK-2", "made")


def _make_workspace(home: Home) -> None:
    create_task_registry(home.workspace.with_name("more") / ".agent-workspace", "TASK-2", "made")


def _make_task_there(home: Home) -> None:
    create_task_registry(home.workspace.with_name("more") / ".agent-workspace", "TASK-3", "made")


def _publish(home: Home) -> None:
    atomic_increment_counts(home.task, total=1)
    assert publish_metrics(home.workspace)


def _log(home: Home) -> None:
    append(log_in(home.workspace), b"{}\n")


def _nothing(home: Home) -> None:
    pass


def _no_folder(home: Home) -> None:
    shutil.rmtree(home.global_.parent)


Act = Callable[[Home], None]

STORIES: dict[str, tuple[Act, Act, Act]] = {
    "report": (_nothing, _report, _report),
    "log": (_nothing, _log, _complete),
    "log in a new folder": (
        _no_folder,
        _complete_alone,
        _complete_in_both,
    ),
    "task": (_nothing, _make_task, _count_in_task),
    "workspace": (_nothing, _make_workspace, _make_task_there),
    "metrics": (_nothing, _publish, _publish),
}
"""What is prepared, what root does, and what alice does after that."""


@only_root
@pytest.mark.parametrize("story", STORIES)
def test_what_root_makes_in_a_users_workspace_is_that_users(home: Home, story: str) -> None:
    prepare, act, then = STORIES[story]
    prepare(home)
    assert root.do(lambda: act(home)).error == ""
    assert home.of_root() == []
    assert alice.do(lambda: then(home)).error == ""


def _killed_before(number: int, act: Callable[[], None]) -> Callable[[], int]:
    """Does something, and is killed before a call of that number that changes what is there."""

    def run() -> int:
        calls = 0

        def watched(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **named)

            return call

        # In a process of its own: nothing else is changed by it.
        for name in ("fchmod", "fchown", "link", "mkdir", "pwrite", "write"):
            setattr(os, name, watched(getattr(os, name)))
        act()
        return calls

    return run


@only_root
@pytest.mark.parametrize("nameless", [True, *in_torture(False)])
@pytest.mark.parametrize("stride", [3, *in_torture(1)], ids=["some", "all"])
@pytest.mark.parametrize("story", STORIES)
def test_root_killed_at_any_moment_keeps_the_owner_out_of_nothing(
    home: Home, story: str, stride: int, nameless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not nameless:
        monkeypatch.setattr(new_file, "make_nameless", lambda *_: None)
    prepare, act, then = STORIES[story]
    for number in range(1, 100, stride):
        home.lay_out()
        prepare(home)
        killed = root.do(_killed_before(number, lambda: act(home)))
        assert killed.error == ""
        if not killed.signal:
            break
        # Where a task is only half made, alice makes it as well.
        next_one = alice.do(lambda: (act if story == "task" else then)(home))
        assert next_one.error == "", f"killed before call {number}, root's: {home.of_root()}"
    assert 2 < number < 99


@only_root
@pytest.mark.parametrize("story", STORIES)
def test_where_a_file_system_can_do_less_the_owner_is_the_same(
    home: Home, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_file, "make_nameless", lambda *_: None)
    monkeypatch.setattr(new_file, "_rename", lambda *_: False)
    prepare, act, then = STORIES[story]
    prepare(home)
    assert root.do(lambda: act(home)).error == ""
    assert home.of_root() == []
    assert alice.do(lambda: then(home)).error == ""
    assert not list(home.workspace.rglob("*.new"))


@only_root
def test_a_folder_that_another_user_put_there_is_not_given_away(home: Home) -> None:
    # One of root's, with something in it, takes the place of the new one before it is given.
    kept = home.workspace / "kept"
    kept.mkdir()
    (kept / "secret").write_text("x")
    folder = os.open(home.workspace, os.O_PATH)
    try:
        new_file._give_folder_away("kept", folder)
    finally:
        os.close(folder)
    assert kept.stat().st_uid == 0


@pytest.mark.parametrize("nameless", [True, False])
def test_what_could_not_be_prepared_is_not_there_and_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.setattr(new_file, "make_nameless", lambda *_: None)
    made: list[int] = []

    def fail(fd: int) -> None:
        made.append(fd)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = os.open(tmp_path, os.O_PATH)
    try:
        # The error, which is kept here, must not keep the file open.
        with pytest.raises(OSError) as caught:
            new_file.make_file("a", folder, 0o600, fail)
    finally:
        os.close(folder)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError):
        os.fstat(made[0])
    assert os.listdir(tmp_path) == []


def test_a_file_is_made_once(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_PATH)
    try:
        new_file.make_file("a", folder, 0o600, lambda fd: None).close()
        with pytest.raises(FileExistsError):
            new_file.make_file("a", folder, 0o600, lambda fd: None)
        new_file.make_folder("b", folder)
        with pytest.raises(FileExistsError):
            new_file.make_folder("b", folder)
    finally:
        os.close(folder)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
