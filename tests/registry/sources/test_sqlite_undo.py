"""What was written to a database is taken back field by field, or said why not."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import Audit, AuditContext, RegistryError
from registry.audit import UNDO, Reverted, State, Undoable, read_log, undoables
from registry.schema import Workspace
from registry.sources import SqliteTask, SqliteWorkspace
from tests.support.databases import JANUARY, Database, agent_row, progress_lines

EARLIER = "2026-03-01T10:00:00"


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one task and one agent."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    database.agent("one", progress=40, last_update=EARLIER)
    return database


def _task(built: Database) -> SqliteTask:
    (task,) = SqliteWorkspace(Workspace(built.workspace)).tasks({})
    assert isinstance(task, SqliteTask)
    return task


def _end(built: Database, *agent_ids: str, status: Any = "completed") -> Audit:
    audit = Audit("complete", "gone")
    _task(built).finish(agent_ids, status=status, on_record=AuditContext(audit))
    return audit


def _steps(built: Database, audit: Audit) -> tuple[Undoable, ...]:
    return undoables(read_log(_task(built).audit_log), audit.action_id, {built.path})


def _undo(built: Database, audit: Audit) -> tuple[Reverted, Reverted]:
    """Takes back an action; returns the preview and the result."""
    task, (step,) = _task(built), _steps(built, audit)
    assert step.refused is None and step.task == built.path
    preview = task.preview_revert(step, {})
    return preview, task.revert(step, Audit(UNDO, "a mistake")).result


def test_an_undo_gives_each_field_back(built: Database) -> None:
    before = agent_row(built, "agents", "one")
    preview, result = _undo(built, _end(built, "one"))
    assert preview == result == Reverted(("one",), (), {})
    assert agent_row(built, "agents", "one") == before
    # The row did not exist before the action.
    assert agent_row(built, "agent_progress_latest", "one") == {}
    ended, back = progress_lines(built, "one")
    assert (ended["status"], back["status"], back["progress"]) == ("completed", "running", 40)
    assert back["message"].endswith("changed back from completed to running: a mistake")
    assert back["timestamp"] >= ended["timestamp"]


def test_what_the_agent_reported_itself_counts_again_after_an_undo(built: Database) -> None:
    begun = time.time() - 3600
    at = datetime.fromtimestamp(begun + 60).isoformat()
    line = {"timestamp": at, "agent_id": "one", "status": "completed", "message": "all done"}
    path = built.workspace / "TASK-1" / "progress" / "one_progress.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(line) + "\n")
    before = _task(built).reported_ends({"one": begun})
    assert before["one"].message == "all done"
    audit = _end(built, "one", status="terminated")
    assert _task(built).reported_ends({"one": begun}).keys() == {"one"}
    _undo(built, audit)
    assert len(progress_lines(built, "one")) == 3
    after = _task(built).reported_ends({"one": begun})
    assert (after["one"].status, after["one"].message) == ("completed", "all done")
    assert after["one"].written <= begun + 61


def test_an_earlier_report_is_given_back(built: Database) -> None:
    built.row(
        "agent_progress_latest",
        task_id="TASK-1",
        agent_id="one",
        timestamp=EARLIER,
        status="working",
        progress=None,
        message="half\udc80".encode("utf-8", "surrogateescape"),
    )
    before = agent_row(built, "agent_progress_latest", "one")
    audit = _end(built, "one")
    assert agent_row(built, "agent_progress_latest", "one")["message"] != before["message"]
    _undo(built, audit)
    assert agent_row(built, "agent_progress_latest", "one") == before


def test_a_database_of_january_is_given_back(tmp_path: Path) -> None:
    built = Database(tmp_path / ".agent-workspace", JANUARY)
    built.task()
    built.agent("one", status=None, progress=None)
    before = agent_row(built, "agents", "one")
    _undo(built, _end(built, "one"))
    assert agent_row(built, "agents", "one") == before
    assert progress_lines(built, "one")[-1]["status"] == "working"


def test_an_undo_is_undone(built: Database) -> None:
    audit = _end(built, "one", status="terminated")
    ended = agent_row(built, "agents", "one"), agent_row(built, "agent_progress_latest", "one")
    undo = Audit(UNDO, "")
    _task(built).revert(_steps(built, audit)[0], undo)
    _undo(built, undo)
    now = agent_row(built, "agents", "one"), agent_row(built, "agent_progress_latest", "one")
    assert now == ended


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("status = 'failed'", "agents.status was changed again in registry/state.sqlite3"),
        ("started_at = '2027-01-01T00:00:00'", "was deployed again later"),
        ("last_update = '2027-01-01T00:00:00'", "agents.last_update was changed again"),
    ],
)
def test_an_agent_that_was_changed_again_is_left_alone(
    built: Database, change: str, why: str
) -> None:
    built.agent("two")
    audit = _end(built, "one", "two")
    built.run(f"UPDATE agents SET {change} WHERE agent_id = 'one'")
    before = agent_row(built, "agents", "one")
    preview, result = _undo(built, audit)
    assert preview == result
    assert result.agents == ("two",) and why in result.refused["one"]
    assert agent_row(built, "agents", "one") == before
    assert agent_row(built, "agents", "two")["status"] == "running"
    assert len(progress_lines(built, "one")) == 1


def test_an_agent_that_was_removed_is_reported(built: Database) -> None:
    audit = _end(built, "one")
    built.run("DELETE FROM agents")
    assert "was removed" in _undo(built, audit)[1].refused["one"]


def test_a_process_that_died_before_the_commit_changed_nothing(built: Database) -> None:
    commit = "registry.database.transaction.WriteTransaction.commit"
    with mock.patch(commit, side_effect=Died), pytest.raises(Died):
        _end(built, "one")
    (entry,) = read_log(_task(built).audit_log).entries
    assert entry.state is State.INTENDED
    (step,) = undoables(read_log(_task(built).audit_log), entry.action_id, {built.path})
    refused = _task(built).preview_revert(step, {}).refused
    assert "already has its old value" in refused["one"]


def test_a_process_that_died_after_the_commit_is_taken_back(built: Database) -> None:
    before = agent_row(built, "agents", "one")
    append = "registry.operations.database_finish.append_progress"
    with mock.patch(append, side_effect=Died), pytest.raises(Died):
        _end(built, "one")
    (entry,) = read_log(_task(built).audit_log).entries
    assert entry.state is State.INTENDED and not progress_lines(built, "one")
    (step,) = undoables(read_log(_task(built).audit_log), entry.action_id, {built.path})
    assert _task(built).revert(step, Audit(UNDO, "")).result.agents == ("one",)
    assert agent_row(built, "agents", "one") == before
    assert progress_lines(built, "one")[-1]["status"] == "running"


class Died(BaseException):
    """Stands for the death of the process: nothing after it is done."""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"agents.status"', '"agents.tmux_session"'),
        ('"running"', "{}"),
        ('"running"', '{"blob": "zz"}'),
        ('"running"', "9223372036854775808"),
        ('"field": "agents.status"', '"field": "", "whole": true'),
    ],
)
def test_a_log_that_names_anything_else_changes_nothing(
    built: Database, old: str, new: str
) -> None:
    audit = _end(built, "one")
    log = _task(built).audit_log
    log.write_text(log.read_text().replace(old, new))
    before = agent_row(built, "agents", "one")
    (step,) = _steps(built, audit)
    for change in (
        lambda: _task(built).preview_revert(step, {}),
        lambda: _task(built).revert(step, Audit(UNDO, "")),
    ):
        with pytest.raises(RegistryError, match="nothing was taken back"):
            change()
    assert agent_row(built, "agents", "one") == before


def test_a_database_that_is_not_of_these_workspaces_is_refused(built: Database) -> None:
    audit = _end(built, "one")
    (step,) = undoables(read_log(_task(built).audit_log), audit.action_id, set())
    assert step.refused is not None and "is not a registry of these workspaces" in step.refused
