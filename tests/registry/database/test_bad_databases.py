"""A database that cannot be read: a clear error, nothing hangs, and nothing is written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from registry import (
    RegistryNotFoundError,
    UnreadableDatabaseError,
)
from registry.database import Limits, connection, lists_task, read_agent, read_rows, stamp_of
from registry.database.agent_rows import read_tables
from registry.database.transaction import writing
from tests.support.bad_databases import BAD
from tests.support.databases import JANUARY, TODAY, Database
from tests.support.one_agent import built as built
from tests.support.one_agent import public as public
from tests.support.other_user import OTHER, needs_another_user


def _state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    states = {path.name: path.lstat() for path in sorted(folder.iterdir())}
    return {
        name: (state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states.items()
    }


@pytest.mark.parametrize("kind", BAD)
def test_it_is_an_error_that_names_file_and_remedy(built: Database, kind: str) -> None:
    spoil, error, words = BAD[kind]
    spoil(built.path)
    folder = built.path.parent
    before = _state_of(folder)
    with pytest.raises(error, match=words) as raised:
        read_rows(built.path)
    assert str(folder.parent) in str(raised.value)
    assert raised.value.reason
    assert _state_of(folder) == before


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryNotFoundError):
        read_rows(tmp_path / "nowhere" / "state.sqlite3")
    assert stamp_of(tmp_path / "nowhere" / "state.sqlite3") is None


@pytest.mark.parametrize(
    "missing", ["agent_id", "task_id", "status", "tmux_session", "started_at"]
)
def test_a_needed_column_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    tables = JANUARY.replace(f" {missing} TEXT", f" old_{missing} TEXT")
    database = Database(tmp_path, tables)
    with pytest.raises(UnreadableDatabaseError, match=f"agents.{missing}") as raised:
        read_rows(database.path)
    assert "schema that muster does not know" in str(raised.value)


@pytest.mark.parametrize(
    "agents",
    [
        "CREATE TABLE other (agent_id TEXT)",
        "CREATE VIEW agents AS SELECT 1 AS agent_id, 2 AS task_id, 3 AS status, "
        "4 AS tmux_session, 5 AS started_at",
        "CREATE VIRTUAL TABLE agents USING fts5"
        "(agent_id, task_id, status, tmux_session, started_at)",
    ],
)
def test_only_a_table_has_agents(tmp_path: Path, agents: str) -> None:
    database = Database(tmp_path, agents)
    with pytest.raises(UnreadableDatabaseError, match="no table 'agents'"):
        read_rows(database.path)


@needs_another_user
@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
def test_a_file_of_an_untrusted_user_is_not_opened(built: Database, end: str) -> None:
    for name in ("-wal", "-shm"):
        built.path.with_name(built.path.name + name).touch()
    os.chown(built.path.with_name(built.path.name + end), OTHER, OTHER)
    with pytest.raises(UnreadableDatabaseError, match=f"user {OTHER}"):
        read_rows(built.path)


@needs_another_user
def test_a_database_without_permission_is_an_error(public: Database) -> None:
    public.path.chmod(0o600)
    assert _as_other(public, read_rows) == "InaccessibleRegistryError"


@needs_another_user
def test_another_user_reads_without_permission_to_write(public: Database) -> None:
    assert _as_other(public, _progress) == "10"
    with closing(sqlite3.connect(public.path, isolation_level=None)) as writer:
        writer.execute("UPDATE agents SET progress = 99")
        assert len(list(public.path.parent.iterdir())) == 3
        assert _as_other(public, _progress) == "99"


def _progress(path: Path) -> str:
    return str(read_rows(path).agents[0]["progress"])


def _as_other(built: Database, read: Callable[[Path], object]) -> str:
    """Returns the result of a reading by another user: a text, or the type's name."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        said = "nothing"
        try:
            os.setgroups([])
            os.setgid(OTHER)
            os.setuid(OTHER)
            result = read(built.path)
            said = result if isinstance(result, str) else type(result).__name__
        except BaseException as error:  # The parent shows it.
            said = type(error).__name__
        finally:
            os.write(theirs, said.encode())
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def test_a_reading_without_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path)
    for number in range(200):
        database.row("agents", agent_id=str(number), task_id="TASK-1")
    monkeypatch.setattr(connection, "STEPS_AT_MOST", 100)
    monkeypatch.setattr(connection, "_STEPS_OF_A_LOOK", 50)
    with pytest.raises(UnreadableDatabaseError, match="100 steps"):
        read_rows(database.path)


def test_an_empty_log_without_an_index_is_no_log(built: Database) -> None:
    # So leaves it a process that was killed when it opened the database.
    log = built.path.with_name(f"{built.path.name}-wal")
    log.touch()
    os.utime(log, (1_700_000_000, 1_700_000_000))
    before = _state_of(built.path.parent)
    assert [row["agent_id"] for row in read_rows(built.path).agents] == ["one"]
    stamp = stamp_of(built.path)
    assert stamp is not None and stamp == read_rows(built.path).stamp
    assert _state_of(built.path.parent) == before


@pytest.mark.parametrize("write", [False, True])
def test_the_log_beside_an_empty_database_stays(built: Database, write: bool) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as writer:
        writer.execute("UPDATE agents SET progress = 99")
        folder = built.path.with_name("copy")
        folder.mkdir()
        for name in ("-wal", "-shm"):
            shutil.copy(f"{built.path}{name}", folder)
    empty = folder / built.path.name
    empty.touch()
    os.utime(empty, (1_700_000_000, 1_700_000_000))
    before = _state_of(folder)
    with pytest.raises(UnreadableDatabaseError, match="is empty"):
        if write:
            with writing(empty, 0.0):
                pass
        else:
            read_rows(empty)
    assert _state_of(folder) == before


def test_the_advice_moves_the_log_with_the_database(built: Database) -> None:
    built.path.write_bytes(b"any" * 4096)
    os.utime(built.path, (1_700_000_000, 1_700_000_000))
    with pytest.raises(UnreadableDatabaseError, match="Stop the orchestrator") as raised:
        read_rows(built.path)
    assert all(f"state.sqlite3{end}" in str(raised.value) for end in ("-wal", "-shm"))


def test_an_old_log_of_a_copy_is_never_left_out(built: Database) -> None:
    # A copy of a database that is in use, without its index.
    with closing(sqlite3.connect(built.path, isolation_level=None)) as writer:
        writer.execute("UPDATE agents SET progress = 99")
        copy = built.workspace.with_name("copy") / "registry"
        copy.mkdir(parents=True)
        for end in ("", "-wal"):
            name = built.path.name + end
            shutil.copy(built.path.with_name(name), copy / name)
    with pytest.raises(UnreadableDatabaseError, match="newest changes are unknown"):
        read_rows(copy / built.path.name)


def _rewritten(database: Database, old: str, new: str) -> None:
    """Changes the text of the schema, as no SQL statement can."""
    with closing(sqlite3.connect(database.path)) as writer, writer:
        writer.execute("PRAGMA writable_schema = ON")
        writer.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?)", (old, new))


def test_a_virtual_table_in_another_spelling_is_not_read(tmp_path: Path) -> None:
    names = "(agent_id, task_id, status, tmux_session, started_at)"
    database = Database(tmp_path, f"CREATE VIRTUAL TABLE agents USING fts5{names}")
    _rewritten(database, "CREATE VIRTUAL", "CREATE/**/VIRTUAL")
    with pytest.raises(UnreadableDatabaseError, match="no table 'agents'"):
        read_rows(database.path)


@pytest.mark.parametrize("text", ["CREATE TABLE agents_2", "CREATE TABLE main.agents"])
def test_a_text_that_creates_another_table_is_not_believed(built: Database, text: str) -> None:
    _rewritten(built, "CREATE TABLE agents", text)
    with pytest.raises(UnreadableDatabaseError):
        read_rows(built.path)


def test_a_view_behind_the_row_of_a_table_is_not_read(built: Database) -> None:
    built.run("CREATE VIEW v AS SELECT 1 AS agent_id, 2 AS task_id, 3 AS tmux_session")
    _rewritten(built, "CREATE TABLE agents", "CREATE TABLE other")
    _rewritten(built, "CREATE VIEW v", "CREATE VIEW agents")
    with pytest.raises(UnreadableDatabaseError):
        read_rows(built.path)


@pytest.mark.parametrize("name", ['"agents"', "[agents]", "`agents`", "'agents'"])
def test_the_name_of_a_table_may_be_quoted(tmp_path: Path, name: str) -> None:
    database = Database(tmp_path, TODAY.replace("TABLE agents", f"TABLE IF NOT EXISTS {name}"))
    database.agent("one")
    assert len(read_rows(database.path).agents) == 1


_WITH_ALL_READERS = """
import sys
from pathlib import Path
from resource import RLIMIT_AS, setrlimit

from registry.database import find_damage, lists_task, read_agent, read_rows
from registry.database.agent_rows import read_tables, why_unwritable

setrlimit(RLIMIT_AS, (1 << 30, 1 << 30))
path = Path(sys.argv[1])
assert len(read_rows(path, reports=True).agents) == 1
assert read_agent(path, "TASK-1", "one") is not None
assert lists_task(path, "TASK-1")
assert read_tables(path, ["one"]).rows
assert why_unwritable(path) is None
assert find_damage(path, 60.0) == ()
"""


def test_views_that_use_each_other_are_never_prepared(tmp_path: Path) -> None:
    # "tasks" itself is the worst of the views.
    database = Database(tmp_path, TODAY.replace("CREATE TABLE tasks", "CREATE TABLE tasks_0"))
    names = [*(f"v_{level}" for level in range(40)), "tasks"]
    database.run("CREATE VIEW v_0 AS SELECT task_id FROM tasks_0")
    for below, name in pairwise(names):
        database.run(f"CREATE VIEW {name} AS SELECT 1 AS task_id FROM {below} a, {below} b")
    with closing(sqlite3.connect(database.path)) as writer, writer:
        writer.execute(
            "INSERT INTO agents (agent_id, task_id, status, tmux_session, started_at) "
            "VALUES ('one', 'TASK-1', 'running', 'agent_one', '')"
        )
    command = [sys.executable, "-c", _WITH_ALL_READERS, str(database.path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_path_may_have_bytes_that_are_not_valid_unicode(tmp_path: Path) -> None:
    database = Database(tmp_path / "plain")
    database.agent("one")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd-\xff?#%"))
    (tmp_path / "plain").rename(odd)
    assert len(read_rows(odd / "registry" / "state.sqlite3").agents) == 1
    with writing(odd / "registry" / "state.sqlite3", 5.0) as transaction:
        assert transaction.select("SELECT agent_id FROM agents") == [("one",)]


def test_a_column_with_any_name_does_not_prevent_a_change(built: Database) -> None:
    built.run('ALTER TABLE agents ADD COLUMN "odd name" TEXT')
    built.run("ALTER TABLE agents ADD COLUMN twice TEXT AS (status || status)")
    entry = read_tables(built.path, ["one"]).entries["one"]
    assert entry["agents.status"] == "running"


def test_generated_columns_are_not_computed(tmp_path: Path) -> None:
    costly = "g TEXT GENERATED ALWAYS AS (hex(zeroblob(9000000))) VIRTUAL"
    needed = f"status TEXT GENERATED ALWAYS AS (hex(zeroblob(9000000))) VIRTUAL, {costly}"
    database = Database(
        tmp_path, TODAY.replace("final_verdict TEXT", f"final_verdict TEXT, {costly}")
    )
    database.agent("one")
    row = read_agent(database.path, "TASK-1", "one")
    # The value is longer than any text that is read.
    assert row is not None and row["status"] == "running" and "g" not in row
    assert len(read_rows(database.path).agents) == 1
    database = Database(
        tmp_path / "2", JANUARY.replace("status TEXT, progress", f"{needed}, progress")
    )
    with pytest.raises(UnreadableDatabaseError, match=r"agents\.status"):
        read_rows(database.path)


def test_ids_of_any_bytes_are_found_again(built: Database) -> None:
    built.run(
        "INSERT INTO agents (agent_id, task_id, status, tmux_session, started_at) "
        "VALUES (CAST(x'ff1b' AS TEXT), CAST(x'2e2e2fff' AS TEXT), 'running', 's', '')"
    )
    (odd,) = (row for row in read_rows(built.path).agents if row["agent_id"] != "one")
    assert (odd["agent_id"], odd["task_id"]) == ("\udcff\x1b", "../\udcff")
    assert read_agent(built.path, odd["task_id"], odd["agent_id"]) is not None
    assert lists_task(built.path, odd["task_id"])
    assert not any(lists_task(built.path, odd) for odd in ("\udcfe", "\ud800", "ü"))


def test_the_memory_of_a_reading_is_limited(
    built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        built.agent(str(number), type="x" * 10_000)
    monkeypatch.setattr(connection, "MEMORY_AT_MOST", 1 << 17)
    with pytest.raises(UnreadableDatabaseError, match="of memory"):
        read_rows(built.path)
    monkeypatch.setattr(connection, "MEMORY_AT_MOST", 1 << 19)
    assert len(read_rows(built.path).agents) == 21


def test_the_time_of_a_reading_is_limited(
    built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    os.utime(built.path, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(connection, "STEPS_AT_MOST", 10**12)
    monkeypatch.setattr(connection, "SECONDS_AT_MOST", 0.05)
    with (
        pytest.raises(UnreadableDatabaseError, match="takes too long"),
        connection.reading(built.path) as transaction,
    ):
        transaction.select(endless)
    monkeypatch.setattr(connection, "SECONDS_AT_MOST", 1e4)
    with (
        pytest.raises(UnreadableDatabaseError, match="takes too long"),
        connection.reading(built.path, Limits(give_up_at=time.monotonic() + 0.05)) as transaction,
    ):
        transaction.select(endless)


def test_the_log_counts_for_the_size(built: Database) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as writer:
        writer.execute("UPDATE agents SET progress = 99")
        sizes = [
            built.path.with_name(built.path.name + end).stat().st_size for end in ("", "-wal")
        ]
        assert min(sizes) > 0
        with pytest.raises(UnreadableDatabaseError, match="is too large"):
            read_rows(built.path, Limits(largest=sum(sizes) - 1))
        assert read_rows(built.path, Limits(largest=sum(sizes))).agents


def test_a_hundred_gigabytes_of_nothing_are_not_read(built: Database) -> None:
    for end in ("-wal", "-shm"):
        with built.path.with_name(built.path.name + end).open("wb") as file:
            file.truncate(100 << 30)
    with pytest.raises(UnreadableDatabaseError, match="is too large"):
        read_rows(built.path)
