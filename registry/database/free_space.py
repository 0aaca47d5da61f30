"""Finds out whether a write to a database has enough space, before SQLite is asked.

If the disk becomes full while SQLite creates the index of a write-ahead log, the incomplete index
stays. So the space is allocated first, for a file without a name that vanishes at once.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from registry.database.files import DatabaseFiles
from registry.errors import InaccessibleRegistryError
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import folder_of

# The first part of the index has 32 KiB. One change needs a few frames of 4,120 bytes in the log,
# and a few lines in the audit log and in the progress files.
_INDEX, _LOG = 32 * 1024, 64 * 1024

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_free_space(files: DatabaseFiles) -> None:
    """Requires free space for one change of a database. Creates no file that has a name.

    Args:
        files: The files of the database. If it is not in use, space for its index is needed, too.

    Raises:
        InaccessibleRegistryError: The disk is full, the disk quota is used up, or the limit on
            file sizes is too low.
        RegistryError: The directory is not accessible.
    """
    needed = _LOG if files.is_in_use else _INDEX + _LOG
    with folder_of(files.path) as folder:
        try:
            _allocate(folder, needed)
        except OSError as error:
            hand_on(error)
            if error.errno in _FULL:
                raise InaccessibleRegistryError(files.path, error, "write") from error


def is_full(path: Path) -> bool:
    """Returns whether the file system of a file has no free space; False if that is not known."""
    try:
        return _lacks(os.statvfs(path), 1)
    except OSError as error:
        hand_on(error)
        return False


def _lacks(found: os.statvfs_result, size: int) -> bool:
    """Returns whether a file system has less than `size` free bytes for this user."""
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    # Some file systems have no size.
    return found.f_blocks > 0 and free * found.f_frsize < size


def _allocate(folder: int, size: int) -> None:
    """Allocates space and releases it.

    Raises:
        OSError: The space is not free, or cannot be allocated in this way.
    """
    try:
        file = open_owned(".", os.O_RDWR | os.O_TMPFILE, 0o600, dir_fd=folder)
    except OSError as error:
        hand_on(error)
        # The file system supports no files without a name, or has no inode left.
        if _lacks(os.fstatvfs(folder), size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    finally:
        close_read(file)
