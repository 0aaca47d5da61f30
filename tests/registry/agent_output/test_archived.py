"""An agent's file together with the part of it that the orchestrator moved to the archive."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output import PROGRESS, ArchivedAgentFile, archived_facts_of
from registry.agent_output.files import AgentFile
from registry.errors import RegistryError
from registry.schema.layout import last_reports
from registry.sources import JsonTask

ID = "code_fixer-215911-8c90c7"
NAME = f"{ID}_progress.jsonl"


def append(task: Path, number: int, folder: str = "progress") -> None:
    path = task / folder / NAME
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"message": str(number), "status": "working"}) + "\n")


def archive(task: Path) -> None:
    """Moves the agent's file to the archive, as the orchestrator does."""
    (task / "archive").mkdir(exist_ok=True)
    (task / "progress" / NAME).rename(task / "archive" / NAME)


def said(file: AgentFile, count: int | None = None) -> list[int]:  # type: ignore[type-arg]
    batch = file.more() if count is None else file.last(count)
    assert not batch.restarted
    return [int(record.message) for record in batch.records]


@given(
    st.lists(st.sampled_from(["line", "archive", "read"]), max_size=12),
    st.none() | st.integers(0, 6),
)
def test_every_line_is_read_once_whenever_the_file_is_archived(
    story: list[str], count: int | None
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        task = Path(directory)
        written = 0
        heard: list[int] = []
        has_read, archived = False, False
        with ArchivedAgentFile(task, ID, PROGRESS) as file:
            # One look reads the rest of a moved file, and the next look the new file.
            for step in [*story, "read", "read"]:
                if step == "line":
                    append(task, written)
                    written += 1
                elif step == "archive" and not archived and (task / "progress" / NAME).exists():
                    # A second move would replace the first archived file.
                    archive(task)
                    archived = True
                elif step == "read":
                    begins = not has_read and count is not None
                    heard += said(file, count if begins else None)
                    if begins:
                        assert heard == list(range(max(0, written - (count or 0)), written))
                    has_read = True
            size = sum(path.stat().st_size for path in task.rglob(NAME))
            batch = file.more()
            assert (batch.size or 0) == size and not batch.records
        first = heard[0] if heard else written
        assert heard == list(range(first, written))
        if count is None:
            assert first == 0


def test_a_file_that_is_moved_while_it_is_read_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path, 1)
    last = AgentFile.last

    def moved(file: AgentFile, count: int) -> object:  # type: ignore[type-arg]
        batch = last(file, count)
        if (tmp_path / "progress" / NAME).exists():
            archive(tmp_path)
        return batch

    monkeypatch.setattr(AgentFile, "last", moved)
    with ArchivedAgentFile(tmp_path, ID, PROGRESS) as file:
        assert said(file, 5) == [1]
        append(tmp_path, 2)
        assert said(file) == [2]


def test_a_file_that_was_replaced_and_not_archived_begins_anew(tmp_path: Path) -> None:
    append(tmp_path, 1)
    with ArchivedAgentFile(tmp_path, ID, PROGRESS) as file:
        assert said(file, 5) == [1]
        (tmp_path / "progress" / NAME).unlink()
        append(tmp_path, 2)
        append(tmp_path, 0, "archive")
        batch = file.more()
        assert batch.restarted and [record.message for record in batch.records] == ["2"]


def test_an_archive_that_cannot_be_read_hides_no_line_of_an_active_agent(tmp_path: Path) -> None:
    (tmp_path / "archive").symlink_to("/")
    with ArchivedAgentFile(tmp_path, ID, PROGRESS) as file, pytest.raises(RegistryError):
        file.last(5)
    append(tmp_path, 1)
    with ArchivedAgentFile(tmp_path, ID, PROGRESS) as file:
        batch = file.last(5)
        assert [record.message for record in batch.records] == ["1"] and batch.earlier


def test_the_last_report_may_be_archived(tmp_path: Path) -> None:
    registry = tmp_path / "AGENT_REGISTRY.json"
    append(tmp_path, 1)
    os.utime(tmp_path / "progress" / NAME, (1_700_000_000, 1_700_000_000))
    archive(tmp_path)
    task = JsonTask(registry)
    assert last_reports(registry, [ID, "none"]) == {ID: 1_700_000_000}
    assert task.last_reports([ID]) == {ID: 1_700_000_000}
    progress, findings, _ = archived_facts_of(tmp_path, ID)
    assert progress.path.parent.name == "archive" and findings.size is None
    assert task.output_facts(ID)[0] == progress
    append(tmp_path, 2)
    assert last_reports(registry, [ID])[ID] > 1_700_000_000
    assert task.output_facts(ID)[0].path.parent.name == "progress"
    with task.output(ID, PROGRESS) as file:
        assert said(file, 5) == [1, 2]
