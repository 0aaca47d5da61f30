"""Opening files that somebody else may have planted: no hang, no device, no link.

Everything that `registry` opens, it opens through here. What leads to a workspace may be
symlinks, but it leads to the same directory for as long as the process runs
(`registry.storage.anchor`). Below it no symlink is followed, neither in a task
directory's place nor in a file's; a registry that has a second name is refused as well.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import (
    InaccessibleRegistryError,
    LinkedRegistryError,
    NotARegularFileError,
    RegistryError,
    RegistryNotFoundError,
)
from registry.storage.anchor import open_anchor
from registry.storage.descriptor import Descriptor, close_read, open_owned
from registry.storage.interruption import hand_on
from registry.text import quoted_name

# O_NONBLOCK: a FIFO would hang a plain open. O_NOCTTY: a terminal device must
# not become ours. On a regular file neither has an effect on what follows.
_SAFE = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# While a peer holds a write lease on the file the kernel answers O_NONBLOCK
# opens with EAGAIN instead of waiting for the lease to be given up.
_LEASE_PATIENCE = 0.25
_LEASE_PAUSE = 0.002

# Seconds for which a file that has two names may be one that is just being made.
_NEW_FOR = 0.1

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symlink",
}

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", re.ASCII)


@contextmanager
def folder_of(path: Path) -> Iterator[int]:
    """The directory that a file lies in, as a descriptor; it must not be a symlink.

    The directory above it, a workspace as a rule, may be reached by symlinks, but must be
    the one that it was when it was first opened.

    Raises:
        RegistryNotFoundError: It is not there.
        LinkedRegistryError: It is a symlink.
        ReplacedWorkspaceError: Its path leads to another workspace than before.
        InaccessibleRegistryError: It must not be searched.
    """
    folder = open_folder(path.parent, on_the_way_to=path)
    try:
        yield folder.fileno()
    finally:
        close_read(folder)


def name_of(path: Path) -> str:
    """What a file is called in its directory."""
    return path.name or "."


def look(path: Path) -> os.stat_result:
    """The status of what is at a path: of the same thing that `open_regular` would open.

    Raises:
        OSError: Nothing is there, or it cannot be looked at. A symlink in its
            directory's place is a `LinkedRegistryError`; one in its own place is returned.
    """
    with folder_of(path) as folder:
        return os.stat(name_of(path), dir_fd=folder, follow_symlinks=False)


def open_regular(path: Path, flags: int, *, past_lease: bool = True) -> Descriptor:
    """Opens a regular file through no symlink, or raises without ever blocking.

    Args:
        path: What to open.
        flags: `os.O_RDONLY` or `os.O_RDWR`.
        past_lease: Whether to wait a moment for a peer's lease on the file, or to
            raise at once, with `errno.EAGAIN`.

    Returns:
        A descriptor, closed on exec.

    Raises:
        RegistryNotFoundError: Nothing is there.
        LinkedRegistryError: It, or the directory that it lies in, is a symlink.
        NotARegularFileError: A FIFO, device, directory or socket is there.
        InaccessibleRegistryError: The system refused it for another reason.
    """
    with folder_of(path) as folder:
        return _open_regular(name_of(path), flags, folder, path, past_lease)


def _open_regular(name: str, flags: int, folder: int, named: Path, past_lease: bool) -> Descriptor:
    try:
        opened = _open(name, flags | os.O_NOFOLLOW, folder, _LEASE_PATIENCE if past_lease else 0.0)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        raise RegistryNotFoundError(named) from None
    except OSError as error:
        hand_on(error)
        if error.errno == errno.ELOOP:
            raise LinkedRegistryError(named, named) from None
        if error.errno == errno.EISDIR:
            raise NotARegularFileError(named, "a directory") from None
        if error.errno == errno.ENXIO:
            raise NotARegularFileError(named, "a FIFO, socket or device") from None
        doing = "open for writing" if flags & (os.O_RDWR | os.O_WRONLY) else "read"
        raise InaccessibleRegistryError(named, error, doing) from error
    try:
        mode = os.fstat(opened.fileno()).st_mode
    except OSError as error:
        close_read(opened)
        hand_on(error)
        raise InaccessibleRegistryError(named, error, "read") from error
    if not stat.S_ISREG(mode):
        close_read(opened)
        raise NotARegularFileError(named, _KINDS.get(stat.S_IFMT(mode), "a special file"))
    return opened


def open_file(path: Path, flags: int, *, past_lease: bool = True) -> Descriptor:
    """As `open_regular`, but of one name only.

    Raises:
        RegistryError: As `open_regular`; also a `LinkedRegistryError` for a hard link.
    """
    opened = open_regular(path, flags, past_lease=past_lease)
    try:
        check_one_name(opened.fileno(), path)
    except BaseException:
        close_read(opened)
        raise
    return opened


def check_one_name(fd: int, path: Path) -> None:
    """Refuses a file that has a second name: that may lie in another workspace.

    Raises:
        LinkedRegistryError: It has.
        InaccessibleRegistryError: That cannot be known.
    """
    try:
        status = os.fstat(fd)
        # Where `registry.operations.create` cannot do without it, a new file has two for a moment.
        until = time.monotonic() + _NEW_FOR
        while status.st_nlink > 1:
            if time.time() - status.st_ctime > _NEW_FOR or time.monotonic() > until:
                raise LinkedRegistryError(path, path, hard=True)
            time.sleep(_LEASE_PAUSE)
            status = os.fstat(fd)
    except LinkedRegistryError:
        raise
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "read") from error


def _open(name: str, flags: int, folder: int, patience: float) -> Descriptor:
    deadline = time.monotonic() + patience
    while True:
        try:
            return open_owned(name, flags | _SAFE, dir_fd=folder)
        except BlockingIOError as error:
            hand_on(error)
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LEASE_PAUSE)


def is_safe_name(name: str) -> bool:
    """Whether an id may become part of a file's name.

    Only ``[A-Za-z0-9_.-]``, at most 128 characters, no leading dot.
    """
    return _SAFE_NAME.fullmatch(name) is not None


def open_beneath(directory: Path, parts: tuple[str, ...]) -> Descriptor:
    """Opens a file for reading beneath a directory, following no symlink on the way.

    Args:
        directory: Where to start; no symlink itself.
        parts: Names of the folders and the file, each checked with `is_safe_name`.

    Raises:
        ValueError: A part cannot be a file's name.
        RegistryError: As `open_file`.
    """
    for part in parts:
        if not is_safe_name(part):
            raise ValueError(f"{quoted_name(part, 128)} cannot be part of a file's name")
    full = directory.joinpath(*parts)
    folder = open_folder(directory, parts[:-1], on_the_way_to=full)
    try:
        opened = _open_regular(parts[-1], os.O_RDONLY, folder.fileno(), full, past_lease=True)
    finally:
        close_read(folder)
    try:
        check_one_name(opened.fileno(), full)
    except BaseException:
        close_read(opened)
        raise
    return opened


def open_folder(
    directory: Path, parts: tuple[str, ...] = (), *, on_the_way_to: Path | None = None
) -> Descriptor:
    """Opens a directory beneath another to look for files in it, following no symlink.

    Args:
        directory: Where to start; no symlink itself.
        parts: Names of the directories on the way.
        on_the_way_to: What errors name; the directory itself unless told otherwise.

    Raises:
        RegistryError: As `folder_of`.
    """
    named = on_the_way_to or directory.joinpath(*parts)
    # A folder that has no name of its own in the path is itself what everything is beneath.
    nameless = directory.name in ("", "..")
    anchor = directory if nameless else directory.parent
    with _naming(named, anchor):
        folder = open_anchor(anchor)
    at = anchor
    try:
        for part in parts if nameless else (directory.name, *parts):
            at = at / part
            with _naming(named, at, part, folder.fileno()):
                # O_PATH: to search a directory is enough, as for a plain open of the whole path.
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
                folder = open_owned(part, flags, dir_fd=folder.fileno())
    except BaseException:
        close_read(folder)
        raise
    return folder


@contextmanager
def _naming(
    on_the_way_to: Path, folder: Path, name: str = "", above: int | None = None
) -> Iterator[None]:
    """Says of what was to be opened why a folder on the way to it cannot be."""
    try:
        yield
    except FileNotFoundError as error:
        hand_on(error)
        raise RegistryNotFoundError(on_the_way_to) from None
    except RegistryError:
        raise
    except OSError as error:
        hand_on(error)
        # With O_DIRECTORY the kernel answers ENOTDIR for a symlink, too.
        followed = error.errno in (errno.ENOTDIR, errno.ELOOP)
        if followed and above is not None and _is_link(name, above):
            raise LinkedRegistryError(on_the_way_to, folder) from None
        if error.errno == errno.ENOTDIR:
            raise RegistryNotFoundError(on_the_way_to) from None
        raise InaccessibleRegistryError(on_the_way_to, error, "read") from error


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError as error:
        hand_on(error)
        return False


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
        hand_on(error)
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
    """Flushes the entries of the directory that a file lies in to the disk.

    Raises:
        RegistryError: As `folder_of`.
        OSError: It failed.
    """
    with folder_of(path) as folder:
        sync_folder(folder)


def sync_folder(folder: int) -> None:
    """Flushes a directory's entries to the disk.

    Args:
        folder: A descriptor of it, of any kind.

    Raises:
        OSError: It failed.
    """
    with open_owned(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder) as opened:
        os.fsync(opened.fileno())
