"""Writes files that never have their name without their complete content, even after a power cut.

The content is flushed to the disk before the file gets its name. A process that is killed leaves
at most a file whose name ends in ``.new``. `replace_whole` removes such files.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Collection
from itertools import islice

from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import Prepare, make_file
from registry.storage.files.safe_open import sync_folder, write_all

_LEFT_FOR = 60.0
"""A file with a temporary name is a leftover if it is older than this many seconds."""

_NAMES_AT_MOST = 20_000
"""The number of names in a folder that are compared; other users may have created many files."""


def create_whole(
    name: str, folder: int, text: bytes, prepare: Prepare, *, mode: int = 0o600
) -> None:
    """Creates a file with its complete content, unless the name is already used.

    Args:
        name: The name of the file.
        folder: A descriptor of the file's folder; a descriptor with `O_PATH` is enough.
        text: The content.
        prepare: Sets the owner and the permissions, before the content is written.
        mode: The permission bits at the creation, to which the umask is applied.

    Raises:
        FileExistsError: The name is already used.
        OSError: The file cannot be created.
    """
    _make(name, folder, text, prepare, mode)
    sync_folder(folder)


def replace_whole(
    name: str, folder: int, text: bytes, prepare: Prepare, owners: Collection[int]
) -> None:
    """Creates a file with its complete content, or replaces an existing file.

    No process may lock or keep open the existing file. Leftovers of killed writers are removed.

    Args:
        name: The name of the file.
        folder: A descriptor of the file's folder, open for reading.
        text: The content.
        prepare: Sets the owner and the permissions, before the content is written. If `prepare`
            raises an exception, the existing file stays.
        owners: The ids of the users whose leftovers are removed.

    Raises:
        OSError: The file cannot be created; the existing file stays.
    """
    with tolerating(OSError):
        _remove_leftovers(name, folder, owners)
    beside = f"{name}.{os.urandom(6).hex()}.new"
    _make(beside, folder, text, prepare, 0o600)
    try:
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with tolerating(OSError):
            os.unlink(beside, dir_fd=folder)
        raise
    sync_folder(folder)


def _make(name: str, folder: int, text: bytes, prepare: Prepare, mode: int) -> None:
    def prepare_whole(fd: int) -> None:
        prepare(fd)
        write_all(fd, text, 0)
        os.fsync(fd)

    close_read(make_file(name, folder, mode, prepare_whole))


def _remove_leftovers(name: str, folder: int, owners: Collection[int]) -> None:
    """Removes the files that killed writers of a file left.

    A file of another user is never removed, because that user may have chosen the name.
    """
    new = r"\.[0-9a-f]{12}\.new"
    # `make_file` uses the second form if the file system does not support files without a name.
    pattern = re.compile(rf"{re.escape(name)}{new}|\.{re.escape(name)}{new}{new}")
    with os.scandir(folder) as files:
        names = [file.name for file in islice(files, _NAMES_AT_MOST)]
    for each in filter(pattern.fullmatch, names):
        try:
            state = os.stat(each, dir_fd=folder, follow_symlinks=False)
            is_single = stat.S_ISREG(state.st_mode) and state.st_nlink == 1
            # Another process may be writing a younger file.
            is_young = 0 <= time.time() - state.st_ctime < _LEFT_FOR
            if is_single and state.st_uid in owners and not is_young:
                os.unlink(each, dir_fd=folder)
        except OSError as error:
            hand_on(error)
