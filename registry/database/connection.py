"""Opens the database of a workspace for one short reading.

All connections of this library are opened by `connect`.

A writer is never blocked, and no file is created: the write-ahead log and its index stay as they
are. A connection that stayed open would keep the log from being removed, so each reading closes
its connection.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from operator import or_
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import quote

from registry.advice import moving_database_aside, restoring_database
from registry.database.file_pages import pages_of
from registry.database.files import (
    DatabaseFiles,
    DatabaseStamp,
    HeldDatabase,
    UnpairedFilesError,
    examine,
)
from registry.database.pages import Pages
from registry.database.readings import alone
from registry.dataclass import dataclass, replace
from registry.errors import BusyRegistryError, RegistryError, UnreadableDatabaseError
from registry.storage.files.interruption import hand_on

try:
    import sqlite3
except ImportError as error:
    hand_on(error)
    from registry.database import no_sqlite3 as sqlite3  # type: ignore[no-redef]

BYTES_AT_MOST = 2 * 1024**3
"""The size of the largest database that is read, in bytes."""

STEPS_AT_MOST = 50_000_000
"""The largest number of steps of SQLite's virtual machine in one reading: some seconds.

A longer transaction would stop the checkpoints of the writers.
"""

SECONDS_AT_MOST = 10.0
"""The longest time of one reading, in seconds.

The number of steps does not limit the time alone: the text of a schema is parsed in few steps.
"""

MEMORY_AT_MOST = 640 * 1024 * 1024
"""The largest size in memory of the values of one query, or of one table, in bytes."""

DAMAGES_AT_MOST = 5
"""The largest number of damages that one check of a database returns."""

_QUICK_CHECK = f"PRAGMA quick_check({DAMAGES_AT_MOST})"

_BUSY_TIMEOUT = 0.2
_STEPS_OF_A_LOOK = 2_000

# For this many seconds after its creation, an empty database may be being created.
_EMPTY_FOR = 1.0

_TEXT_AT_MOST = 16 * 1024 * 1024

# The name may be quoted. After another name, the table would be called otherwise than its row.
_CREATED = r"""CREATE TABLE (?:{name}|"{name}"|'{name}'|`{name}`|\[{name}\])\s*\("""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

# mmap_size: the content is read by calls, never from a mapping that another process may truncate.
_SAFE = ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: _TEXT_AT_MOST,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 1000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 3,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 8,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 10,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

# SQLite's own codes; `sqlite3` has these names since Python 3.11.
# SQLITE_READONLY: another user's index has no free place for this reader at this moment.
_BUSY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_REFUSED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one reading.

    Attributes:
        largest: The largest size of the database and its write-ahead log together, in bytes.
        give_up_at: When the reading must end, in seconds of the monotonic clock.
        seconds: The longest time of the reading in seconds; None for `SECONDS_AT_MOST`.
    """

    largest: int = BYTES_AT_MOST
    give_up_at: float = math.inf
    seconds: float | None = None

    @property
    def end(self) -> float:
        """When a reading that begins now must end, in seconds of the monotonic clock."""
        seconds = SECONDS_AT_MOST if self.seconds is None else self.seconds
        return min(self.give_up_at, time.monotonic() + seconds)


USUAL = Limits()
"""The limits of a workspace that the user named."""


class Queries:
    """The queries of read transactions and of write transactions."""

    __slots__ = ()

    path: Path
    stamp: DatabaseStamp
    _connection: sqlite3.Connection

    def select(
        self, query: str, values: Sequence[object] = (), sizes: list[int] | None = None
    ) -> list[tuple[Any, ...]]:
        """Returns the rows of a query. Errors are converted by the transaction.

        Args:
            query: The query. A placeholder for a text must be `TEXT`.
            values: The values of the placeholders.
            sizes: Gets the size of each row in memory, in bytes.

        Raises:
            UnreadableDatabaseError: The rows need too much memory.
        """
        whole = 0
        sizes = [] if sizes is None else sizes
        rows: list[tuple[Any, ...]] = []
        for row in self._connection.execute(query, [*map(_bound, values)]):
            # `sys.getsizeof` takes twice the time, for the same.
            size = sum([value.__sizeof__() for value in row])
            whole += size
            if whole > MEMORY_AT_MOST:
                raise too_much_memory(self.path)
            sizes.append(size)
            rows.append(row)
        return rows

    def table(self, name: str) -> str | None:
        """Returns the text that created a table; None if there is no such table.

        A view, or a virtual table, does not count as a table. No view of the database is
        prepared: for views that use each other, this would need any time and memory.
        """
        query = f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name = {TEXT}"  # noqa: S608
        texts = [text for (text,) in self.select(query, (name,)) if isinstance(text, str)]
        # SQLite itself writes the text like this. But another program may have changed the text.
        # A second table or view with this name would make the schema invalid.
        pattern = _CREATED.format(name=re.escape(name))
        if len(texts) != 1 or re.match(pattern, texts[0]) is None:
            return None
        return texts[0]

    def columns(self, table: str) -> tuple[str, ...]:
        """Returns the names of a table's columns, in order; none if there is no such table.

        A generated column is left out, because its value may need any time. A column whose name
        is not a plain word is left out, too.
        """
        if self.table(table) is None:
            return ()
        query = f"SELECT name FROM pragma_table_info({TEXT})"  # noqa: S608
        rows = self.select(query, (table,))
        return tuple(name for (name,) in rows if _PLAIN.fullmatch(name))


TEXT = "CAST(? AS TEXT)"
"""A placeholder for a text, which may contain bytes that are not valid UTF-8."""


@dataclass(frozen=True, slots=True)
class Transaction(Queries):
    """An open read transaction, which sees one state of the database.

    Attributes:
        path: The database.
        stamp: The metadata of the files before the transaction began.
        pages: Returns the pages of the database; None if they cannot be known.
    """

    path: Path
    stamp: DatabaseStamp
    _connection: sqlite3.Connection
    pages: Callable[[], Pages | None]

    def select_many(
        self, query: str, values: Sequence[object], sizes: list[int]
    ) -> list[tuple[Any, ...]]:
        """Returns the rows of a query as `select` does, in two thirds of the time."""
        # SQLite's module decodes valid UTF-8 itself, with the same result.
        self._connection.text_factory = str
        try:
            return self.select(query, values, sizes)
        except sqlite3.OperationalError as error:
            hand_on(error)
            if not str(error).startswith("Could not decode"):
                raise
        finally:
            self._connection.text_factory = as_text
        sizes.clear()
        return self.select(query, values, sizes)

    def root_page(self, table: str) -> int | None:
        """Returns the number of the page at the root of a table's tree; None if unknown."""
        query = f"SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = {TEXT}"  # noqa: S608
        roots = [root for (root,) in self.select(query, (table,))]
        return roots[0] if len(roots) == 1 and isinstance(roots[0], int) else None

    def quick_check(self, seconds: float, query: str = _QUICK_CHECK) -> tuple[str, ...] | None:
        """Checks the pages of the database.

        Args:
            seconds: The time after which the check is stopped.
            query: The check; tests use another one.

        Returns:
            At most `DAMAGES_AT_MOST` damages; None if the check was stopped.
        """
        # In older versions, the check of one table does not call the progress handler.
        stop = Timer(seconds, self._connection.interrupt)
        stop.start()
        try:
            rows = self.select(query)
        except sqlite3.DatabaseError as error:
            hand_on(error)
            code = error.sqlite_errorcode & 0xFF
            if code == sqlite3.SQLITE_INTERRUPT:
                return None
            if code in _DAMAGED:
                return (str(error),)
            raise
        finally:
            # The connection must not be closed while the timer uses it.
            stop.cancel()
            stop.join()
        return tuple(str(damage) for (damage,) in rows if damage != "ok")


def too_much_memory(path: Path) -> UnreadableDatabaseError:
    """Returns the error for rows that need too much memory, to be raised."""
    return UnreadableDatabaseError(
        path,
        f"cannot be read in {MEMORY_AT_MOST // 1024**2} MB of memory",
        "Let the orchestrator remove old tasks",
    )


@contextmanager
def reading(path: Path, limits: Limits = USUAL) -> Iterator[Transaction]:
    """Opens a database and one read transaction, and closes both after the ``with`` block.

    Args:
        path: The database.
        limits: The limits of the reading.

    Raises:
        RegistryNotFoundError: The database does not exist.
        BusyRegistryError: The database was opened, closed or replaced at this moment.
        RegistryError: The database cannot be read; see `registry.database.files.examine`.
    """
    first = examine(path)
    with alone(first), HeldDatabase(first) as held:
        # The files may have changed before the lock was taken.
        files = now_of(first)
        check(files, limits)
        _check_settled(files)
        connection = _connect(files)
        try:
            with _converting(path):
                prepare(connection, ("query_only = ON",), limits.end)
                connection.execute("BEGIN")
                # The transaction begins with its first query.
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                opened = now_of(files)
                held.check_opened(opened)
                pages = partial(pages_of, held, opened)
                yield Transaction(path, files.stamp, connection, pages)
                connection.execute("ROLLBACK")
        finally:
            connection.close()
        if not files.is_in_use:
            _check_unchanged(files)


def check(files: DatabaseFiles, limits: Limits = USUAL) -> None:
    """Requires files that belong together, and a database that is not too large.

    Raises:
        UnreadableDatabaseError: The log or its index is missing, or the database is too large.
        BusyRegistryError: A process is perhaps creating the database.
    """
    if sqlite3.__name__ != "sqlite3":
        raise UnreadableDatabaseError(
            files.path,
            "cannot be read: this Python was built without its module sqlite3",
            "Install SQLite's development files (libsqlite3-dev, sqlite-devel) and build Python "
            "anew, or run muster with the Python of the system",
        )
    if time.monotonic() >= limits.give_up_at:
        raise UnreadableDatabaseError(files.path, "was not read: no time was left", "Try again")
    size, log = files.stamp.main.size, files.stamp.log
    # SQLite would delete a log beside an empty database, even if it only reads.
    if size == 0:
        if time.time_ns() - files.stamp.main.mtime_ns < _EMPTY_FOR * 1e9:
            raise BusyRegistryError(files.path, locked=False)
        raise UnreadableDatabaseError(
            files.path,
            "is empty",
            "If the orchestrator does not fill it, " + moving_database_aside(files.path),
        )
    size += 0 if log is None else log.size
    if size > limits.largest:
        why = f"is too large: {size} bytes, and the limit is {limits.largest} bytes"
        raise UnreadableDatabaseError(files.path, why, "Let the orchestrator remove old tasks")
    if files.is_in_use != (files.index is not None):
        there, missing = ("-wal", "-shm") if files.index is None else ("-shm", "-wal")
        raise UnpairedFilesError(
            files.path,
            f"cannot be read: {files.path.name}{there} exists, but {files.path.name}{missing} "
            "does not, so the newest changes are unknown",
            "Let the orchestrator open the database; it creates the missing file",
        )


def _check_settled(files: DatabaseFiles) -> None:
    """Requires that a database that is read without locks was not written a moment ago."""
    if not files.is_in_use and not files.stamp.settled:
        raise BusyRegistryError(files.path)


def _connect(files: DatabaseFiles) -> sqlite3.Connection:
    # Nothing that SQLite would create may appear: without a log the files cannot change unseen.
    mode = "mode=ro" if files.is_in_use else "mode=ro&immutable=1"
    with _converting(files.path):
        return connect(files.path, mode, _BUSY_TIMEOUT)


def connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """Opens a connection; the caller prepares it (`prepare`) and closes it.

    Args:
        path: The database.
        mode: The parameters of the URI, for example ``mode=ro``.
        timeout: How long each statement waits for other connections, in seconds.

    Raises:
        sqlite3.Error: SQLite cannot open the database.
    """
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=0,
    )


def _set_limits(connection: sqlite3.Connection, give_up_at: float) -> None:
    """Limits what SQLite reads and does for one connection.

    Args:
        connection: The connection.
        give_up_at: When the last query must end, in seconds of the monotonic clock.
    """
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    # SQLite would lose the exception of a signal handler in a callback that is written in Python.
    too_many = chain(repeat(False, STEPS_AT_MOST // _STEPS_OF_A_LOOK), repeat(True))
    too_late = map(give_up_at.__le__, iter(time.monotonic, None))
    connection.set_progress_handler(map(or_, too_many, too_late).__next__, _STEPS_OF_A_LOOK)


def prepare(
    connection: sqlite3.Connection, pragmas: Iterable[str], give_up_at: float = math.inf
) -> None:
    """Protects a new connection against the content of its database.

    Args:
        connection: The connection.
        pragmas: Further settings of the connection.
        give_up_at: When the last query must end, in seconds of the monotonic clock.

    Raises:
        sqlite3.Error: A setting cannot be made.
    """
    _set_limits(connection, give_up_at)
    connection.text_factory = as_text
    for pragma in (*_SAFE, *pragmas):
        connection.execute(f"PRAGMA {pragma}")


def as_text(data: bytes) -> str:
    """Decodes a text. Each byte sequence has its own text, so that two names never become one."""
    return data.decode("utf-8", "surrogateescape")


def _bound(value: object) -> object:
    """Returns a value that `sqlite3` accepts; bytes for a text that is not valid Unicode."""
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        hand_on(error)
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as other:
            hand_on(other)
            # No text in a database has this value.
            return value.encode("utf-8", "surrogatepass")
    return value


def now_of(files: DatabaseFiles, *, in_use: bool | None = None) -> DatabaseFiles:
    """Returns the files again, after SQLite has opened them.

    Args:
        files: The files as they were before.
        in_use: Whether the database must have a log and an index now; None for the same as before.

    Raises:
        BusyRegistryError: The database was replaced, opened or closed in between.
    """
    now = examine(files.path)
    same = now.stamp.main.identity == files.stamp.main.identity
    before = (files.is_in_use, files.index is not None) if in_use is None else (in_use, in_use)
    if not same or (now.is_in_use, now.index is not None) != before:
        raise BusyRegistryError(files.path)
    return now


def _check_unchanged(files: DatabaseFiles) -> None:
    """Requires that a database that was read without locks did not change during the reading.

    Raises:
        BusyRegistryError: The database changed, or a process opened it.
    """
    now = examine(files.path)
    if now.is_in_use or now.index is not None:
        raise BusyRegistryError(files.path)
    if replace(now.stamp, settled=True) != replace(files.stamp, settled=True):
        raise BusyRegistryError(files.path)


@contextmanager
def _converting(path: Path) -> Iterator[None]:
    """Converts an error of SQLite into a `RegistryError`."""
    try:
        yield
    except sqlite3.Error as error:
        hand_on(error)
        raise converted(path, error) from error


def converted(path: Path, error: sqlite3.Error) -> RegistryError:
    """Returns the error of this library for an error of SQLite during a reading."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return BusyRegistryError(path)
    said = str(error) or type(error).__name__
    if code in _DAMAGED:
        why, remedy = f"is not a valid database: {said}", restoring_database(path)
        return UnreadableDatabaseError(path, why, remedy[:1].upper() + remedy[1:])
    if code in _REFUSED:
        remedy = "Make the database, and the files beside it, readable for this user"
        return UnreadableDatabaseError(path, f"cannot be opened: {said}", remedy)
    if code == sqlite3.SQLITE_INTERRUPT:
        why = f"cannot be read in {STEPS_AT_MOST} steps of SQLite, or takes too long"
        return UnreadableDatabaseError(path, why, "Let the orchestrator remove old tasks")
    remedy = "Try again; if it fails again, check the database (PRAGMA quick_check)"
    return UnreadableDatabaseError(path, f"cannot be read: {said}", remedy)
