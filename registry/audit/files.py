"""The files of an audit log: whose word they are, and their lines as far as there is room.

Reading and writing follow the same rule: they must be muster's own files (`own_files`), and
writable for their owner alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from registry.errors import AuditError, RegistryError, UntrustedFileError
from registry.storage.backward import lines_from_end
from registry.storage.descriptor import close_read
from registry.storage.interruption import hand_on
from registry.storage.own_files import check_owner, open_own, own_folder

LONGEST_RECORD = 16 * 1024 * 1024
"""Bytes of a record that is read; the largest bulk actions stay below it."""

LONGEST_FILE = 24 * 1024 * 1024
"""Bytes that are read of one file, from its end: more than muster puts into one."""

MOST_LINES = 400_000
"""Lines that are read of all logs together: more than the files of one have room for."""

DECODED_AT_MOST = 640 * 1024 * 1024
"""What the records of all logs together may take once decoded, in bytes, by an estimate."""

# A small value takes about so many bytes in memory with its key, and a record of its own.
_VALUE_COST = 96
_RECORD_COST = 512


def check_log(path: Path, status: os.stat_result, folder: int) -> None:
    """Refuses what another user put in a log's place, or could have written to.

    Args:
        path: What errors call it.
        status: Of the open file.
        folder: The folder that it lies in.

    Raises:
        RegistryError: It is not a log that only its owner wrote.
    """
    check_owner(path, status, folder)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UntrustedFileError(
            path,
            "can be written by other users than its owner, so what it says proves nothing; "
            "move it aside, or if it is right: chmod go-w",
        )


@dataclass(slots=True)
class LogLines:
    """The lines of a log's files, as far as there is room for them.

    Attributes:
        lines: Each with the user whose file it is from; oldest first once all was read.
        too_long: Lines that were passed over because they are too long.
        left_out: Bytes of older lines that were not read.
        share: Of how many logs this is one that are left to read: each has an equal part of
            the room that is left, so that none keeps the others from being read.
        seen: Lines that were met, those of the logs before included.
        cost: What they may take once they are decoded, likewise.
    """

    lines: list[tuple[bytes, int]] = field(default_factory=list)
    too_long: int = 0
    left_out: int = 0
    share: int = 1
    seen: int = 0
    cost: int = 0
    _most_lines: int = field(init=False)
    _most_cost: int = field(init=False)

    def __post_init__(self) -> None:
        self._most_lines = self.seen + (MOST_LINES - self.seen) // self.share
        self._most_cost = self.cost + (DECODED_AT_MOST - self.cost) // self.share

    def take(self, fd: int, path: Path, status: os.stat_result) -> None:
        """Reads one file from its end to its start, as long as there is room.

        Raises:
            RegistryError: Reading failed.
        """
        reached = status.st_size
        found = lines_from_end(
            fd, path, status.st_size, longest=LONGEST_RECORD, look_back=LONGEST_FILE
        )
        for start, line, _ in found:
            cost = _cost(line) if line else 0
            if self.seen >= self._most_lines or self.cost + cost > self._most_cost:
                break
            self.seen += 1
            self.cost += cost
            reached = start
            if line is None:
                self.too_long += 1
            elif line.strip():
                self.lines.append((line, status.st_uid))
        self.left_out += reached


def _cost(line: bytes) -> int:
    values = line.count(b",") + line.count(b"[") + line.count(b"{")
    # The line is kept until all are decoded.
    return 2 * len(line) + _VALUE_COST * values + _RECORD_COST


def read_lines(log: Path, paths: Iterable[Path], before: LogLines, share: int) -> LogLines:
    """The lines of a log.

    Args:
        log: The log.
        paths: Its files, the youngest first: what is put aside meanwhile is then met
            again, not missed.
        before: The log that was read before it, if any: both share the room.
        share: How many logs are left to read, with this one.

    Raises:
        AuditError: One of its files is there and cannot be read, or must not be believed.
    """
    found = LogLines(share=share, seen=before.seen, cost=before.cost)
    seen: set[tuple[int, int]] = set()
    try:
        with own_folder(log) as folder:
            for path in paths:
                _read_file(path, folder, found, seen)
    except FileNotFoundError as error:
        hand_on(error)
        # Without its folder there is no log.
    except AuditError:
        raise
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        raise AuditError(log, why or str(error)) from error
    found.lines.reverse()
    return found


def _read_file(path: Path, folder: int, found: LogLines, seen: set[tuple[int, int]]) -> None:
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
        found.take(fd, path, status)
    except OSError as error:
        hand_on(error)
        why = error.reason if isinstance(error, RegistryError) else error.strerror
        raise AuditError(path, why or str(error)) from error
    finally:
        if file is not None:
            close_read(file)
