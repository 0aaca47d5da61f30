"""Reads the end that an agent itself reported: the last line of its progress file.

The orchestrator appends this line first. Then it ends the agent's session, moves the agent's files
to the archive, and writes the registries up to 4 s later.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.agent_output.identities import ARCHIVE
from registry.agent_output.lines import PROGRESS, is_whole
from registry.dataclass import dataclass
from registry.errors import RegistryError, RegistryNotFoundError
from registry.schema.statuses import is_terminal, stored_status
from registry.schema.timestamps import parse_time
from registry.storage.files.backward import lines_from_end
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.file_age import is_ahead, written_at
from registry.storage.files.interruption import hand_on, tolerating
from registry.storage.files.safe_open import is_safe_name, open_beneath, open_folder
from registry.storage.files.writers import is_believed

BY_MUSTER = {"by": "muster"}
"""The fields of a progress line that muster wrote after an operator's action.

Such a line is not a report of the agent.
"""

MESSAGE_AT_MOST = 1000
"""The largest length of `ReportedEnd.message`, in characters; a longer message is cut."""

_LINE_AT_MOST = 256 * 1024
_FOLDERS = (PROGRESS.folder, ARCHIVE)


@dataclass(frozen=True, slots=True)
class ReportedEnd:
    """The end that an agent itself reported. All text is untrusted.

    Attributes:
        status: The terminal status.
        message: The agent's message, cut at `MESSAGE_AT_MOST` characters; may be empty.
        timestamp: The time of the report, as valid ISO 8601 text.
        written: When the report was written, in seconds since the epoch; never in the future. The
            file system's clock tells this time, whatever time zone the agent uses.
    """

    status: str
    message: str
    timestamp: str
    written: float


def reported_ends(
    registry: Path,
    started: Mapping[str, float],
    written_after: float = 0.0,
    *,
    about: Collection[Path] | None = None,
    in_database: bool = False,
) -> dict[str, ReportedEnd]:
    """Returns the ends that agents of a task reported. Follows no symlinks, and takes no lock.

    A report counts if all of these are true:

    - It is the last line of the agent's progress file, also in the archive. Lines that muster
      wrote after an action of an operator are ignored.
    - The line is complete, names the agent, and has a terminal status; see `in_database`.
    - The line was written after the agent's start, by its own timestamp and by the file's mtime.
    - Each user that may write the file may also write the files in `about`.

    Args:
        registry: The path of the task's registry.
        started: Maps the id of each agent to the agent's start, in seconds since the epoch. An id
            that cannot be part of a file name is skipped.
        written_after: A time in seconds since the epoch. The files of an agent are not opened if
            none of them was written after this time.
        about: The files that list the agents; None for the task's registry.
        in_database: Whether the agents are in a database. The orchestrator stores an unknown word
            with a progress of 100 percent there as completed.

    Returns:
        Maps the id of each agent that reported its end to the end.
    """
    possible = {agent_id: PROGRESS.parts(agent_id)[1] for agent_id in started}
    names = {
        agent_id: name
        for agent_id, name in possible.items()
        if is_safe_name(agent_id) and is_safe_name(name)
    }
    changed: dict[str, None] = {}
    for folder in _FOLDERS if names else ():
        with tolerating(RegistryError):
            opened = open_folder(registry.parent, (folder,))
            try:
                changed |= dict.fromkeys(_changed(opened, names, written_after))
            finally:
                close_read(opened)
    ends: dict[str, ReportedEnd] = {}
    for agent_id in changed:
        end = _reported_end(
            registry.parent,
            about or (registry,),
            agent_id,
            names[agent_id],
            started[agent_id],
            in_database,
        )
        if end is not None:
            ends[agent_id] = end
    return ends


def _changed(folder: Descriptor, names: Mapping[str, str], written_after: float) -> Iterable[str]:
    """Returns the ids of the agents whose file in a folder was written after a time."""
    changed = []
    for agent_id, name in names.items():
        with tolerating(OSError):
            status = os.stat(name, dir_fd=folder.fileno(), follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_mtime >= written_after:
                changed.append(agent_id)
    return changed


@dataclass(frozen=True, slots=True)
class _LastLine:
    """The last line of a progress file.

    Attributes:
        path: The path of the file.
        fields: The decoded line; empty if the line is incomplete, too long or malformed, or if the
            file cannot be read.
        written: When the file was last written, in seconds since the epoch.
        is_ahead: Whether the file's mtime is later than the line, because the mtime is in the
            future, or because muster wrote another line afterwards.
    """

    path: Path
    fields: Mapping[str, Any]
    written: float = 0.0
    is_ahead: bool = False

    @property
    def at(self) -> float | None:
        """The line's own timestamp in seconds since the epoch; None if it is not valid."""
        return parse_time(self.fields.get("timestamp"))

    def status(self, in_database: bool) -> object:
        """The status; any JSON value.

        Args:
            in_database: Whether the result is the word that the orchestrator stores in a database.
        """
        status = self.fields.get("status")
        if in_database and isinstance(status, str):
            return stored_status(status, self.fields.get("progress"))
        return status

    @property
    def agent_id(self) -> object:
        """The agent that the line names; any JSON value."""
        return self.fields.get("agent_id")


def _reported_end(
    directory: Path,
    about: Collection[Path],
    agent_id: str,
    name: str,
    started: float,
    in_database: bool,
) -> ReportedEnd | None:
    # The usual folder is read first. So a file that another process moves to the archive meanwhile
    # is not missed.
    lines = [_last_line(directory, (folder, name)) for folder in _FOLDERS]
    found = [line for line in lines if line is not None]
    if not any(is_terminal(line.status(in_database)) for line in found):
        return None
    # A line that an untrusted user may have written counts for nothing, whatever it says.
    found = [line for line in found if all(is_believed(line.path, path) for path in about)]
    timed = [(line.at or 0.0, -number, line) for number, line in enumerate(found)]
    if not timed or not all(at and line.agent_id == agent_id for at, _, line in timed):
        return None
    # After the move to the archive, an agent's last lines may be in a new file.
    at, _, last = max(timed)
    written = min(at, last.written) if last.is_ahead else last.written
    status, timestamp = last.status(in_database), last.fields.get("timestamp")
    if not isinstance(status, str) or not isinstance(timestamp, str):
        return None
    if not is_terminal(status) or min(at, written) < started:
        return None
    return ReportedEnd(status, _message(last.fields), timestamp, written)


def _message(fields: Mapping[str, Any]) -> str:
    message = fields.get("message")
    if not isinstance(message, str):
        return ""
    return message if len(message) <= MESSAGE_AT_MOST else message[:MESSAGE_AT_MOST] + "…"


def _last_line(directory: Path, parts: tuple[str, str]) -> _LastLine | None:
    """Returns the last line of a file; None if the file does not exist, or is empty."""
    path = directory.joinpath(*parts)
    try:
        opened = open_beneath(directory, parts)
    except RegistryNotFoundError as error:
        hand_on(error)
        return None
    except RegistryError as error:
        hand_on(error)
        return _LastLine(path, {})
    try:
        file = os.fstat(opened.fileno())
        text, is_followed = _last_text(opened.fileno(), path, file.st_size)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return _LastLine(path, {})
    finally:
        close_read(opened)
    if text is None:
        return None
    return _LastLine(path, _decoded(text), written_at(file), is_followed or is_ahead(file))


def _last_text(fd: int, path: Path, size: int) -> tuple[bytes | None, bool]:
    """Returns the agent's last line, and whether muster wrote a line after it.

    The line is empty if it is incomplete or too long, and None if the file is empty.

    Raises:
        RegistryError: The file cannot be read.
    """
    if not size:
        return None, False
    is_followed = False
    lines = lines_from_end(fd, path, size, longest=_LINE_AT_MOST, look_back=2 * _LINE_AT_MOST)
    for _, line, ended in lines:
        if line is None:
            break
        if not line.strip():
            continue
        if not (ended or is_whole(line)):
            break
        if not is_by_muster(line):
            return line, is_followed
        is_followed = True
    return b"", is_followed


def is_by_muster(line: bytes) -> bool:
    """Returns whether muster wrote a line of a progress file, after an action of an operator."""
    # Only few lines are decoded twice.
    return b'"by"' in line and BY_MUSTER.items() <= _decoded(line).items()


def _decoded(line: bytes) -> Mapping[str, Any]:
    try:
        decoded = json.loads(line)
    except (ValueError, RecursionError) as error:
        hand_on(error)
        return {}
    return decoded if isinstance(decoded, dict) else {}
