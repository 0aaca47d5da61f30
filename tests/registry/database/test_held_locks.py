"""What else this process does with a database never drops the lock of its write transaction.

POSIX drops all locks that a process has on a file as soon as the process closes any descriptor of
the file.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from registry import LockTimeoutError
from registry.database import read_rows, stamp_of, writing
from registry.database.files import examine
from registry.schema import Workspace
from registry.sources import SqliteWorkspace
from tests.support.databases import Database

_INTRUDER = """
import sqlite3, sys
for _ in sys.stdin:
    database = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        print("writes", flush=True)
    except sqlite3.OperationalError as error:
        print(error, flush=True)
    database.close()
"""

_LOOKS: dict[str, Callable[[Path], object]] = {
    "stamp": stamp_of,
    "files": examine,
    "dialect": lambda path: SqliteWorkspace(Workspace(path.parents[1])).dialect,
    "workspace": lambda path: SqliteWorkspace(Workspace(path.parents[1])).stamp(),
    "directories": lambda path: SqliteWorkspace(Workspace(path.parents[1])).directories(),
}


@pytest.fixture
def built(tmp_path: Path) -> Database:
    """A database with one agent."""
    database = Database(tmp_path / ".agent-workspace")
    database.task()
    database.agent("one")
    return database


@pytest.fixture
def another(built: Database) -> Iterator[Callable[[], str]]:
    """Lets another process try to write; returns what came of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _INTRUDER, str(built.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    def tried() -> str:
        stdin.write("try\n")
        stdin.flush()
        return stdout.readline().strip()

    yield tried
    process.communicate()


@pytest.mark.parametrize("look", _LOOKS.values(), ids=_LOOKS)
def test_a_look_does_not_drop_the_lock_of_a_write(
    built: Database, another: Callable[[], str], look: Callable[[Path], object]
) -> None:
    assert another() == "writes"
    with writing(built.path, 1.0) as transaction:
        transaction.execute("UPDATE agents SET progress = 77")
        look(built.path)
        assert another() == "database is locked"
        transaction.commit()
    assert another() == "writes"
    assert read_rows(built.path).agents[0]["progress"] == 77


def test_a_reading_waits_for_a_write_of_the_same_process(
    built: Database, another: Callable[[], str]
) -> None:
    read: list[object] = []
    with writing(built.path, 1.0) as transaction:
        transaction.execute("UPDATE agents SET progress = 77")
        reader = threading.Thread(target=lambda: read.append(read_rows(built.path)))
        reader.start()
        for _ in range(20):
            assert another() == "database is locked"
        assert not read
        transaction.commit()
    reader.join()
    assert [rows.agents[0]["progress"] for rows in read] == [77]  # type: ignore[attr-defined]


_OTHER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
print(database.execute("SELECT progress FROM agents").fetchone()[0])
database.close()
"""


def _seen_by_another(path: Path) -> str:
    command = [sys.executable, "-c", _OTHER, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _written(path: Path) -> None:
    with writing(path, 1.0) as transaction:
        transaction.execute("UPDATE agents SET progress = 33")
        transaction.commit()


def _refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockTimeoutError):
            _written(path)


def _descriptors_of(path: Path) -> int:
    status = path.stat()
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += os.path.samestat(os.fstat(int(name)), status)
    return found


@pytest.mark.parametrize("use", [read_rows, _written, _refused])
def test_a_connection_of_the_program_itself_keeps_its_locks(
    built: Database, use: Callable[[Path], object]
) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as own:
        own.execute("UPDATE agents SET progress = 22")
        before = 0
        for progress in ("77", "88", "99"):
            use(built.path)
            # Without the locks, this process would take itself for the last one.
            _seen_by_another(built.path)
            own.execute("UPDATE agents SET progress = ?", (int(progress),))
            assert _seen_by_another(built.path) == progress
            assert before in (0, _descriptors_of(built.path))
            before = _descriptors_of(built.path)
    read_rows(built.path)
    assert _descriptors_of(built.path) == 0
