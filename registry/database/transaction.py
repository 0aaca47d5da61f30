"""Opens the database of a workspace for one short, guarded write transaction.

muster appends to the write-ahead log (`-wal`) and its index (`-shm`), and never writes the
database file itself. A checkpoint, which copies the log to the database, is left to the
orchestrator:

- `wal_autocheckpoint` is 0, so a COMMIT makes no checkpoint.
- The last connection that closes makes a checkpoint, and removes the log. `HeldDatabase` has
  SQLite's shared lock until the connection is closed, so SQLite does not see a last connection.
  This works like SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, which Python supports since version 3.12.

So the log and its index stay after a write, as after each process that was killed. This is safe
beside the orchestrator: each later connection reads the log, and the orchestrator's connections
make the checkpoints. A COMMIT flushes the log (synchronous=FULL), so it survives a power cut.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from registry.database.connection import (
    Queries,
    Transaction,
    check,
    connect,
    converted,
    now_of,
    prepare,
)
from registry.database.files import (
    DatabaseFiles,
    DatabaseStamp,
    HeldDatabase,
    UnpairedFilesError,
    examine,
    own_names,
)
from registry.database.free_space import check_free_space, is_full
from registry.database.readings import alone
from registry.database.rows import patiently
from registry.dataclass import dataclass
from registry.errors import (
    BusyRegistryError,
    InaccessibleRegistryError,
    LockTimeoutError,
    RegistryError,
    UncertainCommitError,
    UntrustedFileError,
    UnwritableDatabaseError,
)
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.permissions import is_read_only, user_called
from registry.storage.files.safe_open import folder_of
from registry.storage.files.writers import outsider_of

try:
    import sqlite3
except ImportError as error:
    hand_on(error)
    from registry.database import no_sqlite3 as sqlite3  # type: ignore[no-redef]

# While one attempt waits, no other thread of this process can read the database.
_ATTEMPT = 0.05
_PAUSE = 0.003

_WRITE_PRAGMAS = ("foreign_keys = ON", "synchronous = FULL", "wal_autocheckpoint = 0")


@dataclass(frozen=True, slots=True)
class WriteTransaction(Queries):
    """An open write transaction. Without a call of `commit`, nothing is changed.

    Attributes:
        path: The database.
        stamp: The metadata of the files when the transaction began.
    """

    path: Path
    stamp: DatabaseStamp
    _connection: sqlite3.Connection

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Executes a statement; returns the number of changed rows."""
        return self._connection.execute(statement, values).rowcount

    def commit(self) -> None:
        """Makes the changes durable.

        Raises:
            UncertainCommitError: The disk failed, so it is not known whether the changes were
                written.
            RegistryError: Nothing was changed, for example because the disk is full.
        """
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            hand_on(error)
            problem = _unwritten(self.path, error)
            if _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT):
                raise problem from error
            raise UncertainCommitError(self.path, problem.reason or str(error)) from error


@contextmanager
def writing(path: Path, timeout: float, *, owner: int | None = None) -> Iterator[WriteTransaction]:
    """Begins a write transaction; rolls it back at the end of the block unless it was committed.

    Args:
        path: The database.
        timeout: How long to wait for other writers, in seconds.
        owner: The id of the user that must own the database; None to skip this check.

    Raises:
        LockTimeoutError: Another process wrote the database during the whole waiting time.
        UntrustedFileError: The database belongs to another user than `owner`.
        UnwritableDatabaseError: This user must not, or cannot, write the database.
        RegistryError: The database cannot be read or written; nothing was changed.
    """
    deadline = time.monotonic() + timeout
    has_begun = False
    while True:
        left = max(0.0, deadline - time.monotonic())
        try:
            with _begun(path, min(left, _ATTEMPT), owner) as transaction:
                has_begun = True
                yield transaction
            return
        except (BusyRegistryError, UnpairedFilesError) as error:
            hand_on(error)
            if has_begun:
                raise
            if time.monotonic() >= deadline:
                if isinstance(error, UnpairedFilesError):
                    raise
                raise LockTimeoutError(path, timeout) from error
        time.sleep(_PAUSE)


@contextmanager
def _begun(path: Path, wait: float, owner: int | None) -> Iterator[WriteTransaction]:
    first = examine(path)
    with alone(first), HeldDatabase(first, always=True) as held:
        # Now no process can remove the log. The files may have changed before the lock was taken.
        files = now_of(first)
        _check_owner(files, owner)
        check(files)
        held.check_mode()
        _check_permissions(files)
        if not files.is_in_use:
            check_free_space(files)
        connection = _connect(path, wait)
        try:
            held.check_connected(files)
            prepare(connection, _WRITE_PRAGMAS)
            connection.execute("BEGIN IMMEDIATE")
            # Until here, SQLite has not written to the log.
            opened = now_of(first, in_use=True)
            held.check_opened(opened)
            yield WriteTransaction(path, opened.stamp, connection)
        except sqlite3.Error as error:
            hand_on(error)
            raise _unwritten(path, error) from error
        finally:
            # This also rolls an open transaction back.
            connection.close()


def _connect(path: Path, wait: float) -> sqlite3.Connection:
    try:
        return connect(path, "mode=rw", wait)
    except sqlite3.Error as error:
        hand_on(error)
        raise _unwritten(path, error) from error


def _check_owner(files: DatabaseFiles, owner: int | None) -> None:
    if owner is not None and files.stamp.owner != owner:
        raise UntrustedFileError(
            files.path,
            f"belonged to {user_called(owner)} before, and belongs to "
            f"{user_called(files.stamp.owner)} now; nothing was changed. Check that database, "
            "and try again",
        )


def why_unwritable(path: Path, check_content: Callable[[Transaction], None]) -> str | None:
    """Returns why a write would certainly fail now. Creates no file that has a name.

    Args:
        path: The database.
        check_content: Raises an error if the content must not be changed.

    Returns:
        The reason; None if a write may succeed. The reason is not known while other writers
        prevent a reading.
    """
    try:
        first = examine(path)
        check(first)
        with alone(first), HeldDatabase(first, always=True) as held:
            held.check_mode()
        _check_permissions(first)
        check_free_space(first)
        patiently(path, check_content)
    except (BusyRegistryError, LockTimeoutError) as error:
        hand_on(error)
        return None
    except RegistryError as error:
        hand_on(error)
        return error.reason or str(error)
    return None


def why_locked(path: Path, timeout: float) -> str | None:
    """Returns why no write transaction can begin now; changes no content.

    Args:
        path: The database.
        timeout: How long to wait for other writers, in seconds.

    Returns:
        The reason; None if a write transaction began, and was rolled back.
    """
    try:
        with writing(path, timeout):
            return None
    except RegistryError as error:
        hand_on(error)
        return error.brief


def _check_permissions(files: DatabaseFiles) -> None:
    """Requires that this user may write the files, or create the log and its index.

    Raises:
        InaccessibleRegistryError: A file or the directory is not writable.
        UnwritableDatabaseError: Another user can write or replace the files.
    """
    path = files.path
    # SQLite opens files by their paths, and executes the expressions of a schema. So another user
    # could exchange the files, or write expressions that never end.
    other = outsider_of(path, ())
    if other is not None:
        raise UnwritableDatabaseError(
            path,
            f"is not written, because {other} can write or replace it",
            "Run muster as the only user who can write the database and its directory, for "
            "example with sudo -u",
        )
    with folder_of(path) as folder:
        names = [path.name, *(["."] if not files.is_in_use else own_names(path))]
        for name in names:
            if not os.access(name, os.W_OK, dir_fd=folder, effective_ids=True):
                raise _unpermitted(path)


def _unpermitted(path: Path) -> InaccessibleRegistryError:
    number = errno.EACCES
    with tolerating(OSError):
        number = errno.EROFS if is_read_only(path) else number
    return InaccessibleRegistryError(path, OSError(number, ""), "write")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _unwritten(path: Path, error: sqlite3.Error) -> RegistryError:
    """Returns the error for a failed write; nothing was changed."""
    code, said = _code(error), str(error) or type(error).__name__
    is_moved = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED
    if is_moved or code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return BusyRegistryError(path)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and is_full(path)):
        return InaccessibleRegistryError(path, OSError(errno.ENOSPC, ""), "write")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _unpermitted(path)
    if code == sqlite3.SQLITE_IOERR:
        return UnwritableDatabaseError(
            path,
            f"cannot be written: {said}",
            "Check the free space, the disk quota, the limit on file sizes (ulimit -f) and the "
            "system log (dmesg)",
        )
    if code == sqlite3.SQLITE_CONSTRAINT:
        return UnwritableDatabaseError(
            path,
            f"does not allow the change: {said}",
            "Make the change with the orchestrator",
        )
    return converted(path, error)
