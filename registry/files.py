"""Opening files that somebody else may have planted: never a hang, never a device.

Everything that `registry` opens, it opens through here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from io import FileIO
from pathlib import Path

from registry.errors import (
    InaccessibleRegistryError,
    NotARegularFileError,
    RegistryNotFoundError,
)
from registry.text import quoted_name

# O_NONBLOCK: a FIFO would hang a plain open. O_NOCTTY: a terminal device must
# not become ours. On a regular file neither has an effect on what follows.
_SAFE = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# While a peer holds a write lease on the file the kernel answers O_NONBLOCK
# opens with EAGAIN instead of waiting for the lease to be given up.
_LEASE_PATIENCE = 0.25
_LEASE_PAUSE = 0.002

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symlink",
}

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", re.ASCII)


def open_regular(
    path: Path,
    flags: int,
    *,
    dir_fd: int | None = None,
    named: Path | None = None,
    past_lease: bool = True,
) -> int:
    """Opens a regular file, or raises without ever blocking.

    Args:
        path: What to open.
        flags: `os.O_RDONLY` or `os.O_RDWR`, and `os.O_NOFOLLOW` to refuse a symlink.
        dir_fd: A directory that a relative `path` is beneath.
        named: What errors call it; `path` unless told otherwise.
        past_lease: Whether to wait a moment for a peer's lease on the file, or to
            raise at once, with `errno.EAGAIN`.

    Returns:
        A descriptor, closed on exec, that the caller closes.

    Raises:
        RegistryNotFoundError: Nothing is there.
        NotARegularFileError: A FIFO, device, directory, socket or refused symlink is there.
        InaccessibleRegistryError: The system refused it for another reason.
    """
    named = named or path
    try:
        fd = _open(path, flags, dir_fd, _LEASE_PATIENCE if past_lease else 0.0)
    except FileNotFoundError:
        raise RegistryNotFoundError(named) from None
    except NotADirectoryError:
        raise RegistryNotFoundError(named) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotARegularFileError(named, "a symlink") from None
        if error.errno == errno.EISDIR:
            raise NotARegularFileError(named, "a directory") from None
        if error.errno == errno.ENXIO:
            raise NotARegularFileError(named, "a FIFO, socket or device") from None
        doing = "open for writing" if flags & (os.O_RDWR | os.O_WRONLY) else "read"
        raise InaccessibleRegistryError(named, error, doing) from error
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        close_read(fd)
        raise InaccessibleRegistryError(named, error, "read") from error
    if not stat.S_ISREG(mode):
        close_read(fd)
        raise NotARegularFileError(named, _KINDS.get(stat.S_IFMT(mode), "a special file"))
    return fd


def open_file(path: Path, flags: int, *, past_lease: bool = True) -> FileIO:
    """As `open_regular`, but closed at the latest when nobody refers to it any more.

    No interruption between two steps leaves it open, and with it a lock on it.
    """
    mode = "rb+" if flags & os.O_RDWR else "rb"

    def opener(_: str, __: int) -> int:
        return open_regular(path, flags, past_lease=past_lease)

    return FileIO(path, mode, opener=opener)


def _open(path: Path, flags: int, dir_fd: int | None, patience: float) -> int:
    deadline = time.monotonic() + patience
    while True:
        try:
            return os.open(path, flags | _SAFE, dir_fd=dir_fd)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LEASE_PAUSE)


def close_read(fd: int) -> None:
    """Closes a file that was only read.

    An error then says nothing about what was read, and the descriptor is gone.
    """
    with contextlib.suppress(OSError):
        os.close(fd)


def is_safe_name(name: str) -> bool:
    """Whether an id may become part of a file's name.

    Only ``[A-Za-z0-9_.-]``, at most 128 characters, no leading dot.
    """
    return _SAFE_NAME.fullmatch(name) is not None


def open_beneath(directory: Path, parts: tuple[str, ...]) -> int:
    """Opens a file for reading beneath a directory, following no symlink on the way.

    Args:
        directory: Where to start; trusted.
        parts: Names of the folders and the file, each checked with `is_safe_name`.

    Returns:
        A descriptor that the caller closes.

    Raises:
        ValueError: A part cannot be a file's name.
        RegistryError: As `open_regular`.
    """
    for part in parts:
        if not is_safe_name(part):
            raise ValueError(f"{quoted_name(part, 128)} cannot be part of a file's name")
    full = directory.joinpath(*parts)
    folder = _open_folder(directory, full)
    try:
        for part in parts[:-1]:
            deeper = _open_folder(part, full, os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        last = Path(parts[-1])
        return open_regular(last, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder, named=full)
    finally:
        os.close(folder)


def _open_folder(
    folder: str | Path, on_the_way_to: Path, flags: int = 0, *, dir_fd: int | None = None
) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags, dir_fd=dir_fd)
    except FileNotFoundError:
        raise RegistryNotFoundError(on_the_way_to) from None
    except OSError as error:
        raise InaccessibleRegistryError(on_the_way_to, error, "read") from error


def read_all(fd: int, path: Path, limit: int) -> bytes:
    """Reads a whole file from its start, at most `limit` bytes and one.

    Raises:
        InaccessibleRegistryError: Reading failed.
    """
    chunks: list[bytes] = []
    position = 0
    try:
        while position <= limit:
            chunk = os.pread(fd, min(1 << 20, limit + 1 - position), position)
            if not chunk:
                break
            chunks.append(chunk)
            position += len(chunk)
    except OSError as error:
        raise InaccessibleRegistryError(path, error, "read") from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Writes every byte at its place.

    Raises:
        OSError: It failed; some bytes may be written.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        if written <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[written:]
        offset += written


def sync_directory(path: Path) -> None:
    """Flushes a directory's entries to the disk.

    Raises:
        OSError: It failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
