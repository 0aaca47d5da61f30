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
from contextlib import closing
from pathlib import Path

import pytest

from registry.database import files, read_rows, stamp_of, writing
from registry.database.files import examine
from registry.schema import Workspace
from registry.sources import SqliteWorkspace
from tests.support.databases import Database
from tests.support.one_agent import built as built

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


_NEXT = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("SELECT count(*) FROM tasks").fetchone()
database.close()
"""


def _written(path: Path) -> None:
    with writing(path, 1.0) as transaction:
        transaction.execute("UPDATE agents SET progress = 50")
        transaction.commit()


@pytest.mark.parametrize("look", [*_LOOKS.values(), read_rows, _written])
def test_a_connection_of_the_caller_keeps_its_lock(
    built: Database, look: Callable[[Path], object]
) -> None:
    """Otherwise the next program removes the log, and later commits of the caller are lost."""
    with closing(sqlite3.connect(built.path, isolation_level=None)) as own:
        own.execute("UPDATE tasks SET status = 'ACTIVE'")
        look(built.path)
        subprocess.run([sys.executable, "-c", _NEXT, str(built.path)], check=True)
        assert built.path.with_name(f"{built.path.name}-wal").exists()
        own.execute("UPDATE tasks SET status = 'COMPLETED'")
    with closing(sqlite3.connect(built.path)) as later:
        assert later.execute("SELECT status FROM tasks").fetchall() == [("COMPLETED",)]


def test_a_child_process_does_not_share_the_lock(built: Database) -> None:
    read_rows(built.path)
    assert files._kept
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(theirs, str(len(files._kept)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(ours, 9) == b"0"
    os.close(ours)
    os.close(theirs)


def test_a_database_that_was_replaced_is_not_kept(built: Database) -> None:
    read_rows(built.path)
    (_, opened), number = files._kept[built.path], len(files._kept)
    built.path.rename(built.path.with_name("before"))
    other = Database(built.workspace)
    other.task()
    read_rows(other.path)
    assert len(files._kept) == number and files._kept[built.path][1] is not opened
