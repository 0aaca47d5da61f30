"""What else this process does with a database never drops the lock of its write transaction.

POSIX drops all locks that a process has on a file as soon as the process closes any descriptor of
the file.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType

import pytest

from registry.database import files, read_rows, stamp_of, writing
from registry.database.files import examine
from registry.errors import RegistryError
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


def _databases(folder: Path, count: int) -> list[Path]:
    made = [Database(folder / str(number)) for number in range(count)]
    for each in made:
        each.task()
    return [each.path for each in made]


def _opened(paths: list[Path]) -> list[int]:
    """Returns how many descriptors this process has of each file; also if a file is deleted."""
    targets = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            targets.append(os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)"))
    return [targets.count(str(path)) for path in paths]


def test_a_deleted_database_is_closed_when_another_is_read(tmp_path: Path) -> None:
    deleted, used, other = paths = _databases(tmp_path, 3)
    for path in (deleted, used):
        read_rows(path)
    # A connection of the caller would lose its locks.
    with closing(sqlite3.connect(used, isolation_level=None)) as own:
        own.execute("UPDATE tasks SET status = 'ACTIVE'")
        deleted.unlink()
        used.unlink()
        read_rows(other)
        assert _opened(paths) == [0, 2, 1]


def test_only_so_many_databases_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_kept", {})
    monkeypatch.setattr(files, "KEPT_AT_MOST", 3)
    first, *others = paths = _databases(tmp_path, 6)
    for path in others:
        read_rows(first)
        read_rows(path)
    # The ones that were used last.
    assert _opened(paths) == [1, 0, 0, 0, 1, 1]


def test_what_is_in_use_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_kept", {})
    monkeypatch.setattr(files, "KEPT_AT_MOST", 1)
    first, second = paths = _databases(tmp_path, 2)
    with writing(first, 1.0) as transaction:
        transaction.execute("UPDATE tasks SET status = 'ACTIVE'")
        read_rows(second)
        assert _opened(paths) == [2, 1]
        transaction.commit()


def test_a_child_of_a_process_that_reads_can_read(built: Database) -> None:
    with writing(built.path, 1.0) as transaction:
        transaction.execute("UPDATE agents SET progress = 50")
        pid = os.fork()
        if not pid:
            # The lock of a thread that the child does not have.
            signal.alarm(20)
            found = len(read_rows(built.path).agents)
            os._exit(40 + found)
        _, status = os.waitpid(pid, 0)
        transaction.commit()
    assert os.waitstatus_to_exitcode(status) == 41


def test_children_of_a_process_whose_threads_read_can_read(built: Database) -> None:
    read_rows(built.path)
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            read_rows(built.path)

    reader = threading.Thread(target=read)
    reader.start()
    codes = []
    for _ in range(20):
        pid = os.fork()
        if not pid:
            # Without this, a child that waits for a lock of the other thread waits forever.
            signal.alarm(20)
            os._exit(len(read_rows(built.path).agents))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    is_over.set()
    reader.join()
    assert codes == [1] * 20


def test_a_call_from_a_signal_handler_in_a_write_fails_at_once(built: Database) -> None:
    """It would wait for the thread that it interrupts."""
    errors: list[RegistryError] = []

    def handle() -> None:
        with writing(built.path, 1.0):
            try:
                read_rows(built.path)
            except RegistryError as error:
                errors.append(error)

    interrupted = threading.Thread(target=handle, daemon=True)
    interrupted.start()
    interrupted.join(30)
    assert [error.reason for error in errors] == [
        "is being used by the thread that this call interrupted"
    ]
    assert len(read_rows(built.path).agents) == 1


class _Interruption(BaseException):
    pass


def _interrupted(do: Callable[[], object], point: int) -> bool:
    """Interrupts at a call inside of the library; returns whether this point was reached."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        if event in ("call", "c_return") and "/registry/" in frame.f_code.co_filename:
            count += 1
            if count == point:
                raise _Interruption

    sys.setprofile(trace)
    try:
        do()
    except _Interruption:
        return True
    finally:
        sys.setprofile(None)
    assert count < point, "an interruption was swallowed"
    return False


@pytest.mark.parametrize("do", [read_rows, _written])
def test_an_interruption_leaves_no_lock_and_no_descriptor(
    built: Database, do: Callable[[Path], object]
) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as own:
        own.execute("UPDATE tasks SET status = 'ACTIVE'")
        do(built.path)
        before, inode = _opened([built.path]), built.path.stat().st_ino
        point = 1
        while _interrupted(lambda: do(built.path), point):
            do(built.path)
            assert f":{inode} " not in "".join(_locks_of_descriptors()), point
            point += 9
        assert point > 900
        # SQLite closes one of its descriptors late, because it holds a lock.
        assert _opened([built.path])[0] <= before[0] + 1


def _locks_of_descriptors() -> list[str]:
    return [line for line in Path("/proc/locks").read_text().splitlines(True) if "OFDLCK" in line]
