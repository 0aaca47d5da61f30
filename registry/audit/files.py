"""Reads the lines of an audit log's files, up to a limit, and checks the owners of the files.

Readers and writers of the log use the same rule: the files must be muster's own files
(`registry.storage.files.own_files`), and only the owner of a file may have write permission.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from registry.dataclass import dataclass, field
from registry.errors import AuditError, RegistryError, UntrustedFileError
from registry.storage.files.backward import lines_from_end
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on
from registry.storage.files.mounts import owner_of
from registry.storage.files.own_files import check_owner, open_own, own_folder

LONGEST_RECORD = 16 * 1024 * 1024
"""The largest size of a record that is read, in bytes; even large actions have smaller records."""

LONGEST_FILE = 24 * 1024 * 1024
"""The number of bytes that are read at the end of one file. muster's own files are smaller."""

MOST_LINES = 400_000
"""The largest number of lines that are read from all logs together."""

DECODED_AT_MOST = 640 * 1024 * 1024
"""The largest estimated size in memory of the records of all logs together, in bytes."""

# The approximate sizes in memory of a small value with its key, and of a record, in bytes.
_VALUE_COST = 96
_RECORD_COST = 512


def check_log(path: Path, status: os.stat_result, folder: int) -> None:
    """Checks that only a trusted owner can have written a log.

    Args:
        path: The path of the log, for errors.
        status: The status of the open file.
        folder: A descriptor of the file's folder.

    Raises:
        RegistryError: The owner is not trusted, or other users can write the file.
    """
    check_owner(path, status, folder)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UntrustedFileError(
            path,
            "is writable for users other than its owner, so the content cannot be trusted; move "
            "the file aside or, if the content is right, make the file writable only for its "
            "owner (chmod go-w)",
        )


@dataclass(slots=True)
class LogLines:
    """The lines of a log's files, up to the limits.

    Attributes:
        lines: Pairs of a line and the id of the user that owns the line's file. `take` puts the
            newest line first; `read_lines` returns the oldest line first.
        too_long: The number of lines that were skipped because they are too long.
        left_out: The number of bytes of older lines that were not read.
        share: The number of logs that are still to be read, including this log. The rest of the
            limits is divided equally among these logs.
        seen: The number of lines that were read from this log and from the logs before it.
        cost: The estimated size in memory of the lines that `seen` counts, in bytes.
    """

    lines: list[tuple[bytes, int]] = field(default_factory=list)
    too_long: int = 0
    left_out: int = 0
    share: int = 1
    seen: int = 0
    cost: int = 0
    _most_lines: int = 0
    _most_cost: int = 0

    def __post_init__(self) -> None:
        self._most_lines = self.seen + (MOST_LINES - self.seen) // self.share
        self._most_cost = self.cost + (DECODED_AT_MOST - self.cost) // self.share

    def take(self, fd: int, path: Path, status: os.stat_result) -> None:
        """Reads one file from its end to its start, or until a limit is reached.

        Raises:
            RegistryError: The file cannot be read.
            OSError: The owner of the file cannot be known.
        """
        reached, owner = status.st_size, owner_of(fd)
        lines = lines_from_end(
            fd, path, status.st_size, longest=LONGEST_RECORD, look_back=LONGEST_FILE
        )
        for start, line, _ in lines:
            cost = _cost(line) if line else 0
            if self.seen >= self._most_lines or self.cost + cost > self._most_cost:
                break
            self.seen += 1
            self.cost += cost
            reached = start
            if line is None:
                self.too_long += 1
            elif line.strip():
                self.lines.append((line, owner))
        self.left_out += reached


def _cost(line: bytes) -> int:
    values = line.count(b",") + line.count(b"[") + line.count(b"{")
    # The bytes of a line stay in memory until all lines are decoded.
    return 2 * len(line) + _VALUE_COST * values + _RECORD_COST


def read_lines(log: Path, paths: Iterable[Path], before: LogLines, share: int) -> LogLines:
    """Reads the lines of a log.

    Args:
        log: The path of the log.
        paths: The files of the log, the newest file first. This order ensures that no file is
            missed if another process rotates the files during the read.
        before: The lines of the logs that were read before this log. These lines count for the
            limits, too.
        share: The number of logs that are still to be read, including this log.

    Raises:
        AuditError: A file exists, but cannot be read or must not be trusted.
    """
    log_lines = LogLines(share=share, seen=before.seen, cost=before.cost)
    seen: set[tuple[int, int]] = set()
    try:
        with own_folder(log) as folder:
            for path in paths:
                _read_file(path, folder, log_lines, seen)
    except FileNotFoundError as error:
        hand_on(error)
        # The folder does not exist, so the log does not exist.
    except AuditError:
        raise
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        raise AuditError(log, why or str(error), error) from error
    log_lines.lines.reverse()
    return log_lines


def _read_file(path: Path, folder: int, log_lines: LogLines, seen: set[tuple[int, int]]) -> None:
    file = None
    try:
        file = open_own(path, folder)
        if file is None:
            return
        fd = file.fileno()
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        check_log(path, status, folder)
        log_lines.take(fd, path, status)
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        raise AuditError(path, why or str(error), error) from error
    finally:
        if file is not None:
            close_read(file)
