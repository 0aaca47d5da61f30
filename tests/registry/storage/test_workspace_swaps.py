"""Another user that owns a directory above a workspace swaps it between any two steps."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import (
    RegistryError,
    clean_up_workspace,
    create_task_registry,
    durable_commits,
    finish_agents,
    recover_registry,
    report_progress,
)
from registry.audit.log import Audit, log_of, read_log
from registry.audit.transaction import AuditContext
from registry.audit.undo import take_back, undoables
from registry.errors import ReplacedWorkspaceError
from registry.metrics_file import publish_metrics
from registry.schema.layout import Workspace, task_places
from registry.schema.workspaces import find_workspaces
from registry.storage import journal as journals
from registry.storage.files import anchor
from registry.storage.files.safe_open import look
from registry.storage.journal import Journal, Role, journal_path
from tests.support.other_users import only_root
from tests.support.registries import agent, global_registry, task_registry, write

OWNER = 64101
"""The user that the directories above the workspace belong to."""

# What takes a path. A swap before any other call is one before the next of these.
CALLS = ("access", "link", "lstat", "mkdir", "open", "rename", "stat", "unlink")


class Scene:
    """A workspace beneath another user's directory, and one of ours that it would like written.

    Attributes:
        workspace: The one that is named.
        outside: The one that nothing must happen to.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.above = base / "evil"
        self.workspace = self.above / ".agent-workspace"
        self.outside = base / "ours" / ".agent-workspace"

    @property
    def task(self) -> Path:
        return self.workspace / "TASK-1" / "AGENT_REGISTRY.json"

    @property
    def global_(self) -> Path:
        return self.workspace / "registry" / "GLOBAL_REGISTRY.json"

    def lay_out(self) -> None:
        for each in self.base.iterdir():
            each.unlink() if each.is_symlink() else shutil.rmtree(each)
        anchor._pins.clear()
        for home in (self.workspace, self.outside):
            write(home / "TASK-1/AGENT_REGISTRY.json", task_registry(agent("busy"), agent("b")))
            write(
                home / "registry/GLOBAL_REGISTRY.json",
                global_registry(agent("busy", None), agent("b", None)),
            )

    def hand_over(self) -> None:
        """Gives everything above and in the named workspace to another user."""
        for folder, _, files in os.walk(self.above):
            for each in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(each, OWNER, OWNER)

    def tree(self) -> dict[str, tuple[Any, ...]]:
        """All that lies outside: content, owner and mode."""
        found: dict[str, tuple[Any, ...]] = {}
        for path in sorted(self.outside.parent.rglob("*")):
            status = path.lstat()
            text = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path)] = (text, status.st_uid, status.st_gid, status.st_mode)
        return found

    def swap(self, what: str) -> None:
        """Puts a symlink to what is ours in the place of a directory."""
        place, target = {
            "workspace": (self.workspace, self.outside),
            "parent": (self.above, self.outside.parent),
            "task": (self.task.parent, self.outside / "TASK-1"),
            "registry": (self.global_.parent, self.outside / "registry"),
        }[what]
        if place.is_dir() and not place.is_symlink():
            place.rename(place.with_name(f"{place.name}.moved"))
        elif os.path.lexists(place):
            return
        place.symlink_to(target)
        os.lchown(place, OWNER, OWNER)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    pins = dict(anchor._pins)
    yield Scene(tmp_path)
    anchor._pins.clear()
    anchor._pins.update(pins)


@contextmanager
def before_call(number: int, act: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Does something before the call of a number; the value tells whether it came to that."""
    counted = itertools.count()
    done: list[bool] = []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            if not done and next(counted) == number:
                done.append(True)
                act()
            return real(*arguments, **named)

        return called

    calls: dict[str, Any] = {name: watched(getattr(os, name)) for name in CALLS}
    with mock.patch.multiple(os, **calls):
        yield lambda: bool(done)


def _completed(scene: Scene) -> None:
    finish_agents(
        scene.task,
        scene.global_,
        ["busy"],
        status="completed",
        on_record=AuditContext(Audit("complete", "")),
    )


def _cut_off_before_a_broken_text(scene: Scene) -> None:
    text = scene.task.read_bytes()
    scene.task.write_bytes(b'{"planted": "' + b"x" * 2000)
    journal = Journal(
        transaction="aa",
        role=Role.ALONE,
        partner=None,
        boot="",
        old_length=5,
        old_digest="00",
        old=None,
        new=text,
    )
    journal_path(scene.task).write_bytes(journals.encode(journal))
    for each in (scene.task, journal_path(scene.task)):
        os.utime(each, (time.time() - 3600,) * 2)


def _undone(scene: Scene) -> None:
    log = read_log(log_of(scene.task))
    action = log.entries[-1].action_id
    for step in undoables(log, action, {scene.task, scene.global_}):
        if step.refused is None:
            take_back(step, Audit("undo", ""), timeout=1)


def _nothing(scene: Scene) -> None:
    pass


def _reported(scene: Scene) -> None:
    found = report_progress(scene.task, scene.global_, "busy", message="hello", timeout=1)
    if found.problems:
        raise RegistryError("; ".join(found.problems))


def _published(scene: Scene) -> None:
    report_progress(scene.task, scene.global_, "busy", timeout=1)
    publish_metrics(scene.workspace)


def _created(scene: Scene) -> None:
    create_task_registry(scene.workspace, "TASK-2", "made", timeout=1)


def _cleaned_up(scene: Scene) -> None:
    clean_up_workspace(scene.workspace, set(), grace=0, timeout=1)


STORIES: dict[str, tuple[Callable[[Scene], None], Callable[[Scene], object]]] = {
    "undo": (_completed, _undone),
    "complete": (_nothing, _completed),
    "recovery": (_cut_off_before_a_broken_text, lambda scene: recover_registry(scene.task, 1)),
    "report": (_nothing, _reported),
    "metrics": (_nothing, _published),
    "create": (_nothing, _created),
    "clean up": (_nothing, _cleaned_up),
}


@only_root
@pytest.mark.parametrize(
    ("story", "what"),
    [
        # Each story with one of two swaps; the torture has all.
        pytest.param(
            story,
            what,
            id=f"{story}-{what}",
            marks=() if what == ("workspace", "task")[number % 2] else pytest.mark.torture,
        )
        for number, story in enumerate(STORIES)
        for what in ("workspace", "task", "parent", "registry")
    ],
)
def test_a_swap_between_two_steps_changes_nothing_outside(
    scene: Scene, story: str, what: str, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Thousands of flushes take long, and nothing here looks at what they do.
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    prepare, act = STORIES[story]
    named = 0
    for number in itertools.count():
        scene.lay_out()
        prepare(scene)
        scene.hand_over()
        look(scene.task)
        look(scene.global_)
        before = scene.tree()
        error: Exception | None = None
        with (
            durable_commits(False),
            before_call(number, lambda: scene.swap(what)) as came,
        ):
            try:
                act(scene)
            except (RegistryError, OSError) as caught:
                error = caught
            swapped = came()
        assert scene.tree() == before, f"before call {number}: {error}"
        if not swapped:
            assert error is None
            break
        if what in ("workspace", "parent") and error is not None:
            named += str(scene.workspace) in str(error)
    assert number > 5
    assert what not in ("workspace", "parent") or named


@only_root
def test_a_swapped_workspace_is_named_with_what_to_do(scene: Scene) -> None:
    scene.lay_out()
    scene.hand_over()
    look(scene.task)
    scene.swap("workspace")
    with pytest.raises(ReplacedWorkspaceError, match="start muster again") as caught:
        report_progress(scene.task, None, "busy")
    assert str(scene.workspace) in str(caught.value)
    with pytest.raises(ReplacedWorkspaceError):
        task_places(Workspace(scene.workspace), {})


@only_root
def test_a_clean_up_follows_no_workspace_anew(scene: Scene) -> None:
    # As a process that works for long does: the first time its path is remembered.
    scene.lay_out()
    scene.hand_over()
    clean_up_workspace(scene.workspace, {"agent_busy", "agent_b"}, grace=0)
    scene.swap("workspace")
    before = scene.tree()
    with pytest.raises(ReplacedWorkspaceError):
        clean_up_workspace(scene.workspace, set(), grace=0)
    assert scene.tree() == before


def test_a_clean_up_of_a_workspace_by_a_symlink_is_of_what_it_leads_to(
    task: Path, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(task.parent.parent)
    done = clean_up_workspace(linked, set(), grace=0)
    assert done.ended == {linked / "TASK-1" / task.name: ("busy",)}


def test_a_workspace_made_anew_in_a_safe_place_is_used(task: Path) -> None:
    text = task.read_text()
    workspace = task.parent.parent
    look(task)
    workspace.rename(workspace.with_name("old"))
    write(task, json.loads(text))
    report_progress(task, None, "busy", progress=70)
    assert json.loads(task.read_text())["agents"][0]["progress"] == 70


def test_a_workspace_made_anew_where_others_may_replace_it_is_refused(task: Path) -> None:
    text = task.read_text()
    workspace = task.parent.parent
    look(task)
    workspace.parent.chmod(0o777)
    workspace.rename(workspace.with_name("old"))
    write(task, json.loads(text))
    with pytest.raises(ReplacedWorkspaceError):
        report_progress(task, None, "busy", progress=70)
    workspace.parent.chmod(0o1777)
    report_progress(task, None, "busy", progress=70)


def test_a_named_workspace_is_pinned_when_its_path_is_resolved(task: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(task.parent.parent)
    (found,) = find_workspaces([str(linked)], {}, tmp_path)
    assert found.path == task.parent.parent
    real = os.path.realpath

    def swapped(path: Any, **named: Any) -> str:
        resolved: str = real(path, **named)
        with suppress(FileNotFoundError):
            found.path.rename(tmp_path / "moved")
            found.path.symlink_to(tmp_path / "moved")
        return resolved

    with mock.patch.object(os.path, "realpath", swapped), pytest.raises(ReplacedWorkspaceError):
        find_workspaces([str(linked)], {}, tmp_path)
