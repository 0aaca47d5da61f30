"""Examines the files of a database: the database itself, its write-ahead log, and its index.

SQLite opens files by their paths, and follows symlinks. So this module examines the files first,
below the workspace directory that this process opened (`registry.storage.files.anchor`). After
SQLite has opened the files, `HeldDatabase.check_opened` compares both.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections import Counter
from pathlib import Path
from threading import RLock
from typing import Self

from registry.dataclass import dataclass
from registry.errors import (
    BusyRegistryError,
    InaccessibleRegistryError,
    LinkedRegistryError,
    NotARegularFileError,
    RegistryNotFoundError,
    ReplacedWorkspaceError,
    UnreadableDatabaseError,
    UnwritableDatabaseError,
)
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.file_age import is_settled
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.permissions import Access, why_unbelievable
from registry.storage.files.safe_open import (
    folder_of,
    kind_name,
    name_of,
    open_file,
    target_of,
)
from registry.storage.files.writers import controlled_access

KEPT_AT_MOST = 32
"""The largest number of descriptors of unused databases that a process keeps."""

# The databases that this process has used, the latest one last; without locks between the uses.
# Nothing asks about an old descriptor, as its file system may not answer.
_kept: dict[tuple[int, int], _Kept] = {}
_keeping = RLock()

# SQLite locks bytes at 1 GiB: a pending byte, a reserved byte, and then 510 shared bytes.
_SHARED_LOCK = struct.pack("@hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0x40000002, 510, 0)

_NO_LOCK = struct.pack("@hhqqi", fcntl.F_UNLCK, os.SEEK_SET, 0x40000002, 510, 0)

_LOG, _INDEX, _JOURNAL = "-wal", "-shm", "-journal"

# SQLite creates an index with this size in bytes, step by step.
_WHOLE_INDEX = 32 * 1024

# The header of a database has the numbers of its file format here; 2 is a write-ahead log.
_MODE_AT, _WAL_MODE = 18, b"\2\2"


class UnpairedFilesError(UnreadableDatabaseError):
    """The files beside a database do not belong together; this may last for a moment only."""


@dataclass(frozen=True, slots=True)
class FileState:
    """The metadata of one file, which differs between two states of the file.

    Attributes:
        device, inode: The identity of the file.
        size: The size in bytes.
        mtime_ns: The time of the last write, in nanoseconds since the epoch.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Returns the metadata that a file's status contains."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def identity(self) -> tuple[int, int]:
        """The device and inode of the file."""
        return self.device, self.inode


@dataclass(frozen=True, slots=True)
class DatabaseStamp:
    """The metadata of a database and its write-ahead log.

    If two stamps are equal and settled, the database did not change between them.

    Attributes:
        main: The database.
        log: The write-ahead log; None if the file does not exist.
        changed_ns: The time of the last change of the database's metadata, in nanoseconds since
            the epoch.
        settled: Whether both files are settled; see `registry.storage.files.file_age.is_settled`.
            If not, a further write can change the content without changing the other fields.
        owner: The user id of the database's owner.
    """

    main: FileState
    log: FileState | None
    changed_ns: int
    settled: bool
    owner: int


@dataclass(frozen=True, slots=True)
class DatabaseFiles:
    """The files of a database at one moment, all examined in one open directory.

    Attributes:
        path: The path of the database.
        stamp: The metadata of the database and its write-ahead log.
        index: The index of the write-ahead log (`-shm`); None if the file does not exist. An
            incomplete index of an empty log counts as none.
    """

    path: Path
    stamp: DatabaseStamp
    index: FileState | None

    @property
    def is_in_use(self) -> bool:
        """Whether a process uses the database, or ended without closing it.

        An empty log without an index has no changes: the process that created it was killed, or
        the disk became full, before it had created the index.
        """
        log = self.stamp.log
        return log is not None and (log.size > 0 or self.index is not None)

    @property
    def identities(self) -> set[tuple[int, int]]:
        """The device and inode of each file that SQLite must have opened."""
        log = self.stamp.log if self.is_in_use else None
        states = (self.stamp.main, log, self.index)
        return {state.identity for state in states if state is not None}


def stamp_of(path: Path, *, settled: bool = True) -> DatabaseStamp | None:
    """Returns the metadata of a database without opening the database.

    Args:
        path: The database.
        settled: Whether the stamp must be settled.

    Returns:
        None if the database cannot be examined, or if the stamp is not settled but must be.
    """
    try:
        with folder_of(path) as folder:
            main, log, _ = _statuses(folder, path)
    except OSError as error:
        hand_on(error)
        return None
    stamp = _stamp(main, log)
    return stamp if stamp.settled or not settled else None


def examine(path: Path) -> DatabaseFiles:
    """Examines the files of a database, and checks that they may be opened.

    Args:
        path: The database.

    Raises:
        RegistryNotFoundError: The database does not exist.
        NotARegularFileError: One of the files is a symlink, FIFO, directory or device, or has a
            second name.
        UnreadableDatabaseError: A file may belong to an untrusted user, or the files do not
            belong together.
        RegistryError: A file is not accessible.
    """
    try:
        with folder_of(path) as folder:
            main, log, index = _statuses(folder, path)
            _check_users(folder, path, log is not None, index is not None)
    except (RegistryNotFoundError, NotARegularFileError, UnreadableDatabaseError):
        raise
    except (InaccessibleRegistryError, ReplacedWorkspaceError):
        raise
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "read") from error
    if log is not None and not log.st_size and index is not None and index.st_size < _WHOLE_INDEX:
        index = None
    return DatabaseFiles(path, _stamp(main, log), FileState.of(index) if index else None)


def _statuses(
    folder: int, path: Path
) -> tuple[os.stat_result, os.stat_result | None, os.stat_result | None]:
    """Returns the statuses of the database, its log and its index.

    Raises:
        NotARegularFileError: See `examine`.
        RegistryNotFoundError: The database does not exist.
        UnpairedFilesError: A rollback journal exists, so a transaction may be half done.
        OSError: A file cannot be examined.
    """
    main = _status(folder, path)
    if main is None:
        raise RegistryNotFoundError(path)
    log, index, journal = (_status(folder, _beside(path, end)) for end in (_LOG, _INDEX, _JOURNAL))
    if journal is not None:
        raise UnpairedFilesError(
            path,
            f"has a rollback journal ({name_of(path)}{_JOURNAL}); a transaction may be half done",
            "Let the orchestrator open the database; it finishes or drops the transaction",
        )
    return main, log, index


def _status(folder: int, path: Path) -> os.stat_result | None:
    try:
        status = os.stat(name_of(path), dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        return None
    if stat.S_ISLNK(status.st_mode):
        if path.name.endswith((_LOG, _INDEX, _JOURNAL)):
            # The target is no better: such a file belongs beside the database.
            raise NotARegularFileError(path, "a symlink")
        raise LinkedRegistryError(path, path, target_of(path))
    if not stat.S_ISREG(status.st_mode):
        raise NotARegularFileError(path, kind_name(status.st_mode))
    if status.st_nlink > 1:
        raise LinkedRegistryError(path, path, hard=True)
    return status


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _stamp(main: os.stat_result, log: os.stat_result | None) -> DatabaseStamp:
    settled = is_settled(main) and (log is None or is_settled(log))
    state = None if log is None else FileState.of(log)
    return DatabaseStamp(FileState.of(main), state, main.st_ctime_ns, settled, main.st_uid)


def _check_users(folder: int, path: Path, has_log: bool, has_index: bool) -> None:
    """Requires that each file was certainly written by a user who may write the file before it.

    The rule for the database is the rule for journals, with the database's folder in place of the
    registry. The rule for the log and the index is the rule for journals.

    Raises:
        UnreadableDatabaseError: A file may belong to an untrusted user.
        OSError: A file cannot be examined.
    """
    own_folder, database = Access.at(folder, "."), controlled_access(folder, name_of(path))
    why = why_unbelievable(database, own_folder, own_folder)
    if why is not None:
        raise _untrusted(path, why)
    for exists, end in ((has_log, _LOG), (has_index, _INDEX)):
        if exists:
            with tolerating(FileNotFoundError):
                access = controlled_access(folder, name_of(path) + end)
                why = why_unbelievable(access, database, own_folder)
                if why is not None:
                    raise _untrusted(_beside(path, end), why)


def own_names(path: Path) -> tuple[str, str]:
    """Returns the names of a database's log and index."""
    return log_of(path), name_of(path) + _INDEX


def log_of(path: Path) -> str:
    """Returns the name of a database's write-ahead log."""
    return name_of(path) + _LOG


def _untrusted(path: Path, why: str) -> UnreadableDatabaseError:
    return UnreadableDatabaseError(
        path, why, "Check who created the file; give it the owner and mode of its directory"
    )


class _Kept:
    """An open database, which stays open between its uses.

    Attributes:
        identity: The device and inode of the file.
        file: The descriptor.
        is_used: Whether a thread uses the database. An interruption may leave this, and the lock,
            until the next use.
    """

    __slots__ = ("file", "identity", "is_used")

    def __init__(self, file: Descriptor) -> None:
        self.identity = FileState.of(os.fstat(file.fileno())).identity
        self.file = file
        self.is_used = True


def _kept_of(files: DatabaseFiles) -> _Kept:
    """Opens a database for one use; or returns what is kept of this file.

    Raises:
        BusyRegistryError: The database was replaced at this moment.
        RegistryError: The database cannot be opened.
    """
    with _keeping:
        kept = _kept.pop(files.stamp.main.identity, None)
        if kept is not None:
            kept.is_used = True
            _kept[kept.identity] = kept
            return kept
    # Without the lock, because the file system may not answer.
    kept = _Kept(open_file(files.path, os.O_RDONLY))
    if kept.identity != files.stamp.main.identity:
        raise BusyRegistryError(files.path)
    with _keeping:
        _close_old()
        _kept[kept.identity] = kept
    return kept


def _close_old() -> None:
    """Closes the descriptors of deleted databases, and of the oldest ones beyond a number.

    A descriptor stays open if this process has the file open a second time: SQLite may hold locks.
    """
    if not _kept:
        return
    targets = {fd: _target(fd) for fd in _descriptors()}
    counts = Counter(targets.values())
    unused = {
        identity: targets.get(kept.file.fileno(), "")
        for identity, kept in [*_kept.items()]
        if not kept.is_used
    }
    single = [identity for identity, target in unused.items() if counts[target] == 1]
    deleted = [identity for identity in single if unused[identity].endswith(" (deleted)")]
    too_many = max(0, len(_kept) - KEPT_AT_MOST + 1)
    for identity in {*deleted, *single[:too_many]}:
        kept = _kept.pop(identity, None)
        if kept is not None:
            # The traceback of an error may still refer to it.
            close_read(kept.file)


def _descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def _target(fd: int) -> str:
    with tolerating(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


def _begin_anew() -> None:
    """Forgets the descriptors in a child process.

    A lock of the parent process would also be a lock of the child, and end with the child's.
    """
    global _keeping
    _keeping = RLock()
    _kept.clear()


os.register_at_fork(after_in_child=_begin_anew)


def _other_modes(own: int) -> dict[tuple[int, int], set[int]]:
    """Returns the files that this process has open, except for one descriptor of them.

    Args:
        own: The descriptor that is left out.

    Returns:
        Maps the device and inode of each file to the access modes of its descriptors.
    """
    modes: dict[tuple[int, int], set[int]] = {}
    for fd in _descriptors():
        if fd != own:
            with tolerating(OSError):
                mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
                modes.setdefault(FileState.of(os.fstat(fd)).identity, set()).add(mode)
    return modes


class HeldDatabase:
    """A lock that keeps the write-ahead log and its index where they are.

    The last writer that closes the database removes both files. SQLite would then create new
    files, which belong to the user of this process. The lock is SQLite's own shared lock, so a
    writer can still write, and can close its connection.

    Use it as a context manager, around the use of the database by SQLite. Closing any descriptor
    of the database drops all of SQLite's locks in this process, also those of connections that
    the caller of this library has opened. So this descriptor stays open (see `_close_old`), and
    only one thread of a process may use one database at a time.

    Args:
        files: The database.
        always: Whether the lock is taken without a write-ahead log, too. A reader needs no lock
            then: SQLite creates nothing, because it is told that the database does not change.

    Raises:
        BusyRegistryError: A process is creating or closing the database.
        RegistryError: The database cannot be opened or locked.
    """

    def __init__(self, files: DatabaseFiles, *, always: bool = False) -> None:
        self._path = files.path
        self._kept = _kept_of(files)
        self._fd = self._kept.file.fileno()
        try:
            if files.is_in_use or always:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _SHARED_LOCK)
        except OSError as error:
            hand_on(error)
            self._end()
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BusyRegistryError(self._path) from error
            raise InaccessibleRegistryError(self._path, error, "read") from error

    def _end(self) -> None:
        # A file system that has been unmounted has no lock left.
        with tolerating(OSError):
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _NO_LOCK)
        self._kept.is_used = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, size: int, at: int) -> bytes:
        """Reads bytes of the database; fewer at its end, and none if it cannot be read.

        Args:
            size: The number of bytes.
            at: The place of the first byte.
        """
        try:
            return os.pread(self._fd, size, at)
        except OSError as error:
            hand_on(error)
            return b""

    def check_mode(self) -> None:
        """Requires that the database uses a write-ahead log.

        Raises:
            UnwritableDatabaseError: It uses a rollback journal. A write would lock out readers.
            BusyRegistryError: The file cannot be read at this moment.
        """
        try:
            header = os.pread(self._fd, len(_WAL_MODE), _MODE_AT)
        except OSError as error:
            hand_on(error)
            raise BusyRegistryError(self._path) from error
        if header != _WAL_MODE:
            raise UnwritableDatabaseError(
                self._path,
                "does not use a write-ahead log, which the orchestrator always uses",
                "Let the orchestrator open the database; it sets the mode",
            )

    def check_connected(self, files: DatabaseFiles) -> None:
        """Requires that SQLite has opened the locked database for writing, and no other file.

        Call this before the first statement. SQLite would roll back a hot journal beside another
        database, and would delete any file that such a journal names. Beside this database, the
        lock prevents that.

        Raises:
            BusyRegistryError: Another file was at the path when the file was locked or opened.
        """
        identity = files.stamp.main.identity
        modes = _other_modes(self._fd).get(identity, ())
        if self._kept.identity != identity or os.O_RDWR not in modes:
            raise BusyRegistryError(self._path)

    def check_opened(self, files: DatabaseFiles) -> None:
        """Requires that SQLite has opened the examined files, not others at the same paths.

        Raises:
            BusyRegistryError: An examined file is not open.
        """
        if not files.identities <= _other_modes(self._fd).keys():
            raise BusyRegistryError(self._path)
