"""Reads the pages of a database beside SQLite, during a read transaction."""

from __future__ import annotations

import os

from registry.database.files import DatabaseFiles, FileState, HeldDatabase, log_of
from registry.database.pages import Pages, pages_in
from registry.errors import RegistryError
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import folder_of

LOG_AT_MOST = 16 * 1024 * 1024
"""The size of the largest write-ahead log whose list of pages is read, in bytes.

The orchestrator's SQLite begins the log anew after 4 MB.
"""


def pages_of(held: HeldDatabase, files: DatabaseFiles) -> Pages | None:
    """Returns the pages of a database, as the open read transaction sees them.

    Args:
        held: The database, which SQLite has opened.
        files: The files that SQLite has opened.

    Returns:
        None if the pages in the write-ahead log are not known.
    """
    log = _log(files) if files.is_in_use else b""
    in_log = None if log is None else pages_in(log)
    return None if in_log is None else Pages(held.read, in_log)


def _log(files: DatabaseFiles) -> bytes | None:
    """Returns the write-ahead log that SQLite has opened; None if it cannot be read."""
    if files.stamp.log is None:
        return None
    try:
        # SQLite locks the database and the index, so closing the log drops no lock.
        with folder_of(files.path) as folder:
            log = open_owned(log_of(files.path), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            status = os.fstat(log.fileno())
            is_same = FileState.of(status).identity == files.stamp.log.identity
            if not is_same or status.st_size > LOG_AT_MOST:
                return None
            data = os.pread(log.fileno(), LOG_AT_MOST + 1, 0)
            return data if status.st_size <= len(data) <= LOG_AT_MOST else None
        finally:
            close_read(log)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return None
