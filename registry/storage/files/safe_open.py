"""Opens files that another user may have planted, without blocking and without following links.

`registry` opens all files through this module. The path to a workspace may contain symlinks, but
must always lead to the same directory (`files.anchor`). Below the workspace, no symlink is
followed, neither for a directory nor for a file. A registry with a second hard link is refused
too.
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
from typing import NoReturn

from registry.errors import (
    InaccessibleRegistryError,
    LinkedRegistryError,
    NotARegularFileError,
    RegistryError,
    RegistryNotFoundError,
)
from registry.storage.files.anchor import open_anchor
from registry.storage.files.descriptor import Descriptor, close_read, open_owned
from registry.storage.files.interruption import hand_on
from registry.text import quoted_name

# O_NONBLOCK: a plain open of a FIFO would hang. O_NOCTTY: a terminal device must not become
# the controlling terminal. Both flags have no effect on regular files.
_SAFE = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# O_PATH needs only the permission to search, like an open of the whole path.
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW

# While another process holds a write lease on the file, an open with O_NONBLOCK fails with
# EAGAIN instead of waiting.
_LEASE_PATIENCE = 0.25
_LEASE_PAUSE = 0.002

# A file that is being created may have two names, for less than this many seconds.
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
def folder_of(path: Path, opened: int | None = None) -> Iterator[int]:
    """Yields a descriptor of a file's directory, which must not be a symlink.

    The path above this directory may contain symlinks, but must always lead to the same directory
    (`files.anchor`).

    Args:
        path: The path of the file.
        opened: A descriptor that an outer call of this function yielded for a file of the same
            directory; None to open the directory.

    Raises:
        RegistryNotFoundError: The directory does not exist.
        LinkedRegistryError: The directory is a symlink.
        ReplacedWorkspaceError: The path above the directory leads to another directory than at
            its first use.
        InaccessibleRegistryError: The directory is not accessible.
    """
    if opened is not None:
        yield opened
        return
    folder = open_folder(path.parent, on_the_way_to=path)
    try:
        yield folder.fileno()
    finally:
        close_read(folder)


def name_of(path: Path) -> str:
    """Returns the last part of a path; a dot if the path has no such part."""
    return path.name or "."


def look(path: Path, opened: int | None = None) -> os.stat_result:
    """Returns the status of the file that `open_regular` would open; a symlink is not followed.

    Args:
        path: The path of the file.
        opened: See `folder_of`.

    Raises:
        OSError: The file does not exist or cannot be examined.
        LinkedRegistryError: The directory of the file is a symlink.
    """
    with folder_of(path, opened) as folder:
        return os.stat(name_of(path), dir_fd=folder, follow_symlinks=False)


def open_regular(
    path: Path, flags: int, *, past_lease: bool = True, opened: int | None = None
) -> Descriptor:
    """Opens a regular file without following symlinks, and without blocking.

    Args:
        path: The path of the file.
        flags: `os.O_RDONLY` or `os.O_RDWR`.
        past_lease: Whether to wait up to 0.25 s for the end of another process's lease. If False,
            such a lease causes an error with `errno.EAGAIN` at once.
        opened: See `folder_of`.

    Returns:
        A descriptor, which is closed on exec.

    Raises:
        RegistryNotFoundError: The file does not exist.
        LinkedRegistryError: The file or its directory is a symlink.
        NotARegularFileError: The path leads to a FIFO, device, directory or socket.
        InaccessibleRegistryError: The file cannot be opened for another reason.
    """
    with folder_of(path, opened) as folder:
        return _open_regular(name_of(path), flags, folder, path, past_lease)


def _open_regular(name: str, flags: int, folder: int, named: Path, past_lease: bool) -> Descriptor:
    try:
        patience = _LEASE_PATIENCE if past_lease else 0.0
        opened = open_past_lease(name, flags | os.O_NOFOLLOW, folder, patience)
    except (FileNotFoundError, NotADirectoryError) as error:
        hand_on(error)
        raise RegistryNotFoundError(named) from None
    except OSError as error:
        hand_on(error)
        if error.errno == errno.ELOOP:
            raise LinkedRegistryError(named, named, target_of(named)) from None
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
        raise NotARegularFileError(named, kind_name(mode))
    return opened


def kind_name(mode: int) -> str:
    """Returns the kind of a file that is not a regular file, with an article."""
    return _KINDS.get(stat.S_IFMT(mode), "a special file")


def open_file(path: Path, flags: int, *, past_lease: bool = True) -> Descriptor:
    """Opens a regular file like `open_regular`, but refuses a file with a second hard link.

    Raises:
        RegistryError: See `open_regular`; `LinkedRegistryError` also for a second hard link.
    """
    opened = open_regular(path, flags, past_lease=past_lease)
    try:
        check_one_name(opened.fileno(), path)
    except BaseException:
        close_read(opened)
        raise
    return opened


def check_one_name(fd: int, path: Path) -> None:
    """Refuses a file with a second hard link, which may be in another workspace.

    Raises:
        LinkedRegistryError: The file has a second hard link.
        InaccessibleRegistryError: The file cannot be examined.
    """
    try:
        status = os.fstat(fd)
        # On some file systems, `registry.operations.create` gives a new file two names for a
        # moment.
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


def open_past_lease(
    name: str, flags: int, folder: int, patience: float = _LEASE_PATIENCE
) -> Descriptor:
    """Opens a file without blocking; waits a short time for the end of another process's lease.

    Args:
        name: The name of the file.
        flags: The flags of `os.open`.
        folder: The descriptor of the file's folder.
        patience: How long to wait, in seconds.

    Raises:
        BlockingIOError: The lease lasts longer.
        OSError: The file cannot be opened.
    """
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
    """Returns whether an id can safely be part of a file's name.

    Such an id has 1 to 128 of the characters ``[A-Za-z0-9_.-]``, and no leading dot.
    """
    return _SAFE_NAME.fullmatch(name) is not None


def open_beneath(directory: Path, parts: tuple[str, ...]) -> Descriptor:
    """Opens a file below a directory for reading, without following symlinks.

    Args:
        directory: The directory, which must not be a symlink itself.
        parts: The names of the folders and the file; each is checked with `is_safe_name`.

    Raises:
        ValueError: `is_safe_name` returned False for a name.
        RegistryError: See `open_file`.
    """
    for part in parts:
        if not is_safe_name(part):
            raise ValueError(
                f"{quoted_name(part, 128)} cannot be part of a file's name; use at most 128 "
                "letters, digits, '_', '-' and '.', without a '.' at the start"
            )
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
    """Opens a directory without following symlinks.

    Args:
        directory: The directory to start from, which must not be a symlink itself.
        parts: The names of the directories on the way from there to the directory to open.
        on_the_way_to: The path for errors; by default the path of the opened directory.

    Raises:
        RegistryError: See `folder_of`.
    """
    # A directory such as "." or ".." has no name in the path; it is opened as the anchor.
    nameless = directory.name in ("", "..")
    anchor = directory if nameless else directory.parent
    names = parts if nameless else (directory.name, *parts)
    folder: Descriptor | None = None
    tried: list[str] = []
    try:
        try:
            folder = open_anchor(anchor)
            for name in names:
                tried.append(name)
                folder = open_owned(name, _FOLDER, dir_fd=folder.fileno())
        except RegistryError:
            raise
        except OSError as error:
            hand_on(error)
            named = on_the_way_to or directory.joinpath(*parts)
            if folder is None:
                _raise_named(error, named, anchor)
            _raise_named(error, named, anchor.joinpath(*tried), folder.fileno())
    except BaseException:
        if folder is not None:
            close_read(folder)
        raise
    return folder


def _raise_named(
    error: OSError, on_the_way_to: Path, folder: Path, above: int | None = None
) -> NoReturn:
    """Raises the error for a folder that cannot be opened, with the path `on_the_way_to`.

    Args:
        error: The error of the open.
        on_the_way_to: The path for the raised error.
        folder: The path of the folder.
        above: A descriptor of the directory that contains the folder; None for an anchor.
    """
    # With O_DIRECTORY the kernel returns ENOTDIR also for a symlink.
    followed = error.errno in (errno.ENOTDIR, errno.ELOOP)
    if followed and above is not None and _is_link(folder.name, above):
        raise LinkedRegistryError(on_the_way_to, folder, target_of(folder)) from None
    if isinstance(error, FileNotFoundError) or error.errno == errno.ENOTDIR:
        raise RegistryNotFoundError(on_the_way_to) from None
    raise InaccessibleRegistryError(on_the_way_to, error, "read") from error


def target_of(link: Path) -> str | None:
    """Returns the path to which a symlink leads; None if the symlink cannot be read.

    A relative path is joined to the directory of the symlink. Further symlinks are not resolved.
    """
    try:
        return os.path.join(os.path.dirname(link), os.readlink(link))
    except OSError as error:
        hand_on(error)
        return None


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError as error:
        hand_on(error)
        return False


def read_all(fd: int, path: Path, limit: int) -> bytes:
    """Reads a whole file, but at most `limit` + 1 bytes.

    A result of `limit` + 1 bytes shows that the file is too large.

    Raises:
        InaccessibleRegistryError: The file cannot be read.
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
    """Writes all bytes at `offset`.

    Raises:
        OSError: The write failed; some bytes may have been written.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        if written <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[written:]
        offset += written


def sync_directory(path: Path) -> None:
    """Flushes the directory of a file to the disk.

    Raises:
        RegistryError: See `folder_of`.
        OSError: The flush failed.
    """
    with folder_of(path) as folder:
        sync_folder(folder)


def sync_folder(folder: int) -> None:
    """Flushes a directory to the disk.

    Args:
        folder: A descriptor of the directory; a descriptor with `O_PATH` is enough.

    Raises:
        OSError: The flush failed.
    """
    with open_owned(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder) as opened:
        os.fsync(opened.fileno())
