"""Identifies an agent's output files by device and inode instead of by path."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from registry.agent_output.lines import FINDINGS, PROGRESS, STREAM_LOG
from registry.dataclass import dataclass
from registry.schema.layout import ARCHIVE as ARCHIVE
from registry.storage.files.descriptor import close_read, open_owned
from registry.storage.files.interruption import tolerating
from registry.storage.files.safe_open import is_safe_name, open_folder

Identity = tuple[int, int]
"""The device and inode of a file, which identify the file in every mount namespace."""


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The identities of one agent's output files.

    Attributes:
        folder: The identity of the task's directory.
        files: The identities of the output files, including archived files.
    """

    folder: Identity
    files: frozenset[Identity]


def output_files(directory: Path, agent_id: str) -> OutputFiles:
    """Returns the identities of an agent's output files.

    Follows no symlinks, and opens no output file.

    Args:
        directory: The directory of the task.
        agent_id: The agent's id in the registry; untrusted text.

    Raises:
        RegistryError: The directory does not exist, or is a symlink.
        OSError: The directory or a file cannot be examined.
    """
    task = open_folder(directory)
    try:
        status = os.fstat(task.fileno())
        files: set[Identity] = set()
        for source in (PROGRESS, FINDINGS, STREAM_LOG) if is_safe_name(agent_id) else ():
            usual_folder, name = source.parts(agent_id)
            for folder in (usual_folder, ARCHIVE):
                with tolerating(FileNotFoundError, NotADirectoryError):
                    files |= _regular(task.fileno(), folder, name)
        return OutputFiles((status.st_dev, status.st_ino), frozenset(files))
    finally:
        close_read(task)


def _regular(task: int, folder: str, name: str) -> set[Identity]:
    opened = open_owned(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=task)
    try:
        status = os.stat(name, dir_fd=opened.fileno(), follow_symlinks=False)
    finally:
        close_read(opened)
    return {(status.st_dev, status.st_ino)} if stat.S_ISREG(status.st_mode) else set()
