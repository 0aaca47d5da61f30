"""A write of a database: refused clearly, or made whole, beside any other writer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry import (
    LockTimeoutError,
    RegistryError,
    UncertainCommitError,
    UntrustedFileError,
    UnwritableDatabaseError,
)
from registry.database import read_rows, why_unwritable, writing
from registry.database.transaction import WriteTransaction
from tests.support import small_disk
from tests.support.bad_databases import BAD
from tests.support.databases import JANUARY, Database
from tests.support.limits import no_file_longer_than
from tests.support.one_agent import built as built
from tests.support.one_agent import public as public
from tests.support.other_user import OTHER, needs_another_user

_SET = "UPDATE agents SET progress = ?"


def _write(path: Path, progress: int = 50, timeout: float = 0.0) -> None:
    with writing(path, timeout) as transaction:
        transaction.execute(_SET, (progress,))
        transaction.commit()


def _progress(built: Database) -> object:
    return read_rows(built.path).agents[0]["progress"]


@pytest.mark.parametrize("is_open", [False, True])
def test_a_write_is_seen_and_no_other_file_is_left(built: Database, is_open: bool) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as other:
        if is_open:
            other.execute("SELECT * FROM agents").fetchall()
        _write(built.path)
        assert other.execute("SELECT progress FROM agents").fetchone() == (50,)
    # The orchestrator's last connection has taken the log in, and removed it.
    assert [path.name for path in built.path.parent.iterdir()] == ["state.sqlite3"]
    assert _progress(built) == 50


def test_the_log_stays_and_keeps_the_mode_of_the_database(built: Database) -> None:
    built.path.chmod(0o640)
    mask = os.umask(0o077)
    try:
        _write(built.path)
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in built.path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("state.sqlite3", "state.sqlite3-wal", "state.sqlite3-shm"), 0o640
    )
    assert _progress(built) == 50


def test_a_block_without_a_commit_changes_nothing(built: Database) -> None:
    with writing(built.path, 0.0) as transaction:
        transaction.execute(_SET, (50,))
    with pytest.raises(KeyboardInterrupt), writing(built.path, 0.0) as transaction:
        transaction.execute(_SET, (50,))
        raise KeyboardInterrupt
    assert _progress(built) == 10
    _write(built.path, 60)
    assert _progress(built) == 60


def test_a_signal_between_two_statements_rolls_back(built: Database) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), writing(built.path, 0.0) as transaction:
            transaction.execute(_SET, (50,))
            os.kill(os.getpid(), signal.SIGUSR1)
            transaction.commit()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert _progress(built) == 10
    _write(built.path)


def test_a_writer_is_waited_for_until_the_deadline(built: Database) -> None:
    with closing(sqlite3.connect(built.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockTimeoutError, match=r"state\.sqlite3 after 0\.3s"):
            _write(built.path, timeout=0.3)
        other.execute("COMMIT")
        _write(built.path)


def test_threads_read_while_one_waits_for_another_process(built: Database) -> None:
    other = sqlite3.connect(built.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=_write, args=(built.path, 50, 30.0))
    thread.start()
    for _ in range(5):
        assert _progress(built) == 10
    other.execute("COMMIT")
    thread.join()
    other.close()
    assert _progress(built) == 50


def test_many_threads_lose_no_write(built: Database) -> None:
    def add() -> None:
        for _ in range(10):
            with writing(built.path, 30.0) as transaction:
                transaction.execute("UPDATE agents SET progress = progress + 1")
                transaction.commit()
            _progress(built)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _progress(built) == 40


def _state_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    states = {path.name: path.lstat() for path in sorted(folder.iterdir())}
    return {
        name: (state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states.items()
    }


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_read_is_not_written(built: Database, kind: str) -> None:
    spoil, error, words = BAD[kind]
    spoil(built.path)
    before = _state_of(built.path.parent)
    reason = why_unwritable(built.path)
    assert reason is not None
    # SQLite itself finds out that a file is not a database, after it has made its own files.
    if kind not in ("not a database", "cut"):
        with pytest.raises(error, match=words):
            _write(built.path)
        assert _state_of(built.path.parent) == before


def test_an_unknown_schema_is_not_written(tmp_path: Path) -> None:
    built = Database(tmp_path, JANUARY.replace(" status TEXT", " word TEXT"))
    assert "schema that muster does not know" in (why_unwritable(built.path) or "")


def test_a_database_with_a_rollback_journal_is_not_written(built: Database) -> None:
    built.run("PRAGMA journal_mode = DELETE")
    before = _state_of(built.path.parent)
    assert "does not use a write-ahead log" in (why_unwritable(built.path) or "")
    with pytest.raises(UnwritableDatabaseError, match="Let the orchestrator open"):
        _write(built.path)
    assert _state_of(built.path.parent) == before


def test_a_link_in_the_place_of_the_log_is_never_written(built: Database, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    wal, shm = (built.path.with_name(built.path.name + end) for end in ("-wal", "-shm"))
    shm.touch()
    wal.symlink_to(target)
    with pytest.raises(RegistryError, match="is a symlink"):
        _write(built.path)
    assert target.read_bytes() == b"precious"


def test_a_link_that_replaces_the_log_meanwhile_is_never_written(
    built: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious" * 1000)
    wal = built.path.with_name(built.path.name + "-wal")

    def swap(_: object) -> None:
        wal.symlink_to(target)

    monkeypatch.setattr("registry.database.transaction.check_free_space", swap)
    with pytest.raises(RegistryError, match=r"state\.sqlite3"):
        _write(built.path)
    assert target.read_bytes() == b"precious" * 1000


def test_a_new_owner_is_noticed(built: Database) -> None:
    with (
        pytest.raises(UntrustedFileError, match="belonged to user"),
        writing(built.path, 0.0, owner=os.geteuid() + 1),
    ):
        pass


def test_a_failing_disk_at_the_commit_leaves_the_outcome_open(built: Database) -> None:
    class Failing:
        def execute(self, statement: str) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

    with writing(built.path, 0.0) as transaction:
        failing = WriteTransaction(transaction.path, transaction.stamp, Failing())  # type: ignore[arg-type]
        with pytest.raises(UncertainCommitError, match="not known whether the change"):
            failing.commit()


def test_a_limit_on_the_size_of_files_is_named(built: Database) -> None:
    with no_file_longer_than(1000), pytest.raises(RegistryError) as raised:
        _write(built.path)
    assert "ulimit -f" in str(raised.value) or "free space" in str(raised.value)
    assert _progress(built) == 10


@pytest.mark.parametrize("size", [0, 3, 8192, 24576])
def test_the_incomplete_index_of_an_empty_log_hides_nothing(built: Database, size: int) -> None:
    """SQLite leaves such files if the disk becomes full while it opens a database."""
    log, index = (built.path.with_name(built.path.name + end) for end in ("-wal", "-shm"))
    log.touch()
    index.write_bytes(bytes(size))
    assert _progress(built) == 10
    assert (log.stat().st_size, index.stat().st_size) == (0, size)
    _write(built.path)
    assert _progress(built) == 50


@pytest.mark.parametrize("what", ["full", "read-only"])
def test_a_disk_that_cannot_be_written_changes_nothing(tmp_path: Path, what: str) -> None:
    directory = Path(os.path.realpath(tmp_path))
    way = small_disk.way_to_mount(directory)
    if way is None:
        pytest.skip("no small file system can be mounted here: no user namespaces, and no root")
    module = "tests.support.small_disk_databases"
    command = (sys.executable, "-B", "-m", module, what, str(directory))
    done = small_disk.mounted(way, directory, "size=1m", *command)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["refused"] >= (5 if what == "full" else 1), counts


# Other users


def _as_other(act: Callable[[], object], *groups: int) -> str:
    """Returns what an act of another user returned or raised, as text."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        said = "nothing"
        try:
            os.setgroups(groups)
            os.setgid(OTHER)
            os.setuid(OTHER)
            said = str(act())
        except BaseException as error:  # The parent shows it.
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(theirs, said.encode()[:4000])
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


@needs_another_user
def test_a_user_without_permission_is_refused(public: Database) -> None:
    before = _state_of(public.path.parent)
    assert "Permission denied" in _as_other(lambda: why_unwritable(public.path))
    said = _as_other(lambda: _write(public.path))
    assert said.startswith("InaccessibleRegistryError") and "writable for this user" in said
    assert _state_of(public.path.parent) == before


@needs_another_user
@pytest.mark.parametrize(
    ("owner", "group", "mode", "who"),
    [(0, 64105, 0o070, "group 64105"), (64105, 0, 0, "user 64105"), (0, 0, 0o007, "every user")],
)
@pytest.mark.parametrize("only_the_workspace", [True, False])
def test_what_another_user_can_write_or_replace_is_not_written(
    public: Database, owner: int, group: int, mode: int, who: str, only_the_workspace: bool
) -> None:
    everything = (public.path, public.path.parent, public.workspace)
    for path in everything:
        path.chmod(0o700 if path.is_dir() else 0o600)
    for path in everything[-1:] if only_the_workspace else everything:
        os.chown(path, owner, group)
        path.chmod(path.stat().st_mode | (mode if path.is_dir() else mode & 0o066))
    before = _state_of(public.path.parent)
    with pytest.raises(RegistryError, match=f"{who} can write or replace it"):
        _write(public.path)
    assert f"{who} can write" in str(why_unwritable(public.path))
    assert _state_of(public.path.parent) == before
    for path in everything:
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() else 0o644)
    _write(public.path)
    assert _progress(public) == 50


def _plant_journal(folder: Path, victim: Path) -> None:
    """Writes a database, and a hot journal whose rollback would delete the victim."""
    with closing(sqlite3.connect(folder / "B", isolation_level=None)) as other:
        other.execute("CREATE TABLE x (y)")
        page = other.execute("PRAGMA page_size").fetchone()[0]
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    name, magic = os.fsencode(victim), bytes.fromhex("d9d505f920a163d7")
    header = (magic + struct.pack(">5I", 0, 1234, pages, 512, page)).ljust(512, b"\0")
    tail = struct.pack(">II", len(name), sum(name) & 0xFFFFFFFF) + magic
    place = struct.pack(">I", 0x40000000 // page + 1)
    (folder / "B-journal").write_bytes(header + place + name + tail)


def test_another_database_with_a_hot_journal_is_never_rolled_back(
    built: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    _plant_journal(tmp_path, victim)
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    swaps: list[str] = []

    def swapped(address: str, **options: Any) -> sqlite3.Connection:
        if "mode=rw" not in address or swaps:
            return connect(address, **options)
        swaps.append(address)
        built.path.rename(tmp_path / "A")
        for end in ("", "-journal"):
            shutil.copy(tmp_path / f"B{end}", f"{built.path}{end}")
        opened = connect(address, **options)
        # The examination after BEGIN finds the files as they were.
        (tmp_path / "A").rename(built.path)
        return opened

    monkeypatch.setattr(sqlite3, "connect", swapped)
    with pytest.raises(RegistryError):
        _write(built.path)
    assert swaps and victim.read_text() == "precious"
    # Without the attack, SQLite does what the test expects of the journal.
    for end in ("", "-journal"):
        shutil.copy(tmp_path / f"B{end}", tmp_path / f"C{end}")
    with closing(connect(tmp_path / "C")) as other:
        other.execute("SELECT * FROM sqlite_master").fetchall()
    assert not victim.exists()
