"""Which files on this host are an agent's output, whatever path another process knows them by."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from registry.agent_output.lines import FINDINGS, PROGRESS, STREAM_LOG
from registry.storage.descriptor import close_read, open_owned
from registry.storage.interruption import tolerating
from registry.storage.safe_open import is_safe_name, open_folder

ARCHIVE = "archive"
"""The folder of a task that orchestrators move the output of agents to."""

Identity = tuple[int, int]
"""Device and inode: tells a file from all others, in every mount namespace."""


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The files of one agent.

    Attributes:
        folder: The task's directory.
        files: What the agent's output is written to, in place or archived.
    """

    folder: Identity
    files: frozenset[Identity]


def output_files(directory: Path, agent_id: str) -> OutputFiles:
    """Looks at an agent's files, through no symlink; none is opened.

    Args:
        directory: The task's directory.
        agent_id: As the registry has it; untrusted.

    Raises:
        RegistryError: The directory is not there, or is a symlink.
        OSError: It cannot be looked at.
    """
    task = open_folder(directory)
    try:
        status = os.fstat(task.fileno())
        found: set[Identity] = set()
        for source in (PROGRESS, FINDINGS, STREAM_LOG) if is_safe_name(agent_id) else ():
            folder, name = source.parts(agent_id)
            for each in (folder, ARCHIVE):
                with tolerating(FileNotFoundError, NotADirectoryError):
                    found |= _regular(task.fileno(), each, name)
        return OutputFiles((status.st_dev, status.st_ino), frozenset(found))
    finally:
        close_read(task)


def _regular(task: int, folder: str, name: str) -> set[Identity]:
    opened = open_owned(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=task)
    try:
        status = os.stat(name, dir_fd=opened.fileno(), follow_symlinks=False)
    finally:
        close_read(opened)
    return {(status.st_dev, status.st_ino)} if stat.S_ISREG(status.st_mode) else set()
