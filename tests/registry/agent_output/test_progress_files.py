"""The file that an agent's reports are appended to, and what may stand in its place."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import (
    report_progress,
)
from tests.support.limits import no_file_longer_than
from tests.support.registries import entry_of, load


def _file(task: Path, agent_id: str = "busy") -> Path:
    return task.parent / "progress" / f"{agent_id}_progress.jsonl"


def test_a_line_that_somebody_left_torn_does_not_swallow_the_next(
    task: Path, global_: Path
) -> None:
    _file(task).parent.mkdir()
    _file(task).write_text('{"timestamp": "2025')

    report_progress(task, global_, "busy", message="whole")

    torn, whole = _file(task).read_text().splitlines()
    assert torn == '{"timestamp": "2025'
    assert json.loads(whole)["message"] == "whole"


def test_a_file_that_is_made_is_readable_for_others_and_the_folder_too(
    task: Path, global_: Path
) -> None:
    before = os.umask(0o022)
    try:
        report_progress(task, global_, "busy")
    finally:
        os.umask(before)

    assert stat.S_IMODE(_file(task).stat().st_mode) == 0o644


def _symlinked_folder(task: Path, outside: Path) -> None:
    _file(task).parent.symlink_to(outside, target_is_directory=True)


def _file_for_a_folder(task: Path, outside: Path) -> None:
    _file(task).parent.write_text("")


def _symlinked_file(task: Path, outside: Path) -> None:
    _file(task).parent.mkdir()
    _file(task).symlink_to(outside / "target")


def _hard_link(task: Path, outside: Path) -> None:
    _file(task).parent.mkdir()
    # Outside of the folder that must stay empty, but on the same file system.
    target = outside.with_name("target")
    target.write_text("")
    os.link(target, _file(task))


def _fifo(task: Path, outside: Path) -> None:
    _file(task).parent.mkdir()
    os.mkfifo(_file(task))


def _directory(task: Path, outside: Path) -> None:
    _file(task).mkdir(parents=True)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "plant",
    [
        _symlinked_folder,
        _file_for_a_folder,
        _symlinked_file,
        _hard_link,
        _fifo,
        _directory,
    ],
)
def test_no_planted_file_is_followed_and_registries_are_written(
    task: Path, global_: Path, tmp_path: Path, plant: Any
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    plant(task, outside)

    found = report_progress(task, global_, "busy", status="working", progress=30)

    assert "progress file" in found.problems[0]
    assert str(_file(task).parent) in found.problems[0]
    assert not list(outside.iterdir())
    assert not any(each.stat().st_size for each in tmp_path.glob("target"))
    for path in (task, global_):
        assert entry_of(load(path), "busy")["status"] == "working"


def test_without_room_for_the_line_the_registries_are_written(task: Path, global_: Path) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with mock.patch.object(os, "write", full):
        found = report_progress(task, global_, "busy", progress=30)

    (problem,) = found.problems
    assert problem.startswith("the registry has the report, but the agent's progress file")
    assert os.strerror(errno.ENOSPC) in problem and "free space" in problem
    assert "Nothing was changed" not in problem
    assert entry_of(load(task), "busy")["progress"] == 30


def test_a_line_that_was_cut_off_by_a_full_disk_does_not_swallow_the_next(
    task: Path, global_: Path
) -> None:
    # What there is room for is written.
    limit = 4000
    _file(task).parent.mkdir()
    _file(task).write_text("x" * (limit - 41) + "\n")
    with no_file_longer_than(limit):
        found = report_progress(task, global_, "busy", message="cut off")
    assert found.problems
    assert _file(task).stat().st_size == limit

    assert not report_progress(task, global_, "busy", message="whole").problems
    assert json.loads(_file(task).read_text().splitlines()[-1])["message"] == "whole"
