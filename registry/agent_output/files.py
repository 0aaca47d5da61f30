"""Reads the last lines of an agent's output file, and later the lines that the agent appends.

No lock is needed, because agents append whole lines; if the last line is incomplete, the agent is
writing it. Files are opened below the task's directory, and symlinks are not followed. An agent's
id is checked before it becomes part of a file name (`registry.storage.files.safe_open`).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Generic, Self

from registry.agent_output.lines import FINDINGS, PROGRESS, STREAM_LOG, Line, Source, is_whole
from registry.dataclass import dataclass
from registry.errors import InaccessibleRegistryError, RegistryError, RegistryNotFoundError
from registry.storage.files.backward import lines_from_end, read_piece
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import open_beneath

LONGEST_LINE = 4 * 1024 * 1024
"""The size of the longest line that is read, in bytes; a longer line counts as malformed."""

LOOK_BACK = 32 * 1024 * 1024
"""The number of bytes at the end of a file in which `AgentFile.last` searches the last lines."""

# The number of bytes before the read position that are remembered. If these bytes change, the
# file was truncated and written again, perhaps to a greater length.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Batch(Generic[Line]):
    """The records of one call of `AgentFile.last` or `AgentFile.more`.

    Attributes:
        records: The records in the order of the file.
        malformed: The number of lines that were not JSON objects, or were too long.
        earlier: Whether the file has lines before the first of these records.
        torn: Whether the last line of the file is incomplete. A later batch contains this line.
        restarted: Whether the file was replaced or truncated after the previous batch. If so,
            these records are from the start of the present file.
        behind: Whether the file has more data that can be read immediately.
        size: The size of the file in bytes; None if the file does not exist.
        modified: The time of the last write, in seconds since the epoch, or None.
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
    """A reader of one output file of an agent. Not thread-safe; close the reader after use.

    A file that does not exist counts as empty. If the file is created later, `more` reads it.

    Args:
        directory: The task's directory; trusted.
        agent_id: The agent's id in the registry; untrusted.
        source: The kind of file: `PROGRESS`, `FINDINGS` or `STREAM_LOG`.
    """

    def __init__(self, directory: Path, agent_id: str, source: Source[Line]) -> None:
        self._directory = directory
        self._parts = source.parts(agent_id)
        self._source = source
        self._file: Descriptor | None = None
        self._identity = (0, 0)
        self._offset = 0
        self._remembered = b""
        # True while the read position is in a line that is too long. The line's rest is skipped.
        self._skipping = False

    @property
    def path(self) -> Path:
        """The path of the file, only for messages: the path may contain symlinks."""
        return self._directory.joinpath(*self._parts)

    @property
    def identity(self) -> tuple[int, int]:
        """The device and inode of the file that was opened last."""
        return self._identity

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
        """Closes the file. A later call of `more` reads from the start of the file."""
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            close_read(self._file)
        self._file, self._offset, self._remembered, self._skipping = None, 0, b"", False

    def last(self, count: int) -> Batch[Line]:
        """Returns the last records of the file; `more` then returns only later records.

        Args:
            count: The largest number of records to return. With 0, only the next call of `more`
                returns records.

        Raises:
            ValueError: The id cannot be part of a file's name.
            RegistryError: The file exists, but cannot be read.
        """
        self._release()
        self._open()
        if self._file is None:
            return Batch()
        fd = self._file.fileno()
        return self._last(fd, self._status(fd), count)

    def more(self) -> Batch[Line]:
        """Returns the next records of the file; reads at most 4 MiB (see `Batch.behind`).

        Raises:
            ValueError: The id cannot be part of a file's name.
            RegistryError: The file exists, but cannot be read.
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
            # The old file has been read to its end.
            self._release()
            self._open()
            if self._file is None:
                return Batch()
            restarted = True
        return self._more(self._file.fileno(), restarted)

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
            # The file was moved away, and the new file does not exist yet.
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
        """Skips a hole of a sparse file, if the read position is in a hole.

        A hole may be very large, and contains no line end.
        """
        try:
            data = os.lseek(fd, self._offset, os.SEEK_DATA)
        except OSError as error:
            hand_on(error)
            # ENXIO: only a hole follows. Otherwise this file system does not support holes.
            data = size if error.errno == errno.ENXIO else self._offset
        if self._offset < data <= size:
            self._go_on_from(fd, data)

    def _last(self, fd: int, status: os.stat_result, count: int) -> Batch[Line]:
        groups: list[tuple[Line, ...]] = []
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
                    # The last line is too long and incomplete.
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
            groups.append(shown)
            number += len(shown)
        offset = status.st_size if go_on_from is None else go_on_from
        self._go_on_from(fd, offset)
        records = tuple(record for group in reversed(groups) for record in group)
        return Batch(
            records[max(0, len(records) - count) :],
            malformed,
            earlier=reached > 0 or number > count,
            torn=offset < status.st_size or self._skipping,
            size=status.st_size,
            modified=status.st_mtime,
        )

    def _taken(self, line: bytes | None) -> tuple[Line, ...] | None:
        """Returns the records of a line; None if the line is malformed, or too long (`None`)."""
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
    """The metadata of one output file of an agent.

    Attributes:
        name: The kind of file, from `Source.name`.
        path: The path of the file.
        size: The size in bytes; None if the file does not exist or is not accessible.
        modified: The time of the last write, in seconds since the epoch, or None.
        error: Why the file is not accessible, or None.
    """

    name: str
    path: Path
    size: int | None
    modified: float | None
    error: str | None


def facts_of(directory: Path, agent_id: str, folder: str | None = None) -> tuple[FileFacts, ...]:
    """Returns the metadata of each output file of an agent; never raises an error.

    Args:
        directory: The task's directory; trusted.
        agent_id: The agent's id in the registry; untrusted.
        folder: The folder of all these files; None for the usual folder of each kind.
    """
    sources = (PROGRESS, FINDINGS, STREAM_LOG)
    parts = ((source.name, source.parts(agent_id)) for source in sources)
    return tuple(_facts(directory, name, (folder or own, file)) for name, (own, file) in parts)


def _facts(directory: Path, name: str, parts: tuple[str, str]) -> FileFacts:
    path = directory.joinpath(*parts)
    try:
        file = open_beneath(directory, parts)
    except RegistryNotFoundError as error:
        hand_on(error)
        return FileFacts(name, path, None, None, None)
    except (RegistryError, ValueError) as error:
        hand_on(error)
        reason = error.reason if isinstance(error, RegistryError) else None
        return FileFacts(name, path, None, None, reason or str(error))
    try:
        status = os.fstat(file.fileno())
        return FileFacts(name, path, status.st_size, status.st_mtime, None)
    except OSError as error:
        hand_on(error)
        return FileFacts(name, path, None, None, error.strerror)
    finally:
        close_read(file)
