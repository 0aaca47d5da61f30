"""The rows of a database are read whole, from any version of its tables."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from registry.database import connection, find_damage, read_agent, read_rows, stamp_of
from tests.support.database_crowd import Crowd
from tests.support.databases import JANUARY, TODAY, Database, damage_table
from tests.support.one_agent import built as built

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.mark.parametrize("tables", [JANUARY, TODAY], ids=["January", "today"])
def test_the_tables_of_each_version_are_read(tmp_path: Path, tables: str) -> None:
    database = Database(tmp_path, tables)
    database.task(description="do it")
    database.agent("one", phase_index=2)
    rows = read_rows(database.path)
    assert [row["description"] for row in rows.tasks] == ["do it"]
    (agent,) = rows.agents
    assert (agent["agent_id"], agent["phase_index"]) == ("one", 2)
    assert ("cursor_pid" in agent) == (tables is TODAY)


def test_unknown_columns_and_tables_are_left_alone(built: Database) -> None:
    built.run("ALTER TABLE agents ADD COLUMN mood TEXT")
    built.run("CREATE TABLE moods (mood TEXT)")
    built.run("UPDATE agents SET mood = 'fine'")
    assert "mood" not in read_rows(built.path).agents[0]
    fields = read_agent(built.path, "TASK-1", "one")
    assert fields is not None and fields["mood"] == "fine"
    assert read_agent(built.path, "TASK-1", "two") is None


def test_null_and_any_type_of_value_are_read(built: Database) -> None:
    built.row("agents", agent_id=None, task_id="TASK-1")
    built.row("agents", agent_id=b"\xff\x00", task_id="TASK-1", status=7, progress="much")
    built.run("INSERT INTO agents (agent_id, task_id) VALUES (CAST(x'ff41' AS TEXT), 'TASK-1')")
    ids = [row["agent_id"] for row in read_rows(built.path).agents]
    assert ids == ["one", None, b"\xff\x00", "\udcffA"]


def test_the_last_report_is_among_the_fields(built: Database) -> None:
    built.row("agent_progress_latest", task_id="TASK-1", agent_id="one", message="half way")
    fields = read_agent(built.path, "TASK-1", "one")
    assert fields is not None and fields["latest"]["message"] == "half way"


def test_no_file_appears_and_none_stays(built: Database) -> None:
    folder = built.path.parent
    assert [path.name for path in folder.iterdir()] == [built.path.name]
    read_rows(built.path)
    assert [path.name for path in folder.iterdir()] == [built.path.name]


def test_what_only_the_log_has_is_read(built: Database) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE agents SET progress = 42")
        assert read_rows(built.path).agents[0]["progress"] == 42
    # No connection is held between looks, so the last writer removes the log.
    assert [path.name for path in built.path.parent.iterdir()] == [built.path.name]
    assert read_rows(built.path).agents[0]["progress"] == 42


def test_an_uncommitted_change_is_not_seen(built: Database) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE agents SET progress = 42")
        assert read_rows(built.path).agents[0]["progress"] == 10
        writer.execute("ROLLBACK")


def test_the_log_of_a_killed_writer_is_read(built: Database) -> None:
    program = (
        "import os, signal, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('UPDATE agents SET progress = 64')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(built.path)], check=False)
    assert len(list(built.path.parent.iterdir())) == 3
    assert read_rows(built.path).agents[0]["progress"] == 64


def test_a_stamp_is_equal_until_something_changes(built: Database) -> None:
    os.utime(built.path, LONG_AGO)
    stamp = stamp_of(built.path)
    assert stamp is not None and stamp == read_rows(built.path).stamp == stamp_of(built.path)
    built.run("UPDATE agents SET progress = 11")
    os.utime(built.path, (LONG_AGO[0] + 1, LONG_AGO[1]))
    assert stamp_of(built.path) != stamp
    ahead = time.time() + 3600
    os.utime(built.path, (ahead, ahead))
    assert stamp_of(built.path) is None


def test_threads_read_at_the_same_time(built: Database) -> None:
    errors: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert read_rows(built.path).agents
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_beside_writers_no_read_fails_and_none_is_half(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path / ".agent-workspace", writers=5, seconds=2.0)
    seen = crowd.run(crowd.read)
    assert seen.half == seen.errors == seen.failed == []
    assert (seen.lost, seen.held) == (0, 0)
    assert seen.acts and seen.reads["read"]
    (path,) = (tmp_path / ".agent-workspace" / "registry").iterdir()
    assert path.name == "state.sqlite3"


# For the doctor


def test_last_reports_are_read_on_request(built: Database) -> None:
    built.row("agent_progress_latest", task_id="TASK-1", agent_id="one", status="working")
    assert read_rows(built.path).agent_progress_latest == ()
    (report,) = read_rows(built.path, reports=True).agent_progress_latest
    assert (report["agent_id"], report["status"]) == ("one", "working")
    built.run("DROP TABLE agent_progress_latest")
    rows = read_rows(built.path, reports=True)
    assert rows.agent_progress_latest == () and rows.absent == {"agent_progress_latest"}


@pytest.mark.parametrize("what", ["reviews", "sqlite_autoindex_reviews_1"])
def test_damaged_pages_are_found_that_no_reading_needs(built: Database, what: str) -> None:
    assert find_damage(built.path, 60.0) == ()
    damage_table(built, what)
    assert read_rows(built.path).agents
    damages = find_damage(built.path, 60.0)
    assert damages and len(damages) <= connection.DAMAGES_AT_MOST


def test_a_check_that_takes_too_long_is_stopped(built: Database) -> None:
    # The query has no end, so only the timer ends the check.
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    os.utime(built.path, LONG_AGO)
    with connection.reading(built.path) as transaction:
        assert transaction.quick_check(0.05, endless) is None
        assert transaction.select("SELECT agent_id FROM agents") == [("one",)]
