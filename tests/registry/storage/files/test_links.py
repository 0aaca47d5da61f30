"""Below a workspace no link is followed: not to read, not to write, not to make."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import (
    LinkedRegistryError,
    create_global_registry,
    create_task_registry,
    read_registry,
    recover_registry,
    report_progress,
)
from registry.pair import editing_both
from registry.schema.layout import Workspace, last_reports, task_places
from registry.snapshots import changed_since, read_task
from registry.storage.files.safe_open import look
from registry.storage.journal import journal_path
from registry.storage.journal_file import open_journal
from tests.support.everyone import Use, everyone, everyone_of_task
from tests.support.hot_journal import cut_off_update
from tests.support.registries import agent, global_registry, load, task_registry, write

Link = Callable[[Path, Path], None]


def _file(place: Path, target: Path) -> None:
    place.unlink()
    place.symlink_to(target)


def _hard(place: Path, target: Path) -> None:
    place.unlink()
    os.link(target, place)


def _folder(place: Path, target: Path) -> None:
    place.parent.rename(place.parent.with_name("moved"))
    place.parent.symlink_to(target.parent)


LINKS: dict[str, Link] = {"symlink": _file, "hard link": _hard, "directory": _folder}
each_link = pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """The registry of another workspace's task."""
    directory = tmp_path / "victim" / ".agent-workspace" / "TASK-1"
    return write(
        directory / "AGENT_REGISTRY.json",
        task_registry(agent("busy"), agent("done", "completed")),
    )


@everyone
@each_link
def test_nobody_follows_a_link_and_what_it_leads_to_is_left(
    task: Path, victim: Path, use: Use, link: Link
) -> None:
    link(task, victim)
    before = {each: each.read_bytes() for each in victim.parent.iterdir()}
    with pytest.raises(LinkedRegistryError) as caught:
        use(task)
    assert str(task.parent) in str(caught.value)
    assert "nothing was" in str(caught.value)
    assert {each: each.read_bytes() for each in victim.parent.iterdir()} == before


@everyone_of_task
@each_link
def test_a_global_registry_that_is_a_link_is_left_out_and_its_target_left(
    task: Path, global_: Path, tmp_path: Path, use: Callable[[Path, Path], object], link: Link
) -> None:
    directory = tmp_path / "victim" / ".agent-workspace" / "registry"
    other = write(directory / "GLOBAL_REGISTRY.json", global_registry(agent("busy", None)))
    link(global_, other)
    before = other.read_bytes()
    use(task, global_)
    assert other.read_bytes() == before
    assert os.listdir(directory) == [other.name]


@each_link
def test_a_link_that_comes_while_the_registry_is_locked_stops_the_commit(
    task: Path, global_: Path, victim: Path, link: Link
) -> None:
    before = victim.read_bytes()
    with pytest.raises(Exception, match=r"symlink|was replaced"):  # noqa: SIM117
        with editing_both(task, global_, 1) as (edit, _):
            edit.registry["note"] = "n"
            edit.changed = True
            link(task, victim)
    assert victim.read_bytes() == before


def test_what_leads_to_a_workspace_may_be_symlinks(
    task: Path, global_: Path, tmp_path: Path
) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(task.parent.parent)
    report_progress(
        linked / "TASK-1" / task.name, linked / "registry" / global_.name, "busy", progress=50
    )
    assert load(task)["agents"][0]["progress"] == 50
    assert last_reports(linked / "TASK-1" / task.name, ["busy"])


def test_paths_from_here_are_taken_as_they_are(
    task: Path, global_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(task.parent)
    for number, path in enumerate((task.name, f"../TASK-1/{task.name}", f"./{task.name}")):
        with editing_both(Path(path), Path("../registry") / global_.name, 1) as edits:
            for edit in edits:
                edit.registry["note"] = number
                edit.changed = True
        assert read_registry(path)["note"] == number


def test_a_commit_from_here_that_was_cut_off_is_finished(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_update(task, "busy")
    monkeypatch.chdir(task.parent)
    assert recover_registry(task.name)
    assert load(task)["agents"][0]["progress"] == 77


def test_a_snapshot_is_stale_once_a_link_stands_in_its_place(task: Path, victim: Path) -> None:
    os.utime(task, (1, 1))
    signature = read_task(task).signature
    assert not changed_since(task, signature)
    os.rename(task, task.with_name("real"))
    task.symlink_to("real")
    assert changed_since(task, signature)


def test_a_look_is_at_what_would_be_opened(task: Path, victim: Path) -> None:
    assert look(task).st_ino == task.stat().st_ino
    _folder(task, victim)
    with pytest.raises(LinkedRegistryError):
        look(task)


@pytest.mark.parametrize("what", ["registry", "TASK-1"])
def test_nothing_is_made_through_a_symlink(tmp_path: Path, what: str) -> None:
    workspace, elsewhere = tmp_path / ".agent-workspace", tmp_path / "elsewhere"
    workspace.mkdir()
    elsewhere.mkdir()
    (workspace / what).symlink_to(elsewhere)
    with pytest.raises(LinkedRegistryError):
        create_task_registry(workspace, "TASK-1", "what for")
    if what == "registry":
        with pytest.raises(LinkedRegistryError):
            create_global_registry(workspace)
    assert not list(elsewhere.iterdir())


def test_progress_is_not_appended_through_a_symlink(
    task: Path, global_: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (task.parent / "progress").symlink_to(tmp_path / "elsewhere")
    assert report_progress(task, global_, "busy", progress=50).problems
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_journal_is_not_made_where_the_directory_became_a_symlink(
    task: Path, victim: Path
) -> None:
    def swapped(*arguments: Any) -> object:
        _folder(task, victim)
        return open_journal(*arguments)

    before = task.read_bytes()
    with (
        mock.patch("registry.storage.commit.open_journal", swapped),
        pytest.raises(LinkedRegistryError),
    ):
        report_progress(task, None, "busy", progress=50)
    assert not journal_path(victim).exists()
    assert (task.parent.with_name("moved") / task.name).read_bytes() == before


def test_without_nameless_files_one_is_made_all_the_same(
    tmp_path: Path,
) -> None:
    real = os.open

    def refused(path: object, flags: int, *rest: int, **named: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, *rest, **named)  # type: ignore[arg-type]

    with mock.patch.object(os, "open", refused):
        created = create_global_registry(tmp_path / ".agent-workspace")
    assert created.new
    assert os.listdir(created.path.parent) == [created.path.name]
    assert created.path.stat().st_nlink == 1


def test_the_target_of_a_link_is_named_without_resolving_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of another user could lead through very many others."""

    def resolve(*_: object, **__: object) -> str:
        raise AssertionError("a target was resolved")

    monkeypatch.setattr(os.path, "realpath", resolve)
    workspace = tmp_path / ".agent-workspace"
    workspace.mkdir()
    (workspace / "TASK-1").symlink_to("../elsewhere")
    write(tmp_path / "elsewhere" / "AGENT_REGISTRY.json", task_registry())
    (place,) = task_places(Workspace(workspace), {})
    assert str(workspace / "../elsewhere/AGENT_REGISTRY.json") in str(place.problem)
