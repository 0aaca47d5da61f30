"""The last report of an agent: the last whole line of its progress file that it wrote itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from registry.agent_output import LastReport, read_last_reports

ID = "code_fixer-215911-8c90c7"


def line(message: str, **fields: Any) -> str:
    return json.dumps({"message": message, "status": "working", **fields}) + "\n"


def write(task: Path, text: str, folder: str = "progress", agent_id: str = ID) -> Path:
    path = task / folder / f"{agent_id}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def last(task: Path, before: dict[str, LastReport] | None = None) -> str | None:
    read = read_last_reports(task, [ID], before or {}).get(ID)
    return None if read is None or read.report is None else read.report.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line("one") + line("two"), "two"),
        (line("one") + line("two").rstrip(), "two"),
        (line("one") + line("two")[:-5], "one"),
        (line("one") + "no JSON\n\n[]\n", "one"),
        (line("one") + line("undone", by="muster"), "one"),
        (line("one") + line("x" * 100_000), "one"),
        ("", None),
        ("no JSON\n", None),
    ],
)
def test_the_last_whole_line_of_the_agent_counts(
    tmp_path: Path, text: str, message: str | None
) -> None:
    write(tmp_path, text)
    assert last(tmp_path) == message


def test_the_archive_counts_until_a_new_file_exists(tmp_path: Path) -> None:
    assert last(tmp_path) is None
    write(tmp_path, line("old"), "archive")
    assert last(tmp_path) == "old"
    write(tmp_path, line("new"))
    assert last(tmp_path) == "new"


def test_an_unchanged_file_is_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, line("one"))
    before = read_last_reports(tmp_path, [ID])
    with monkeypatch.context() as context:
        context.setattr("registry.agent_output.last_report.open_regular", None)
        assert read_last_reports(tmp_path, [ID], before)[ID] is before[ID]
    with path.open("a") as file:
        file.write(line("two"))
    assert last(tmp_path, before) == "two"


def test_nothing_outside_the_task_is_read(tmp_path: Path) -> None:
    task = tmp_path / "TASK"
    task.mkdir()
    other = write(tmp_path, line("secret"), "elsewhere")
    own = write(task, "")
    own.unlink()
    own.symlink_to(other)
    assert last(task) is None
    own.unlink()
    os.link(other, own)
    assert last(task) is None
    own.unlink()
    os.mkfifo(own)
    assert last(task) is None
    assert read_last_reports(task, ["../../elsewhere/x", "a/b", ""]) == {}
