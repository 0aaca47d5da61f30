"""Appends lines to the progress files of agents, after a registry or a database was changed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from registry.errors import (
    InaccessibleRegistryError,
    NotARegularFileError,
    RegistryError,
    UntrustedFileError,
)
from registry.schema.layout import PROGRESS_FOLDER, agent_file
from registry.storage.codec import Json
from registry.storage.files.descriptor import Descriptor, close_read, open_owned
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.new_file import give_away, make_file, make_folder
from registry.storage.files.safe_open import is_safe_name, open_folder


def append_progress(directory: Path, line: Json) -> str | None:
    """Appends a line to the progress file of the agent that the line names.

    Args:
        directory: The task's directory; trusted.
        line: The fields of the line, with the id under `agent_id`; untrusted.

    Returns:
        Why the line was not written; None if it was written.
    """
    agent_id = line["agent_id"]
    if not is_safe_name(agent_id):
        return "the agent's progress file was not written: its id cannot be part of a file's name"
    try:
        _append(directory, agent_id, json.dumps(line) + "\n")
    except (RegistryError, OSError) as error:
        hand_on(error)
        why = error.brief if isinstance(error, RegistryError) else str(error)
        return f"the agent's progress file was not written: {why}"
    return None


def _append(directory: Path, agent_id: str, line: str) -> None:
    """Appends a line to an agent's progress file; follows no symlink.

    Raises:
        NotARegularFileError: The progress file is not a regular file.
        UntrustedFileError: The progress file has a second hard link.
        OSError: The file cannot be written.
    """
    folder = directory / PROGRESS_FOLDER
    task = open_folder(directory)
    try:
        with tolerating(FileExistsError):
            make_folder(PROGRESS_FOLDER, task.fileno())
    finally:
        close_read(task)
    inside = open_folder(directory, (PROGRESS_FOLDER,))
    path = folder / agent_file(agent_id, "progress")
    try:
        file = _open_or_make(path.name, inside.fileno())
    except OSError as error:
        hand_on(error)
        raise InaccessibleRegistryError(path, error, "write") from error
    finally:
        close_read(inside)
    try:
        with file:
            _append_to(file.fileno(), path, line.encode("ascii"))
    except OSError as error:
        hand_on(error)
        if isinstance(error, RegistryError):
            raise
        raise InaccessibleRegistryError(path, error, "append to") from error


def _open_or_make(name: str, folder: int) -> Descriptor:
    """Opens a progress file for appending, and creates the file if it does not exist."""
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    with tolerating(FileNotFoundError):
        return open_owned(name, flags, dir_fd=folder)
    with tolerating(FileExistsError):
        close_read(make_file(name, folder, 0o644, lambda fd: give_away(fd, folder)))
    return open_owned(name, flags, dir_fd=folder)


def _append_to(fd: int, path: Path, data: bytes) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotARegularFileError(path, "a FIFO, socket or device")
    if status.st_nlink > 1:
        raise UntrustedFileError(path, "has a second name (hard link); move the file aside")
    if status.st_size and os.pread(fd, 1, status.st_size - 1) != b"\n":
        # A process died during a write. Its incomplete line must not damage this one.
        data = b"\n" + data
    while data:
        data = data[os.write(fd, data) :]
