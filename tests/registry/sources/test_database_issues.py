"""The issues of a workspace with a database: each kind is found, and nothing that is normal."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.advice import moving_database_aside
from registry.checks import Issue, IssueKind
from registry.schema import Workspace
from registry.sources import Found, SqliteWorkspace, find_issues
from tests.support.database_writers import ACTIVE, TERMINAL, Writers
from tests.support.databases import JANUARY, TODAY, Database, damage_table, stamp_ago
from tests.support.registries import agent, task_registry, write
from tests.support.selection import in_torture

MINUTE = 60.0
WORDS = (*ACTIVE, *TERMINAL, "in_progress", "starting")


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one task."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    return database


def find(built: Database) -> Found:
    source = SqliteWorkspace(Workspace(built.workspace))
    tasks = source.tasks({})
    return find_issues([source], tasks, {})


def found_in(built: Database) -> list[Issue]:
    return find(built).findings


def kinds(built: Database) -> list[tuple[str, str | None]]:
    return [(issue.kind.value, issue.agent or issue.field) for issue in found_in(built)]


def report(
    built: Database, agent_id: str, seconds: float, folder: str = "progress", **fields: Any
) -> None:
    """Appends a line to an agent's progress file, written some seconds ago."""
    path = built.workspace / "TASK-1" / folder / f"{agent_id}_progress.jsonl"
    path.parent.mkdir(exist_ok=True)
    line = {"timestamp": stamp_ago(seconds), "agent_id": agent_id, **fields}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    os.utime(path, (time.time() - seconds,) * 2)


def latest(built: Database, agent_id: str, seconds: float, status: str, **fields: Any) -> None:
    """Inserts the last report of an agent."""
    built.row(
        "agent_progress_latest",
        task_id="TASK-1",
        agent_id=agent_id,
        timestamp=stamp_ago(seconds),
        status=status,
        **fields,
    )


def old(status: str = "running", seconds: float = 10 * MINUTE, **fields: Any) -> dict[str, Any]:
    """Returns the fields of an agent whose row was written some time ago; see `timed`."""
    return {"status": status, "started_at": 3600.0, "last_update": seconds, **fields}


def timed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of an agent; each float becomes the time that many seconds ago."""
    return {
        name: stamp_ago(value) if isinstance(value, float) else value
        for name, value in fields.items()
    }


# What is normal


@pytest.mark.parametrize("tables", [JANUARY, TODAY], ids=["January", "today"])
def test_a_healthy_database_has_no_issues(tmp_path: Path, tables: str) -> None:
    built = Database(tmp_path, tables)
    built.task()
    built.agent("top")
    built.agent("below", parent="top", depth=2)
    built.agent("critic", phase_index=-1, status="reviewing")
    built.agent("starting", status="starting")
    built.agent("swept", **timed(old("failed", completed_at=5 * MINUTE)))
    built.agent("cancelled", **timed(old("terminated", completed_at=5 * MINUTE)))
    built.agent("empty", status=None, last_update=None)
    report(built, "top", 20, status="working", progress=10)
    report(built, "swept", 12 * MINUTE, status="working", progress=10)
    report(built, "cancelled", 12 * MINUTE, "archive", status="blocked", progress=10)
    if tables is TODAY:
        built.row(
            "agent_hierarchy", task_id="TASK-1", parent_agent_id="top", child_agent_id="below"
        )
        latest(built, "cancelled", 12 * MINUTE, "blocked")
        latest(built, "top", 20, "working")
    assert found_in(built) == []


def test_what_the_creation_of_a_task_left_is_not_compared(built: Database) -> None:
    built.agent("one")
    left = {"tasks": {"TASK-1": {"status": "INITIALIZED"}, "gone": {}}, "total_tasks": 7}
    write(built.path.with_name("GLOBAL_REGISTRY.json"), left)
    assert found_in(built) == []


def test_agents_that_were_copied_from_json_have_no_hierarchy(built: Database) -> None:
    write(
        built.workspace / "TASK-1" / "AGENT_REGISTRY.json",
        {"task_id": "TASK-1", "agents": [agent("top"), agent("below", parent="top")]},
    )
    built.agent("below", parent="top", **timed(old()))
    latest(built, "below", 5 * MINUTE, "completed")
    report(built, "below", 2 * MINUTE, status="failed")
    assert found_in(built) == []


def test_json_tasks_beside_the_database_are_normal(built: Database) -> None:
    for task_id, agents in (("TASK-0", [agent("old")]), ("TASK-2", [])):
        registry = built.workspace / task_id / "AGENT_REGISTRY.json"
        registry.parent.mkdir()
        write(registry, task_registry(*agents, task_id=task_id))
        (registry.parent / "logs").mkdir()
        storage = "sqlite" if agents else "json"
        record = {"agent_id": "old", "storage": storage}
        (registry.parent / "logs" / "deploy_old.json").write_text(json.dumps(record))
    assert found_in(built) == []


@pytest.mark.parametrize("seed", [0, *in_torture(*range(1, 40))])
def test_whatever_the_orchestrator_writes_it_leaves_no_issue(
    built: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice, writers = random.Random(seed), Writers(built.path)
    agents = ["first"]
    writers.deploy("first")
    acts: tuple[Callable[[str], object], ...] = (
        lambda _: agents.append(f"agent-{len(agents)}"),
        lambda agent_id: writers.report(agent_id, dice.choice(WORDS), dice.choice((0, 50, 100))),
        lambda agent_id: writers.notify(agent_id, dice.choice(TERMINAL)),
        writers.fail,
        lambda _: writers.sweep(timedelta()),
        lambda agent_id: writers.give_verdict(agent_id, "approved"),
        lambda _: writers.end_task() if dice.random() < 0.2 else None,
    )
    for _ in range(30):
        known = len(agents)
        dice.choice(acts)(dice.choice(agents))
        for agent_id in agents[known:]:
            writers.deploy(agent_id, dice.choice([*agents[:known], "orchestrator"]))
    monkeypatch.setattr("registry.checks.database.END_DELAY", 0.0)
    monkeypatch.setattr("registry.checks.database._WRITE_DELAY", -60.0)
    assert [issue for issue in found_in(built) if issue.kind is not IssueKind.UNKNOWN_STATUS] == []


# Statuses


@pytest.mark.parametrize(
    ("row", "line", "right"),
    [
        (old(), (2 * MINUTE, "completed"), "completed"),
        (old("blocked"), (2 * MINUTE, "failed"), "failed"),
        (old(completed_at=MINUTE), (2 * MINUTE, "completed"), "completed"),
        (old("failed"), (2 * MINUTE, "working"), None),
        (old("failed"), (2 * MINUTE, "completed"), None),
    ],
)
@pytest.mark.parametrize("folder", ["progress", "archive"])
def test_a_newer_last_line_differs(
    built: Database,
    folder: str,
    row: Mapping[str, Any],
    line: tuple[float, str],
    right: str | None,
) -> None:
    built.agent("one", **timed(row))
    report(built, "one", 5 * MINUTE, folder, status="working")
    report(built, "one", line[0], folder, status=line[1], message="see above")
    (issue,) = found_in(built)
    assert (issue.kind, issue.agent, issue.file) == (IssueKind.STATUS, "one", built.path)
    assert (issue.field, issue.found) == ("agents.status", row["status"])
    assert "progress file" in issue.says and line[1] in issue.says
    assert issue.fixable == issue.reported == (right is not None)
    if right is not None:
        assert issue.fix == right


def test_a_newer_row_of_the_last_reports_differs(built: Database) -> None:
    built.agent("one", **timed(old()))
    latest(built, "one", 2 * MINUTE, "error", message="no disk")
    report(built, "one", 3 * MINUTE, status="working")
    (issue,) = found_in(built)
    assert (issue.kind, issue.fix, issue.reported) == (IssueKind.STATUS, "error", True)
    assert "agent_progress_latest" in issue.says


@pytest.mark.parametrize("word", ["done", "COMPLETED"])
@pytest.mark.parametrize("is_row", [True, False])
def test_a_word_that_the_orchestrator_stores_as_completed_is_an_end(
    built: Database, word: str, is_row: bool
) -> None:
    built.agent("one", **timed(old()))
    if is_row:
        latest(built, "one", 2 * MINUTE, word, progress=100)
    else:
        report(built, "one", 2 * MINUTE, status=word, progress=100)
    (issue,) = found_in(built)
    assert (issue.kind, issue.fix, issue.reported) == (IssueKind.STATUS, "completed", True)
    assert word in issue.says


@pytest.mark.parametrize(
    ("row", "line"),
    [
        # The orchestrator writes the line first, and the row within seconds.
        (old(), (2.0, "completed")),
        # Two active words, and two words with one meaning.
        (old(), (2 * MINUTE, "blocked")),
        (old("completed"), (2 * MINUTE, "phase_completed")),
        # A row that is newer than the line.
        (old("terminated", MINUTE), (2 * MINUTE, "working")),
        (old("running", MINUTE), (2 * MINUTE, "completed")),
        # A row without a newer report, whose agent was ended without one.
        (old("failed", completed_at=MINUTE), (2 * MINUTE, "working")),
        # A row whose time is not known.
        ({"status": "running", "last_update": None}, (2 * MINUTE, "completed")),
        # A word that nobody knows, and a line without a status.
        (old(), (2 * MINUTE, "in_progress")),
        (old("completed"), (2 * MINUTE, "")),
    ],
)
def test_a_status_does_not_differ(
    built: Database, row: Mapping[str, Any], line: tuple[float, str]
) -> None:
    built.agent("one", **timed(row))
    report(built, "one", line[0], status=line[1], progress=50)
    assert found_in(built) == []


def test_a_report_of_which_the_writer_is_not_known_is_not_written(built: Database) -> None:
    built.agent("one", **timed(old()))
    report(built, "one", 2 * MINUTE, status="completed")
    path = built.workspace / "TASK-1" / "progress" / "one_progress.jsonl"
    path.chmod(0o666)
    (issue,) = found_in(built)
    assert issue.kind is IssueKind.STATUS and not issue.fixable


def test_an_unknown_word_that_counts_as_completed_needs_no_action(built: Database) -> None:
    built.agent("one", status="finalising", progress=100)
    assert found_in(built) == []


def test_each_unknown_word_is_listed_once(built: Database) -> None:
    built.task("TASK-2")
    for name in ("one", "two"):
        built.agent(name, status="in_progress")
    built.agent("three", "TASK-2", status="in_progress")
    built.agent("four", status="paused")
    registry = built.workspace / "TASK-0" / "AGENT_REGISTRY.json"
    registry.parent.mkdir()
    write(
        registry, task_registry(agent("old", "dreaming"), agent("new", "paused"), task_id="TASK-0")
    )
    words = {issue.found: issue for issue in found_in(built)}
    assert [issue.kind for issue in words.values()] == [IssueKind.UNKNOWN_STATUS] * 3
    assert words.keys() == {"in_progress", "paused", "dreaming"}
    assert "2 more" in words["in_progress"].says
    assert (words["dreaming"].file, words["dreaming"].field) == (registry, "status")
    assert (words["in_progress"].file, words["in_progress"].field) == (built.path, "agents.status")


# Parents


def test_parents_and_hierarchy_are_compared(built: Database) -> None:
    built.agent("top")
    for name in ("right", "missing", "wrong"):
        built.agent(name, parent="top")
    for child, parent in {
        "right": "top",
        "wrong": "right",
        "nobody": "top",
        "top": "orchestrator",
    }.items():
        built.row(
            "agent_hierarchy", task_id="TASK-1", parent_agent_id=parent, child_agent_id=child
        )
    issues = found_in(built)
    assert {(issue.kind.value, issue.agent) for issue in issues} == {
        ("hierarchy", "missing"),
        ("hierarchy", "wrong"),
        ("hierarchy", "nobody"),
    }
    assert not any(issue.fixable for issue in issues)


def test_a_cycle_of_parents_and_a_missing_parent_are_found(built: Database) -> None:
    built.agent("a", parent="b")
    built.agent("b", parent="a")
    built.agent("c", parent="nobody")
    assert kinds(built) == [("loop", "a"), ("parent_missing", "c")]
    assert {issue.field for issue in found_in(built)} == {"agents.parent"}


def test_an_agent_without_id_is_found(built: Database) -> None:
    built.agent("one")
    built.row("agents", agent_id=None, task_id="TASK-1", status="running")
    assert kinds(built) == [("shape", "agents.agent_id")]


# Tasks


def test_a_task_without_a_directory_or_a_registry_is_found(built: Database) -> None:
    built.row("tasks", task_id="TASK-2", status="ACTIVE")
    (built.workspace / "TASK-1" / "AGENT_REGISTRY.json").unlink()
    missing = {issue.field: issue for issue in found_in(built)}
    assert {issue.kind for issue in missing.values()} == {IssueKind.TASK_MISSING}
    assert missing.keys() == {"tasks[TASK-1]", "tasks[TASK-2]"}
    assert "AGENT_REGISTRY.json" in missing["tasks[TASK-1]"].says


def test_a_directory_whose_row_is_missing_is_found(built: Database) -> None:
    write(built.task("TASK-2"), task_registry(task_id="TASK-2"))
    logs = built.workspace / "TASK-2" / "logs"
    logs.mkdir()
    (logs / "deploy_one.json").write_text('{"agent_id": "one", "storage": "sqlite"}')
    assert found_in(built) == []
    built.run("DELETE FROM tasks WHERE task_id = 'TASK-2'")
    (issue,) = found_in(built)
    assert (issue.kind, issue.field) == (IssueKind.NOT_LISTED, "tasks[TASK-2]")


def test_agents_of_a_task_that_is_not_listed_are_found(built: Database) -> None:
    registry = built.task("TASK-2")
    built.agent("one", "TASK-2")
    built.run("DELETE FROM tasks WHERE task_id = 'TASK-2'")
    assert registry.exists()
    assert kinds(built) == [("task_not_listed", "tasks[TASK-2]")]


def test_an_id_that_is_a_path_is_found(built: Database) -> None:
    built.row("tasks", task_id="../outside", status="ACTIVE")
    assert kinds(built) == [("shape", "tasks[../outside]")]


def test_a_registry_that_was_left_and_is_broken_is_found(built: Database) -> None:
    registry = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    registry.write_text('{"agents": [')
    (issue,) = found_in(built)
    assert (issue.kind, issue.file, issue.fixable) == (IssueKind.UNREADABLE, registry, False)


# The whole database


def test_an_unknown_schema_names_the_field(built: Database) -> None:
    built.run("ALTER TABLE agents RENAME COLUMN tmux_session TO session")
    (issue,) = found_in(built)
    assert (issue.kind, issue.file) == (IssueKind.UNREADABLE, built.path)
    assert issue.field == "agents.tmux_session" and "version of muster" in issue.advice


def assert_moves_all(advice: str) -> None:
    """Requires that an advice to replace a database leaves no log of the old one."""
    assert "stop the orchestrator" in advice.lower()
    moved = "move state.sqlite3, state.sqlite3-wal and state.sqlite3-shm aside together"
    assert moved in advice and advice.count("mv ") in (0, 1)
    assert advice.find("restore a copy") in (-1, *range(advice.index(moved), len(advice)))


def test_the_commands_that_move_a_database_aside_lose_nothing(built: Database) -> None:
    (command,) = re.findall("aside together: (.*)", moving_database_aside(built.path))
    moved = built.path.with_name("state.sqlite3.aside") / "state.sqlite3"
    texts = {built.path: built.path.read_bytes()}
    # The log and its index may be missing.
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode in (0, 1)
    assert moved.read_bytes() == texts[built.path] and not built.path.exists()
    built.path.write_bytes(b"another one")
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode == 1
    assert moved.read_bytes() == texts[built.path] and built.path.read_bytes() == b"another one"


@pytest.mark.parametrize("spoil", [b"", b"no database" * 100], ids=["empty", "text"])
def test_a_replaced_database_gets_no_log_of_the_old_one(built: Database, spoil: bytes) -> None:
    built.path.write_bytes(spoil)
    os.utime(built.path, (1_700_000_000, 1_700_000_000))
    (issue,) = found_in(built)
    assert_moves_all(issue.advice)


def test_damaged_pages_are_a_finding(built: Database) -> None:
    built.agent("one")
    damage_table(built, "reviews")
    (issue,) = found_in(built)
    assert (issue.kind, issue.file, issue.fixable) == (IssueKind.DAMAGED, built.path, False)
    assert_moves_all(issue.advice)


def test_a_check_that_was_stopped_is_said(
    built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.database.find_damage", lambda *_: None)
    found = find(built)
    assert found.findings == []
    (reason,) = found.unchecked
    assert str(built.path) in reason


def _no_database(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


@pytest.mark.parametrize(
    "spoil",
    [
        _no_database,
        _replaced(Path.touch),
        _replaced(Path.mkdir),
        _replaced(os.mkfifo),
        _replaced(lambda path: path.symlink_to("nowhere")),
        lambda path: path.with_name(path.name + "-wal").write_bytes(b"changes"),
    ],
    ids=["text", "empty", "directory", "FIFO", "symlink", "log without index"],
)
def test_json_tasks_are_examined_beside_an_unreadable_database(
    built: Database, spoil: Callable[[Path], object]
) -> None:
    registry = built.workspace / "TASK-0" / "AGENT_REGISTRY.json"
    registry.parent.mkdir()
    write(registry, {"task_id": "TASK-0", "agents": [agent("one"), agent("one")]})
    spoil(built.path)
    os.utime(built.path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    unreadable, duplicate = found_in(built)
    assert (unreadable.kind, unreadable.file) == (IssueKind.UNREADABLE, built.path)
    assert unreadable.advice and not unreadable.fixable
    assert (duplicate.kind, duplicate.agent) == (IssueKind.DUPLICATE, "one")


def test_a_database_that_is_gone_is_found_by_the_records_of_deployments(built: Database) -> None:
    for task_id in ("TASK-1", "TASK-2"):
        registry = built.workspace / task_id / "AGENT_REGISTRY.json"
        registry.parent.mkdir(exist_ok=True)
        write(registry, task_registry(task_id=task_id))
    built.path.unlink()
    assert kinds(built) == []
    for task_id in ("TASK-1", "TASK-2"):
        logs = built.workspace / task_id / "logs"
        logs.mkdir()
        (logs / "deploy_one.json").write_text('{"agent_id": "one", "storage": "sqlite"}')
    (issue,) = found_in(built)
    assert (issue.kind, issue.file) == (IssueKind.UNREADABLE, built.path)
    assert "2 tasks" in issue.says and "deploy_one.json" in issue.says
    assert_moves_all(issue.advice)


def test_without_a_database_that_agents_were_deployed_to_nothing_is_repaired(
    built: Database,
) -> None:
    registry = built.workspace / "TASK-1" / "AGENT_REGISTRY.json"
    write(registry, task_registry(active_count=3))
    write(built.workspace / "registry" / "GLOBAL_REGISTRY.json", {"total_tasks": 7, "tasks": {}})
    progress = registry.parent / "progress" / "one_progress.jsonl"
    progress.parent.mkdir(exist_ok=True)
    line = {"timestamp": "2026-11-30T00:00:00", "agent_id": "one", "status": "working"}
    progress.write_text(json.dumps(line) + "\n")
    built.path.unlink()
    assert any(issue.fixable for issue in found_in(built))
    (registry.parent / "logs").mkdir()
    (registry.parent / "logs" / "deploy_one.json").write_text('{"storage": "sqlite"}')
    assert [issue.kind for issue in found_in(built)] == [IssueKind.UNREADABLE]


@pytest.mark.parametrize("end", ["-wal", "-shm"])
@pytest.mark.parametrize(
    ("make", "kind"),
    [(Path.mkdir, "a directory"), (lambda path: path.symlink_to("/etc/passwd"), "a symlink")],
)
def test_the_file_beside_a_database_is_named_if_it_is_the_cause(
    built: Database, end: str, make: Callable[[Path], None], kind: str
) -> None:
    make(built.path.with_name(built.path.name + end))
    source = SqliteWorkspace(Workspace(built.workspace))
    unread = source.unread_database()
    why = f"state.sqlite3{end} beside it is {kind}, not a regular file"
    assert unread is not None and unread.problem == why
    found = find_issues([source], (), {})
    assert any(why in str(issue) for issue in found.findings)
