"""Finds out whether a registry has a hot journal: the journal of an interrupted commit.

All readers use this module, and readers must start fast. So this module imports no module that
writes or recovers a registry.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import folder_of, look, name_of, open_file
from registry.storage.journal import is_over, journal_path
from registry.storage.shared_lock import while_nobody_writes


def is_hot(registry: Path, opened: int | None = None) -> bool:
    """Returns whether a commit of a registry was interrupted and is not recovered yet.

    This function does not wait for locks.

    Args:
        registry: The path of the registry.
        opened: A descriptor of the registry's directory; see `folder_of`.

    Raises:
        RegistryError: The registry does not exist, is not a regular file, or is not accessible.
    """
    if find_journal(registry, opened) is None:
        return False
    with open_file(registry, os.O_RDONLY) as file:
        # While this process holds the shared lock, no other process can commit.
        hot = while_nobody_writes(file.fileno(), lambda: find_journal(registry))
    return hot is not None


def find_journal(registry: Path, opened: int | None = None) -> Path | None:
    """Returns the path of a registry's journal if a commit has begun and is not over.

    Args:
        registry: The path of the registry.
        opened: A descriptor of the registry's directory; see `folder_of`.

    Returns:
        None if no such journal exists.
    """
    place = journal_path(registry)
    return place if is_open(place, opened) else None


def is_open(place: Path, opened: int | None = None) -> bool:
    """Returns whether the commit of a journal has begun and is not over.

    Args:
        place: The path of the journal.
        opened: A descriptor of the journal's directory; see `folder_of`.

    Returns:
        True also if the journal exists, but cannot be read.
    """
    try:
        with folder_of(place, opened) as folder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            file = open_owned(name_of(place), flags, dir_fd=folder)
    except FileNotFoundError as error:
        hand_on(error)
        return False
    except OSError as error:
        hand_on(error)
        return not is_empty(place)
    try:
        return not is_over(os.pread(file.fileno(), 1, 0))
    except OSError as error:
        hand_on(error)
        return True
    finally:
        close_read(file)


def is_empty(place: Path) -> bool:
    """Returns whether a journal is certainly empty, without opening it.

    A process that is killed while it creates a journal leaves an empty journal.
    """
    try:
        status = look(place)
    except OSError as error:
        hand_on(error)
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0
