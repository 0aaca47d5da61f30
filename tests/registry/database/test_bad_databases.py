"""A database that cannot be read: a clear error, nothing hangs, and nothing is written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from registry import (
    RegistryNotFoundError,
    UnreadableDatabaseError,
)
from registry.database import connection, read_rows, stamp_of
from tests.support.bad_databases import BAD
from tests.support.databases import JANUARY, Database
from tests.support.other_user import OTHER, needs_another_user


def _state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    states = {path.name: path.lstat() for path in sorted(folder.iterdir())}
    return {
        name: (state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states.items()
    }


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one agent."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    database.agent("one")
    return database


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


@pytest.fixture
def public() -> Iterator[Database]:
    """A database with one agent, which every user may read."""
    place = Path(tempfile.mkdtemp(prefix="mst"))
    place.chmod(0o755)
    database = Database(place)
    database.task()
    database.agent("one")
    yield database
    shutil.rmtree(place)


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
