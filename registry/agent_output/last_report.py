"""Reads the last report of agents: what an agent does now, or did last, in its own words.

Unlike `reported_end`, a report proves nothing here, so it does not matter who may write the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from registry.agent_output.identities import ARCHIVE
from registry.agent_output.lines import PROGRESS, ProgressReport, is_whole, read_progress
from registry.agent_output.reported_end import is_by_muster
from registry.errors import RegistryError
from registry.storage.files.backward import lines_from_end
from registry.storage.files.descriptor import Descriptor, close_read
from registry.storage.files.interruption import tolerating
from registry.storage.files.safe_open import (
    check_one_name,
    is_safe_name,
    open_folder,
    open_regular,
)

_LINE_AT_MOST = 64 * 1024
_LOOK_BACK = 4 * _LINE_AT_MOST


class LastReport(NamedTuple):
    """The last report in an agent's progress file.

    Attributes:
        report: The report; None if the file has none.
        stamp: The state of the file that was read; an unchanged file has the same stamp.
    """

    report: ProgressReport | None
    stamp: tuple[int, ...]


def read_last_reports(
    directory: Path,
    agent_ids: Iterable[str],
    before: Mapping[str, LastReport] = MappingProxyType({}),
) -> dict[str, LastReport]:
    """Returns the last report of each agent. Follows no symlinks, and takes no lock.

    A file in the archive counts if the agent has no other: every later line is in a new file. A
    line that muster wrote after an action of an operator is not a report of the agent. Lines that
    are incomplete or malformed are skipped.

    Args:
        directory: The task's directory; trusted.
        agent_ids: The agents; an id that cannot be part of a file name is skipped.
        before: An earlier result; a file that has not changed is not opened again.

    Returns:
        Maps the id of each agent that has a readable progress file to the report.
    """
    reports: dict[str, LastReport] = {}
    left = [agent_id for agent_id in agent_ids if is_safe_name(PROGRESS.parts(agent_id)[1])]
    for folder in (PROGRESS.folder, ARCHIVE):
        left = [agent_id for agent_id in left if agent_id not in reports]
        if not left:
            break
        with tolerating(RegistryError):
            opened = open_folder(directory, (folder,))
            try:
                for agent_id in left:
                    path = directory / folder / PROGRESS.parts(agent_id)[1]
                    with tolerating(RegistryError, OSError):
                        reports[agent_id] = _last_report(path, opened, before.get(agent_id))
            finally:
                close_read(opened)
    return reports


def _last_report(path: Path, folder: Descriptor, before: LastReport | None) -> LastReport:
    now = os.stat(path.name, dir_fd=folder.fileno(), follow_symlinks=False)
    if before is not None and before.stamp == _stamp(now):
        return before
    opened = open_regular(path, os.O_RDONLY, past_lease=False, opened=folder.fileno())
    try:
        check_one_name(opened.fileno(), path)
        status = os.fstat(opened.fileno())
        return LastReport(_report_in(opened.fileno(), path, status.st_size), _stamp(status))
    finally:
        close_read(opened)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _report_in(fd: int, path: Path, size: int) -> ProgressReport | None:
    if not size:
        return None
    lines = lines_from_end(fd, path, size, longest=_LINE_AT_MOST, look_back=_LOOK_BACK)
    for _, line, ended in lines:
        if not line or not (ended or is_whole(line)) or is_by_muster(line):
            continue
        if reports := read_progress(line):
            return reports[-1]
    return None
