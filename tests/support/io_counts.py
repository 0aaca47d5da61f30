"""Records every call that opens, reads, writes or flushes a file, in order."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

Kind = Literal["open", "read", "write", "flush"]


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        kind: The kind of call; "write" also for a truncation.
        path: The file.
        offset: The position in the file; -1 if the call has none.
        size: The requested number of bytes.
        got: The number of bytes that were read.
    """

    kind: Kind
    path: Path
    offset: int = -1
    size: int = 0
    got: int = 0


def _path(fd: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{fd}"))


@contextlib.contextmanager
def watching() -> Iterator[list[Call]]:
    """Records the calls of `os` and `open` in the block, in all threads."""
    last_activity: list[Call] = []
    # Saved before the functions are replaced.
    names = ("open", "pread", "read", "pwrite", "write", "ftruncate", "fsync", "fdatasync")
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in names}

    def opening(*arguments: Any, **options: Any) -> int:
        fd: int = real["open"](*arguments, **options)
        last_activity.append(Call("open", _path(fd)))
        return fd

    def reading(name: str) -> Callable[..., bytes]:
        def read(fd: int, size: int, offset: int = -1) -> bytes:
            rest = (offset,) if name == "pread" else ()
            data: bytes = real[name](fd, size, *rest)
            last_activity.append(Call("read", _path(fd), offset, size, len(data)))
            return data

        return read

    def writing(name: str) -> Callable[..., int]:
        def write(fd: int, data: Any, offset: int = -1) -> int:
            last_activity.append(Call("write", _path(fd), offset, len(data)))
            written: int = real[name](fd, data, *((offset,) if name == "pwrite" else ()))
            return written

        return write

    def truncating(fd: int, length: int) -> None:
        last_activity.append(Call("write", _path(fd), length))
        real["ftruncate"](fd, length)

    def flushing(name: str) -> Callable[[int], None]:
        def flush(fd: int) -> None:
            last_activity.append(Call("flush", _path(fd)))
            real[name](fd)

        return flush

    with (
        mock.patch("builtins.open", _opener(last_activity)),
        mock.patch.multiple(
            os,
            open=opening,
            pread=reading("pread"),
            read=reading("read"),
            pwrite=writing("pwrite"),
            write=writing("write"),
            ftruncate=truncating,
            fsync=flushing("fsync"),
            fdatasync=flushing("fdatasync"),
        ),
    ):
        yield last_activity


class _Heard(io.FileIO):
    """A file that records the calls."""

    def __init__(self, path: Path, mode: str, last_activity: list[Call]) -> None:
        super().__init__(path, mode)
        self._path = path
        self._heard = last_activity
        last_activity.append(Call("open", path))

    def readinto(self, buffer: Any) -> int:
        got = super().readinto(buffer)
        self._heard.append(Call("read", self._path, size=len(buffer), got=got or 0))
        return got or 0

    def readall(self) -> bytes:
        data = super().readall() or b""
        # One read returns all data, and a second read finds the end of the file.
        self._heard.append(Call("read", self._path, size=len(data), got=len(data)))
        self._heard.append(Call("read", self._path, size=1))
        return data

    def write(self, data: Any) -> int:
        self._heard.append(Call("write", self._path, size=len(data)))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        self._heard.append(Call("write", self._path))
        return super().truncate(size)


def _opener(last_activity: list[Call]) -> Callable[..., Any]:
    real = open
    buffered: dict[str, Any] = {
        "r": io.BufferedReader,
        "w": io.BufferedWriter,
        "a": io.BufferedWriter,
        "r+": io.BufferedRandom,
    }

    def opening(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode not in buffered or isinstance(file, int):
            return real(file, mode, *arguments, **options)
        raw = _Heard(Path(file), mode, last_activity)
        return io.TextIOWrapper(buffered[mode](raw), encoding=options.get("encoding"))

    return opening


def is_registry(path: Path) -> bool:
    """Whether a file is a task's registry or a global registry."""
    return path.name in ("AGENT_REGISTRY.json", "GLOBAL_REGISTRY.json")


def is_journal(path: Path) -> bool:
    """Whether a file is the journal of a registry."""
    return path.name.endswith(".journal")


def passes(last_activity: list[Call], path: Path) -> tuple[int, int]:
    """Returns how often a registry was read from its start, and how often it was written."""
    mine = [call for call in last_activity if call.path == path]
    reads = sum(call.kind == "read" and call.offset == 0 and call.size > 1 for call in mine)
    # A commit writes the text from the second byte. A write at another offset only reserves space.
    writes = sum(call.kind == "write" and call.offset == 1 for call in mine)
    return reads, writes
