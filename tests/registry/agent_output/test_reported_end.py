"""The end that an agent itself reported: which line counts, and who is believed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from registry.agent_output.reported_end import (
    MESSAGE_AT_MOST,
    ReportedEnd,
    reported_ends,
)
from tests.support.other_user import OTHER, needs_another_user

ID = "code_fixer-215911-8c90c7"
STARTED = float(int(time.time()) - 3600)


def at(seconds_after_start: float) -> str:
    return datetime.fromtimestamp(STARTED + seconds_after_start).isoformat()


def line(status: object = "completed", after: float = 60, **fields: Any) -> str:
    told = {"timestamp": at(after), "agent_id": ID, "status": status, "message": "done"}
    return json.dumps(told | fields) + "\n"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    registry = tmp_path / ".agent-workspace" / "TASK-1" / "AGENT_REGISTRY.json"
    registry.parent.mkdir(parents=True)
    registry.write_text("{}")
    return registry


def put(
    task: Path, text: str | bytes, *, folder: str = "progress", after: float | None = None
) -> Path:
    """Writes the agent's progress file; its mtime is now, or this long after the agent's start."""
    path = task.parent / folder / f"{ID}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if after is not None:
        os.utime(path, (STARTED + after,) * 2)
    return path


def end_in(task: Path, started: float = STARTED, **options: Any) -> ReportedEnd | None:
    return reported_ends(task, {ID: started}, **options).get(ID)


@pytest.mark.parametrize(
    "status", ["completed", "failed", "error", "terminated", "killed", "phase_completed"]
)
def test_a_terminal_last_line_is_the_reported_end(task: Path, status: str) -> None:
    put(task, line("working", 30) + line(status), after=61)
    end = end_in(task)
    assert end is not None
    assert (end.status, end.message, end.timestamp) == (status, "done", at(60))
    assert end.written == pytest.approx(STARTED + 61)


OTHER_LINES = {
    "at work": line("working"),
    "capitals": line("Completed"),
    "unknown word": line("finished"),
    "a list": line(["completed"]),
    "null": line(None),
    "another agent": line(agent_id="other"),
    "no time": line(timestamp=None),
    "not a time": line(timestamp="yesterday"),
    "a number as time": line(timestamp=1.5),
    "no JSON": "completed\n",
    "no object": "[]\n",
    "torn": line()[:-10],
    "almost complete": line()[:-2],
    "too deep": "[" * 100_000 + "\n",
    "too long": line(message="x" * 400_000),
    "at work again": line() + line("working", 61),
    "a torn line later": line() + "{torn",
    "zeros later": line() + "\0" * 10_000_000 + "\n",
    "empty": "",
    "blank": "\n\n",
}


@pytest.mark.parametrize("last", OTHER_LINES.values(), ids=OTHER_LINES)
def test_any_other_last_line_proves_no_end(task: Path, last: str) -> None:
    put(task, line("working", 30) + last)
    assert end_in(task) is None


@pytest.mark.parametrize("text", [line() + "\n \n", line()[:-1]], ids=["blank lines", "no end"])
def test_blank_lines_and_a_missing_line_end_do_not_matter(task: Path, text: str) -> None:
    put(task, text)
    assert end_in(task) is not None


def test_a_long_file_is_read_only_at_its_end(task: Path) -> None:
    path = put(task, b"")
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line().encode())
    assert end_in(task) is not None


def test_a_line_of_an_earlier_deployment_proves_no_end(task: Path) -> None:
    put(task, line(after=60), after=61)
    assert end_in(task, STARTED + 60) is not None
    assert end_in(task, STARTED + 60.5) is None
    # The timestamp is later than the start, but the file was written before it.
    put(task, line(after=100), after=61)
    assert end_in(task, STARTED + 90) is None


def test_the_archive_is_read_too_and_the_later_line_counts(task: Path) -> None:
    put(task, line("failed", 60), folder="archive", after=60)
    assert (end := end_in(task)) is not None and end.status == "failed"
    late = put(task, line("completed", 70), after=70)
    assert (end := end_in(task)) is not None and end.status == "completed"
    put(task, line("working", 70), after=70)
    assert end_in(task) is None
    put(task, line("working", 50), after=70)
    assert (end := end_in(task)) is not None and end.status == "failed"
    # What the last line says is not known.
    put(task, "{torn", after=70)
    assert end_in(task) is None
    late.unlink()
    os.mkfifo(late)
    assert end_in(task) is None


def test_only_files_written_after_the_given_time_are_opened(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(task, line(), after=60)
    assert end_in(task, written_after=STARTED + 59) is not None
    monkeypatch.setattr("registry.agent_output.reported_end.open_beneath", None)
    assert end_in(task, written_after=STARTED + 61) is None
    assert reported_ends(task, {}) == {}


def test_an_mtime_in_the_future_is_not_believed(task: Path) -> None:
    os.utime(put(task, line()), (time.time() + 9999,) * 2)
    assert (end := end_in(task)) is not None
    assert end.written == pytest.approx(STARTED + 60)


def test_a_long_message_is_cut_and_another_type_is_left_out(task: Path) -> None:
    put(task, line(message="\ud800" * 5000))
    assert (end := end_in(task)) is not None
    assert end.message == "\ud800" * MESSAGE_AT_MOST + "…"
    put(task, line(message={"a": 1}))
    assert (end := end_in(task)) is not None and end.message == ""


def test_links_and_unsafe_ids_are_not_followed(task: Path, tmp_path: Path) -> None:
    path = put(task, line())
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert end_in(task) is None
    path.unlink()
    path.hardlink_to(tmp_path / "elsewhere")
    assert end_in(task) is None
    unsafe = {"../x": STARTED, "": STARTED, ".x": STARTED, "x" * 128: STARTED, "a/b": STARTED}
    assert reported_ends(task, unsafe) == {}


def _file_of_all(path: Path) -> None:
    path.chmod(0o666)


def _folder_of_all(path: Path) -> None:
    path.parent.chmod(0o777)


def _file_of_another(path: Path) -> None:
    os.chown(path, OTHER, OTHER)


@pytest.mark.parametrize(
    "open_up",
    [_file_of_all, _folder_of_all, pytest.param(_file_of_another, marks=needs_another_user)],
)
@pytest.mark.parametrize("folder", ["progress", "archive"])
def test_a_line_that_others_may_have_written_counts_for_nothing(
    task: Path, folder: str, open_up: Callable[[Path], None]
) -> None:
    path = put(task, line(), folder=folder)
    assert end_in(task) is not None
    open_up(path)
    assert end_in(task) is None


def test_a_line_of_others_does_not_hide_the_agents_own(task: Path) -> None:
    put(task, line("completed", 60), folder="archive")
    put(task, line("failed", 70)).chmod(0o666)
    assert (end := end_in(task)) is not None and end.status == "completed"


def test_who_may_write_the_registry_is_believed(task: Path) -> None:
    task.chmod(0o666)
    put(task, line()).chmod(0o666)
    assert end_in(task) is not None


def test_who_may_write_only_the_registry_beside_a_database_is_not_believed(task: Path) -> None:
    database = task.parent.parent / "registry" / "state.sqlite3"
    database.parent.mkdir()
    database.touch()
    task.chmod(0o666)
    path = put(task, line())
    assert end_in(task, about=[database]) is not None
    path.chmod(0o666)
    assert end_in(task, about=[database]) is None
    task.unlink()
    path.chmod(0o600)
    assert end_in(task, about=[database]) is not None, "the registry is not needed"
