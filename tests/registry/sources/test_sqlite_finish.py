"""Agents of a database get their end as the orchestrator writes it, or nothing is written."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import Audit, AuditContext, Deployment, RegistryError, operations
from registry.agent_output import ReportedEnd
from registry.audit import read_log
from registry.errors import LockTimeoutError
from registry.schema import Workspace
from registry.sources import SqliteTask, SqliteWorkspace, TaskSource
from tests.support.databases import JANUARY, TODAY, Database, agent_row, progress_lines
from tests.support.registries import agent, task_registry, write

EARLIER = "2026-03-01T10:00:00"


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one task."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    return database


def _task(built: Database) -> TaskSource:
    (task,) = SqliteWorkspace(Workspace(built.workspace)).tasks({})
    return task


def _row(built: Database, table: str, agent_id: str = "one") -> dict[str, Any]:
    return agent_row(built, table, agent_id)


def _lines(built: Database, agent_id: str = "one") -> list[dict[str, Any]]:
    return progress_lines(built, agent_id)


def test_a_terminated_agent_has_its_rows_and_its_line(built: Database) -> None:
    built.agent("one", progress=40, last_update=EARLIER, started_at=EARLIER)
    before = _row(built, "agents")
    report = _task(built).finish(["one"], status="terminated", reason="stuck")
    assert [(c.agent_id, c.previous, c.status) for c in report.changed] == [
        ("one", "running", "terminated")
    ]
    assert (report.written, report.problems, report.untouched) == ((built.path,), (), {})
    agents, latest, (line,) = (
        _row(built, "agents"),
        _row(built, "agent_progress_latest"),
        _lines(built),
    )
    now = agents["last_update"]
    assert now > EARLIER
    assert agents == {**before, "status": "terminated", "last_update": now}
    assert latest == {
        "task_id": "TASK-1",
        "agent_id": "one",
        "timestamp": now,
        "status": "terminated",
        "progress": 40,
        "message": "stuck",
    }
    assert line == {**{k: v for k, v in latest.items() if k != "task_id"}, "by": "muster"}


def test_a_completed_agent_has_a_time_and_all_of_its_progress(built: Database) -> None:
    built.agent("one", progress=40)
    built.agent("two", completed_at=EARLIER)
    _task(built).finish(["one", "two"], status="completed")
    one, two = _row(built, "agents"), _row(built, "agents", "two")
    assert (one["progress"], one["completed_at"]) == (100, one["last_update"])
    assert (two["progress"], two["completed_at"]) == (100, EARLIER)
    message = _row(built, "agent_progress_latest")["message"]
    assert message == _lines(built)[0]["message"] == "Status changed from running to completed"


def test_an_end_that_the_agent_reported_is_written_as_reported(built: Database) -> None:
    built.agent("one", progress=40)
    end = ReportedEnd("failed", "no disk", EARLIER, 0.0)
    report = _task(built).finish(["one"], status="completed", reason="gone", ends={"one": end})
    assert report.changed[0].status == "failed"
    agents, latest = _row(built, "agents"), _row(built, "agent_progress_latest")
    assert (agents["status"], agents["progress"], agents["completed_at"]) == ("failed", 40, None)
    assert (latest["status"], latest["message"], latest["timestamp"]) == (
        "failed",
        "no disk",
        EARLIER,
    )
    assert _lines(built) == []  # The agent itself wrote its last line.


@pytest.mark.parametrize("tables", [JANUARY, TODAY], ids=["january", "today"])
def test_columns_and_tables_that_are_missing_are_left_out(tmp_path: Path, tables: str) -> None:
    built = Database(tmp_path / ".agent-workspace", tables)
    built.task()
    built.agent("one")
    report = _task(built).finish(["one"], status="terminated", reason="stuck")
    assert (len(report.changed), report.problems) == (1, ())
    assert _row(built, "agents")["status"] == "terminated"
    assert _lines(built)[0]["message"] == "stuck"


def test_nulls_and_unknown_words_count_as_active(built: Database) -> None:
    built.agent("one", status=None, progress=None, last_update=None)
    built.agent("two", status="in_progress", progress="half")
    report = _task(built).finish(["one", "two"], status="terminated")
    assert [(c.agent_id, c.previous) for c in report.changed] == [
        ("one", None),
        ("two", "in_progress"),
    ]
    # As the orchestrator does: a progress that is not a number stays in `agents` as it is.
    rows = [_row(built, "agents", name) for name in ("one", "two")]
    assert [row["progress"] for row in rows] == [None, "half"]
    latest = [_row(built, "agent_progress_latest", name) for name in ("one", "two")]
    assert [row["progress"] for row in latest] == [0, 0]


def _beside(built: Database) -> None:
    """Keeps the agent also in JSON, and adds a report that the database does not have."""
    built.agent("one", progress=10, last_update=EARLIER)
    path = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    write(path, task_registry(agent("one", last_update=EARLIER, progress=20)))
    line = {"timestamp": "2026-03-01T11:00:00", "status": "blocked", "progress": 44}
    path = built.workspace / "TASK-1" / "progress" / "one_progress.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"agent_id": "one", **line}) + "\n")


def test_an_end_keeps_the_newest_progress_of_an_agent(built: Database) -> None:
    _beside(built)
    report = _task(built).finish(["one"], status="terminated")
    assert [change.previous for change in report.changed] == ["blocked"]
    agents, latest = _row(built, "agents"), _row(built, "agent_progress_latest")
    assert agents["progress"] == latest["progress"] == _lines(built)[-1]["progress"] == 44
    assert _task(built).read().record.agents[0].progress == 44


def test_a_report_keeps_the_newest_status_and_progress(built: Database) -> None:
    _beside(built)
    report = _task(built).report("one", status=None, progress=None, message="still here")
    assert (report.previous, report.status) == ("blocked", "blocked")
    agents, latest = _row(built, "agents"), _row(built, "agent_progress_latest")
    assert agents["progress"] == latest["progress"] == _lines(built)[-1]["progress"] == 44


@pytest.mark.parametrize("status", ["completed", "failed", "terminated", "killed"])
def test_an_agent_that_ended_meanwhile_is_left_alone(built: Database, status: str) -> None:
    built.agent("one", status=status)
    before = _row(built, "agents")
    report = _task(built).finish(["one", "two"], status="completed")
    assert not report.changed and not report.written
    assert report.untouched["one"] == f"is already {status!r}"
    assert "is not in task TASK-1" in report.untouched["two"]
    assert _row(built, "agents") == before and not _lines(built)


def test_an_agent_that_was_deployed_again_is_left_alone(built: Database) -> None:
    built.agent("one", started_at="2026-03-02T10:00:00")
    judged = {"one": {Deployment("agent_one", EARLIER)}}
    report = _task(built).finish(["one"], status="terminated", judged=judged)
    assert "deployed again" in report.untouched["one"]
    judged["one"].add(Deployment("agent_one", "2026-03-02T10:00:00"))
    assert _task(built).finish(["one"], status="terminated", judged=judged).changed


def test_the_log_has_each_field_before_the_change(built: Database) -> None:
    built.agent("one", progress=40, last_update=EARLIER)
    audit = Audit("kill", "stuck")
    _task(built).finish(["one"], status="terminated", on_record=AuditContext(audit))
    (entry,) = read_log(_task(built).audit_log).entries
    assert entry.state == "done"
    changes = {change.field: (change.before, change.after) for change in entry.changes}
    assert {change.file for change in entry.changes} == {"registry/state.sqlite3"}
    assert changes["agents.status"] == ("running", "terminated")
    assert changes["agents.last_update"][0] == EARLIER
    assert set(changes) == {
        "agents.status",
        "agents.last_update",
        "agent_progress_latest.timestamp",
        "agent_progress_latest.status",
        "agent_progress_latest.progress",
        "agent_progress_latest.message",
    }


def test_a_writer_that_does_not_end_is_reported(built: Database) -> None:
    built.agent("one")
    task = _task(built)
    assert isinstance(task, SqliteTask)
    with closing(sqlite3.connect(built.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockTimeoutError):
            operations.finish_in_database(task.place, ["one"], status="completed", timeout=0.1)
        other.execute("ROLLBACK")
    assert _row(built, "agents")["status"] == "running"


def test_the_database_file_itself_is_never_written(built: Database) -> None:
    built.agent("one")
    before = hashlib.sha256(built.path.read_bytes()).digest()
    _task(built).finish(["one"], status="terminated")
    assert hashlib.sha256(built.path.read_bytes()).digest() == before
    assert _row(built, "agents")["status"] == "terminated"


def test_a_database_with_a_trigger_is_not_written(built: Database) -> None:
    built.agent("one")
    built.run(
        "CREATE TRIGGER t AFTER UPDATE ON agents BEGIN DELETE FROM agents; END",
    )
    with pytest.raises(RegistryError, match="trigger"):
        _task(built).finish(["one"], status="terminated")


def test_a_text_that_is_no_unicode_never_reaches_the_database(built: Database) -> None:
    """The orchestrator could not read such a row."""
    built.agent("one")
    built.agent("two")
    end = ReportedEnd("failed", "\ud800 half", EARLIER, 0.0)
    _task(built).finish(["one"], status="completed", ends={"one": end})
    _task(built).finish(["two"], status="completed", reason="\udcff half")
    assert _row(built, "agent_progress_latest")["message"] == "? half"
    assert _row(built, "agent_progress_latest", "two")["message"] == "? half"


def test_what_json_refuses_leaves_the_rest_written(built: Database) -> None:
    """For some days, orchestrators kept agents in both."""
    built.agent("one")
    path = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    write(path, task_registry(agent("paper")))
    refused = mock.patch(
        "registry.operations.finish.change_pair", side_effect=LockTimeoutError(path, 1.0)
    )
    with refused:
        report = _task(built).finish(["one", "paper"], status="completed")
        with pytest.raises(LockTimeoutError):
            _task(built).finish(["paper"], status="completed")
    assert [change.agent_id for change in report.changed] == ["one"]
    assert report.written == (built.path,)
    assert "could not acquire lock" in report.untouched["paper"]
    assert _row(built, "agents")["status"] == "completed"


def test_a_report_that_others_may_write_ends_no_agent_of_the_database(built: Database) -> None:
    built.agent("one", started_at=EARLIER)
    progress = built.workspace / "TASK-1" / "progress" / "one_progress.jsonl"
    progress.parent.mkdir()
    line = {"timestamp": datetime.now().isoformat(), "agent_id": "one", "status": "completed"}
    progress.write_text(json.dumps(line) + "\n")
    started = {"one": 0.0}
    (built.workspace / "TASK-1" / "AGENT_REGISTRY.json").chmod(0o666)
    assert _task(built).reported_ends(started)["one"].status == "completed"
    # Who may write this file may write the JSON registry, but not the database.
    progress.chmod(0o666)
    assert _task(built).reported_ends(started) == {}
