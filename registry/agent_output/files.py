"""Reading what an agent writes of itself: the last lines of a file of any size, then as it grows.

Takes no lock: agents append whole lines, and a last line without its end is one that
is still being written. Files are opened beneath the task's directory, through no
symlink, and only under names that an id can make (`registry.storage.safe_open`).
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Self

from registry.agent_output.lines import FINDINGS, PROGRESS, STREAM_LOG, Line, Source, is_whole
from registry.errors import InaccessibleRegistryError, RegistryError, RegistryNotFoundError
from registry.storage.backward import lines_from_end, read_piece
from registry.storage.descriptor import Descriptor, close_read
from registry.storage.interruption import hand_on
from registry.storage.safe_open import open_beneath

LONGEST_LINE = 4 * 1024 * 1024
"""Bytes of one line; a longer one is counted as malformed and not looked at."""

LOOK_BACK = 32 * 1024 * 1024
"""Bytes from the end that are searched for the last lines, at most."""

# So many bytes before the place that was read up to are remembered: they tell a file
# that was cut and written anew, and is as long again, from one that grew.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Batch(Generic[Line]):
    """What was read at one time.

    Attributes:
        records: In the order of the file.
        malformed: Lines that are no JSON object, or too long, among those read.
        earlier: Whether the file has lines before these that were not read.
        torn: Whether a last line is still being written; the next batch has it.
        restarted: Whether the file was replaced or cut since the last batch: these
            are from the beginning of what is there now.
        behind: Whether there is more to read at once.
        size: Of the file in bytes; None if it is not there.
        modified: When it was last written; seconds since the epoch, or None.
    """

    records: tuple[Line, ...] = ()
    malformed: int = 0
    earlier: bool = False
    torn: bool = False
    restarted: bool = False
    behind: bool = False
    size: int | None = None
    modified: float | None = None


class AgentFile(Generic[Line]):
    """One of an agent's files. Not for several threads at once; close it after use.

    A file that is not there yet is empty, and is found once it comes.

    Args:
        directory: The task's directory; trusted.
        agent_id: As the registry has it; untrusted.
        source: Which of the files: `PROGRESS`, `FINDINGS` or `STREAM_LOG`.
    """

    def __init__(self, directory: Path, agent_id: str, source: Source[Line]) -> None:
        self._directory = directory
        self._parts = source.parts(agent_id)
        self._source = source
        self._file: Descriptor | None = None
        self._identity = (0, 0)
        self._offset = 0
        self._remembered = b""
        # Inside a line that is too long: the rest of it is passed over.
        self._skipping = False

    @property
    def path(self) -> Path:
        """Where it lies, whether or not it is there; to be shown, not to be opened."""
        return self._directory.joinpath(*self._parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; `more` would begin at its start."""
        if self._file is not None:
            close_read(self._file)
        self._file, self._offset, self._remembered, self._skipping = None, 0, b"", False

    def last(self, count: int) -> Batch[Line]:
        """The last records; what comes after them is for `more`.

        Args:
            count: How many, at most; 0 for none, to go on from the end.

        Raises:
            ValueError: The id cannot be part of a file's name.
            RegistryError: The file is there and cannot be read.
        """
        self.close()
        self._open()
        if self._file is None:
            return Batch()
        fd = self._file.fileno()
        return self._last(fd, self._status(fd), count)

    def more(self) -> Batch[Line]:
        """What was written since the last call; a few megabytes at most (`Batch.behind`).

        Raises:
            ValueError: The id cannot be part of a file's name.
            RegistryError: The file is there and cannot be read.
        """
        restarted = False
        if self._file is None:
            self._open()
            if self._file is None:
                return Batch()
        elif self._was_cut(fd := self._file.fileno()):
            self._begin(self._file)
            restarted = True
        elif self._offset >= self._status(fd).st_size and self._was_replaced():
            # Only once the old one is read to its end.
            self.close()
            self._open()
            if self._file is None:
                return Batch()
            restarted = True
        return self._more(self._file.fileno(), restarted)

    # The file

    def _open(self) -> None:
        try:
            file = open_beneath(self._directory, self._parts)
        except RegistryNotFoundError as error:
            hand_on(error)
            return
        self._begin(file)

    def _begin(self, file: Descriptor) -> None:
        status = self._status(file.fileno())
        self._file, self._identity = file, (status.st_dev, status.st_ino)
        self._offset, self._remembered, self._skipping = 0, b"", False

    def _status(self, fd: int) -> os.stat_result:
        try:
            return os.fstat(fd)
        except OSError as error:
            hand_on(error)
            raise InaccessibleRegistryError(self.path, error, "read") from error

    def _read(self, fd: int, length: int, offset: int) -> bytes:
        return read_piece(fd, self.path, length, offset)

    def _was_cut(self, fd: int) -> bool:
        before = self._offset - len(self._remembered)
        return self._read(fd, len(self._remembered), before) != self._remembered

    def _was_replaced(self) -> bool:
        try:
            file = open_beneath(self._directory, self._parts)
        except RegistryNotFoundError as error:
            hand_on(error)
            # Being moved aside; the next one is not there yet.
            return False
        try:
            status = self._status(file.fileno())
            return (status.st_dev, status.st_ino) != self._identity
        finally:
            close_read(file)

    def _go_on_from(self, fd: int, offset: int) -> None:
        self._offset = offset
        length = min(offset, _REMEMBERED)
        self._remembered = self._read(fd, length, offset - length)

    def _pass_hole(self, fd: int, size: int) -> None:
        """Goes on after a hole, in which no line ends; it may be larger than any disk."""
        try:
            data = os.lseek(fd, self._offset, os.SEEK_DATA)
        except OSError as error:
            hand_on(error)
            # Nothing but a hole follows; or this file system knows of none.
            data = size if error.errno == errno.ENXIO else self._offset
        if self._offset < data <= size:
            self._go_on_from(fd, data)

    # Its lines

    def _last(self, fd: int, status: os.stat_result, count: int) -> Batch[Line]:
        found: list[tuple[Line, ...]] = []
        number = malformed = 0
        reached = status.st_size
        go_on_from: int | None = None
        lines = lines_from_end(
            fd, self.path, status.st_size, longest=LONGEST_LINE, look_back=LOOK_BACK
        )
        for start, line, ended in lines:
            if go_on_from is not None and number >= count:
                break
            reached = start
            if go_on_from is None:
                whole = ended or (line is not None and is_whole(line))
                if line is None and not ended:
                    # A last line that grew too long before it ended.
                    go_on_from, self._skipping = status.st_size, True
                    malformed += 1
                    continue
                go_on_from = status.st_size if whole else start
                if not whole:
                    continue
                if number >= count:
                    break
            records = self._taken(line)
            malformed += records is None
            shown = records or (self._source.raw(line) if records is None and line else ())
            found.append(shown)
            number += len(shown)
        offset = status.st_size if go_on_from is None else go_on_from
        self._go_on_from(fd, offset)
        records = tuple(record for each in reversed(found) for record in each)
        return Batch(
            records[max(0, len(records) - count) :],
            malformed,
            earlier=reached > 0 or number > count,
            torn=offset < status.st_size or self._skipping,
            size=status.st_size,
            modified=status.st_mtime,
        )

    def _taken(self, line: bytes | None) -> tuple[Line, ...] | None:
        """The records of a line; None if it is malformed, which None always is."""
        if line is None:
            return None
        return self._source.read(line) if line.strip() else ()

    def _more(self, fd: int, restarted: bool) -> Batch[Line]:
        status = self._status(fd)
        if self._skipping:
            self._pass_hole(fd, status.st_size)
        data = self._read(
            fd, min(max(0, status.st_size - self._offset), LONGEST_LINE), self._offset
        )
        behind = self._offset + len(data) < status.st_size
        end = data.rfind(b"\n") + 1
        lines = data[:end].split(b"\n")[:-1] if end else []
        malformed = 0
        if self._skipping and lines:
            lines, self._skipping = lines[1:], False
        elif self._skipping:
            end = len(data)
        elif not end and len(data) >= LONGEST_LINE:
            end, self._skipping = len(data), True
            malformed += 1
        elif not behind and is_whole(data[end:]):
            lines.append(data[end:])
            end = len(data)
        records: list[Line] = []
        for line in lines:
            taken = self._taken(line)
            malformed += taken is None
            records += self._source.raw(line) if taken is None else taken
        if end:
            self._go_on_from(fd, self._offset + end)
        return Batch(
            tuple(records),
            malformed,
            torn=self._skipping or end < len(data),
            restarted=restarted,
            behind=behind,
            size=status.st_size,
            modified=status.st_mtime,
        )


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of one of an agent's files without reading it.

    Attributes:
        name: As `Source.name`.
        size: In bytes; None if it is not there or cannot be had.
        modified: When it was last written; seconds since the epoch, or None.
        error: Why it cannot be had, or None.
    """

    name: str
    path: Path
    size: int | None
    modified: float | None
    error: str | None


def facts_of(directory: Path, agent_id: str) -> tuple[FileFacts, ...]:
    """What is known of each of an agent's files; never fails.

    Args:
        directory: The task's directory; trusted.
        agent_id: As the registry has it; untrusted.
    """
    sources = (PROGRESS, FINDINGS, STREAM_LOG)
    return tuple(_facts(directory, each.name, each.parts(agent_id)) for each in sources)


def _facts(directory: Path, name: str, parts: tuple[str, str]) -> FileFacts:
    path = directory.joinpath(*parts)
    try:
        file = open_beneath(directory, parts)
    except RegistryNotFoundError as error:
        hand_on(error)
        return FileFacts(name, path, None, None, None)
    except (RegistryError, ValueError) as error:
        hand_on(error)
        said = error.reason if isinstance(error, RegistryError) else None
        return FileFacts(name, path, None, None, said or str(error))
    try:
        status = os.fstat(file.fileno())
        return FileFacts(name, path, status.st_size, status.st_mtime, None)
    except OSError as error:
        hand_on(error)
        return FileFacts(name, path, None, None, error.strerror)
    finally:
        close_read(file)
