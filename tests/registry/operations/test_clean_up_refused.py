"""Clean-ups of registries that cannot be had, or that nobody should touch."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry import (
    RegistryError,
    WrongShapeError,
    clean_up_task,
    clean_up_workspace,
    report_progress,
)
from tests.support.limits import no_file_longer_than
from tests.support.registries import (
    agent,
    assert_counters_match,
    entry_of,
    load,
    task_registry,
    write,
)
from tests.support.two_tasks import clean_up, either, registries


@pytest.mark.parametrize("broken", [None, "", "{", '{"tasks": {}, "agents": 5}'])
@either
def test_tasks_are_cleaned_up_without_their_global_registry(
    workspace: Path, how: str, broken: str | None
) -> None:
    one, two, global_ = registries(workspace)
    if broken is None:
        global_.unlink()
    else:
        global_.write_text(broken)

    done = clean_up(workspace, [], how)

    for task, id_ in ((one, "one"), (two, "three")):
        assert entry_of(load(task), id_)["status"] == "terminated"
        assert_counters_match(load(task))
    for each in done:
        assert list(each.problems) == ([] if broken is None else [global_])
        assert all(str(global_) in problem for problem in each.problems.values())
    assert global_.exists() == (broken is not None)


@either
def test_the_next_clean_up_catches_up_with_a_locked_global_registry(
    workspace: Path, how: str
) -> None:
    _, _, global_ = registries(workspace)
    before = global_.read_bytes()
    with open(global_, "r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        done = clean_up(workspace, [], how, timeout=0.05)
    assert all(list(each.problems) == [global_] for each in done)
    assert global_.read_bytes() == before

    clean_up(workspace, [], how)

    assert load(global_)["active_agents"] == 0
    assert_counters_match(load(global_))


@pytest.mark.parametrize(
    "broken", ["", "{", '{"agents": 5}', '{"task_id": "TASK-1", "agents": [5]}']
)
def test_a_task_that_cannot_be_had_is_named_and_the_others_are_cleaned_up(
    workspace: Path, broken: str
) -> None:
    one, two, global_ = registries(workspace)
    one.write_text(broken)

    done = clean_up_workspace(workspace, [])

    assert list(done.problems) == [one]
    assert str(one) in done.problems[one]
    assert done.ended == {two: ("three",)}
    # Of its agents nobody can tell.
    assert "status" not in entry_of(load(global_), "one")
    with pytest.raises(RegistryError, match="TASK-1"):
        clean_up_task(one, global_, [])


def test_an_unwritten_task_is_not_ended_in_the_global_registry(
    workspace: Path,
) -> None:
    one, _, global_ = registries(workspace)
    before = one.read_bytes()
    with no_file_longer_than(len(before) + 10):
        done = clean_up_workspace(workspace, [])

    assert one in done.problems
    assert one.read_bytes() == before
    assert "status" not in entry_of(load(global_), "one")


@pytest.mark.parametrize("task_id", [["TASK-2"], {"a": 1}, None, 5])
def test_a_task_whose_id_is_no_word_stops_nobody(workspace: Path, task_id: object) -> None:
    one, two, _ = registries(workspace)
    write(two, load(two) | {"task_id": task_id})

    assert clean_up_workspace(workspace, []).ended == {one: ("one", "two"), two: ("three",)}


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_of_a_tasks_directory_does_not_speak_for_the_task(
    workspace: Path, there: bool
) -> None:
    one, _, global_ = registries(workspace)
    for name in ("A-copy", "TASK-1.copy"):
        copied = workspace / name / one.name
        shutil.copytree(one.parent, copied.parent)
        report_progress(copied, None, "one", status="failed")
    if not there:
        one.write_text("{")

    clean_up_workspace(workspace, ["agent_one", "agent_two", "agent_three"])

    assert "status" not in entry_of(load(global_), "one")


def test_a_symlink_out_of_the_workspace_is_named_and_not_followed(
    workspace: Path, tmp_path: Path
) -> None:
    outside = write(tmp_path / "elsewhere" / "AGENT_REGISTRY.json", task_registry(agent("x")))
    before = outside.read_bytes()
    (workspace / "TASK-3").mkdir()
    (workspace / "TASK-3" / "AGENT_REGISTRY.json").symlink_to(outside)
    (workspace / "TASK-4").symlink_to(outside.parent, target_is_directory=True)

    done = clean_up_workspace(workspace, [])

    assert [path.parent.name for path in done.problems] == ["TASK-3", "TASK-4"]
    assert outside.read_bytes() == before
    assert done.count == 3


@pytest.mark.timeout(20)
def test_a_fifo_in_a_tasks_place_is_named_and_hangs_nobody(workspace: Path) -> None:
    (workspace / "TASK-3").mkdir()
    fifo = workspace / "TASK-3" / "AGENT_REGISTRY.json"
    os.mkfifo(fifo)

    done = clean_up_workspace(workspace, [])

    assert list(done.problems) == [fifo]
    assert done.count == 3


@either
@pytest.mark.parametrize(
    ("live", "options", "error"),
    [
        ("agent_one", {}, TypeError),
        (None, {}, TypeError),
        ([], {"status": "failed"}, WrongShapeError),
    ],
)
def test_arguments_that_would_call_everybody_dead_are_refused(
    workspace: Path, how: str, live: Any, options: Any, error: type[Exception]
) -> None:
    before = [path.read_bytes() for path in registries(workspace)]
    with pytest.raises(error):
        clean_up(workspace, live, how, **options)
    assert [path.read_bytes() for path in registries(workspace)] == before


def test_a_workspace_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        clean_up_workspace(tmp_path / "nowhere", [])
