"""Reads the lines of a file from its end to its start, up to a limit of bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from registry.errors import InaccessibleRegistryError
from registry.storage.files.interruption import hand_on

_BLOCK = 64 * 1024


def read_piece(fd: int, path: Path, length: int, offset: int) -> bytes:
    """Reads `length` bytes at `offset`; returns fewer bytes only if the file ends there.

    Raises:
        InaccessibleRegistryError: The file cannot be read.
    """
    chunks = []
    try:
        while length > 0 and (chunk := os.pread(fd, length, offset)):
            chunks.append(chunk)
            length -= len(chunk)
            offset += len(chunk)
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "read") from error
    return b"".join(chunks)


def lines_from_end(
    fd: int, path: Path, size: int, *, longest: int, look_back: int
) -> Iterator[tuple[int, bytes | None, bool]]:
    """Yields the lines of a file from the last to the first.

    Args:
        fd: The descriptor of the file, open for reading.
        path: The path of the file, for errors.
        size: The offset to start from; later bytes are not read.
        longest: The longest line, in bytes, that is returned.
        look_back: The number of bytes before `size` that are read.

    Yields:
        Three values: the offset of a line; the line, or None if the line is too long or begins
        before the bytes that are read; and whether the line has a line end.

    Raises:
        InaccessibleRegistryError: The file cannot be read.
    """
    floor = max(0, size - look_back)
    end, ended, held = size, False, 0
    # The pieces of the line, from its end; None if the line is too long.
    parts: list[bytes] | None = []
    while end > floor:
        start = max(floor, end - _BLOCK)
        block = read_piece(fd, path, end - start, start)
        stop = len(block)
        while (at := block.rfind(b"\n", 0, stop)) >= 0:
            too_long = held + stop - at - 1 > longest
            line = None if too_long else _joined(parts, block[at + 1 : stop])
            yield start + at + 1, line, ended
            ended, parts, held, stop = True, [], 0, at
        held += stop
        if parts is None or held > longest:
            parts = None
        else:
            parts.append(block[:stop])
        end = start
    if floor == 0:
        yield 0, _joined(parts, b""), ended
    elif not ended:
        yield floor, None, False


def _joined(parts: list[bytes] | None, first: bytes) -> bytes | None:
    return None if parts is None else first + b"".join(reversed(parts))
