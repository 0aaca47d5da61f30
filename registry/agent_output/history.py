"""Reads the facts about an agent that the agent's own files prove.

The name of a file proves nothing. A file proves facts about an agent if both are true: lines in
the file name the agent, and each user that may write the file may also write the task's registry.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.agent_output.lines import FINDINGS, PROGRESS, STREAM_LOG
from registry.agent_output.listing import PROMPT, FoundFile, list_files
from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.schema.records import number_of
from registry.schema.timestamps import parse_time
from registry.storage.files.backward import lines_from_end, read_piece
from registry.storage.files.descriptor import close_read
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import is_safe_name, open_beneath
from registry.storage.files.writers import is_believed

READ_AT_MOST = 30.0
"""The time, in seconds, after which one `TraceReader` reads no further agent's files.

Without the limit, a user could stall muster for hours with the files of agents that no registry
lists.
"""

_HEAD = 64 * 1024
_TAIL = 1024 * 1024
_LINE_AT_MOST = 256 * 1024
_STATUS_AT_MOST = 80

# A line of these files proves that the agent worked, but not its status.
_NAMING = (STREAM_LOG.name, FINDINGS.name)

_PROMPT_ID = re.compile(r"^[\s*-]*Agent ID:\s*(\S+)\s*$", re.MULTILINE)
_PROMPT_PARENT = re.compile(r"^[\s*-]*Parent Agent:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class History:
    """The facts that an agent's own files prove.

    Attributes:
        status: The last reported status; None if the agent has not reported a status.
        progress: The last reported percentage, from 0 to 100, or None.
        started_at: The earlier of two times, as ISO 8601 text: the time of the prompt, and the
            time of the first report. None if both times are unknown.
        last_update: The time of the last report, as ISO 8601 text, or None.
        parent: The id of the agent's parent, or None.
    """

    status: str | None = None
    progress: float | None = None
    started_at: str | None = None
    last_update: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The files of one agent, and the facts that the files prove.

    Attributes:
        agent: The agent's id, from the names of the files.
        files: The files; at least one.
        history: The facts that the files prove; None if no line names the agent.
        strangers: Whether any file was ignored because a user that may write the file may not
            write the registry.
    """

    agent: str
    files: tuple[FoundFile, ...]
    history: History | None = None
    strangers: bool = False


_Traces = tuple[tuple[Trace, ...], tuple[tuple[Path, str], ...]]


class TraceReader:
    """Reads the files of agents in several tasks.

    All tasks together take at most `READ_AT_MOST` seconds. The files of each task are read only
    once. Follows no symlinks; takes no lock.
    """

    def __init__(self) -> None:
        self._left = READ_AT_MOST
        self._read: dict[Path, _Traces] = {}

    def traces_in(self, registry: Path, wanted: Callable[[str], bool]) -> _Traces:
        """Reads the files of agents in a task's directory.

        Args:
            registry: The path of the task's registry.
            wanted: A function that returns whether to read the files of the agent with a given id.

        Returns:
            The traces of these agents, sorted by id. Then pairs of a directory that could not be
            read completely, and the reason. If this reader has read this task before, the result
            has only those agents of the first result that are wanted now.
        """
        if registry not in self._read:
            began = time.monotonic()
            self._read[registry] = self._new_traces_in(registry, wanted, began + self._left)
            self._left -= time.monotonic() - began
        traces, problems = self._read[registry]
        return tuple(trace for trace in traces if wanted(trace.agent)), problems

    def _new_traces_in(
        self, registry: Path, wanted: Callable[[str], bool], give_up_at: float
    ) -> _Traces:
        directory = registry.parent
        if time.monotonic() >= give_up_at:
            return (), ((directory, "reading other tasks took too long: no agent was searched"),)
        listing = list_files(directory)
        traces: list[Trace] = []
        agent_ids = sorted(filter(wanted, listing.files))
        for agent_id in agent_ids:
            if time.monotonic() >= give_up_at:
                left = len(agent_ids) - len(traces)
                why = f"reading took too long: the files of {left} agents were not read"
                return tuple(traces), (*listing.problems, (directory, why))
            files = listing.files[agent_id]
            paths = {file: directory.joinpath(*file.parts) for file in files}
            own = [file for file, path in paths.items() if is_believed(path, about=registry)]
            history = _history(directory, agent_id, own)
            traces.append(Trace(agent_id, files, history, len(own) < len(files)))
        return tuple(traces), listing.problems


def traces_in(registry: Path, wanted: Callable[[str], bool]) -> _Traces:
    """Reads the files of agents in the directory of one task; see `TraceReader.traces_in`."""
    return TraceReader().traces_in(registry, wanted)


@dataclass(frozen=True, slots=True)
class _Report:
    """A line of a progress file that names the agent.

    Attributes:
        at: The line's timestamp in seconds since the epoch, or None.
        line: The decoded line.
    """

    at: float | None
    line: dict[str, Any]


def _history(directory: Path, agent_id: str, files: Sequence[FoundFile]) -> History | None:
    reports: list[_Report] = []
    named = False
    # The archived files are read first: after the move to the archive, an agent's last lines may
    # be in a new file in the usual folder.
    for file in sorted(files, key=lambda file: not file.is_archived):
        if file.kind == PROGRESS.name:
            reports += (
                _Report(parse_time(line.get("timestamp")), line)
                for line in _objects(directory, file)
                if line.get("agent_id") == agent_id
            )
        elif file.kind in _NAMING and not named:
            named = any(_names(line, agent_id) for line in _objects(directory, file))
    if not reports and not named:
        return None
    reports.sort(key=lambda report: report.at or 0.0)
    timed = [report for report in reports if report.at is not None]
    statuses = [status for report in reports if (status := _status(report.line)) is not None]
    numbers = [done for report in reports if (done := _percent(report.line)) is not None]
    prompts = [file for file in files if file.kind == PROMPT]
    parents = [parent for report in reports if (parent := _parent(report.line)) is not None]
    asked = (_parent_in_prompt(directory, agent_id, file) for file in prompts)
    parents = [*(parent for parent in asked if parent is not None), *parents]
    return History(
        status=statuses[-1] if statuses else None,
        progress=numbers[-1] if numbers else None,
        started_at=_start(timed, prompts),
        last_update=timed[-1].line["timestamp"] if timed else None,
        parent=parents[0] if parents else None,
    )


def _start(timed: Sequence[_Report], prompts: Sequence[FoundFile]) -> str | None:
    # A copy of a prompt has a later time than the prompt.
    written = min((file.modified for file in prompts), default=None)
    first = timed[0] if timed else None
    if written is not None and (first is None or written < (first.at or 0.0)):
        try:
            return datetime.fromtimestamp(written).isoformat()
        except (ValueError, OverflowError, OSError) as error:
            hand_on(error)
    return first.line["timestamp"] if first is not None else None


def _status(line: dict[str, Any]) -> str | None:
    status = line.get("status")
    is_word = isinstance(status, str) and 0 < len(status) <= _STATUS_AT_MOST
    return status if is_word else None


def _percent(line: dict[str, Any]) -> float | None:
    number = number_of(line.get("progress"))
    # The value is not converted: 40 stays an integer.
    return line["progress"] if number is not None and 0 <= number <= 100 else None


def _parent(line: dict[str, Any]) -> str | None:
    parent = line.get("parent")
    return parent if isinstance(parent, str) and is_safe_name(parent) else None


def _names(line: dict[str, Any], agent_id: str) -> bool:
    """Returns whether a line contains the agent's id; in a stream log, also in a tool's input."""
    if line.get("agent_id") == agent_id:
        return True
    message = line.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    for block in content if isinstance(content, list) else ():
        used = block.get("input") if isinstance(block, dict) else None
        if isinstance(used, dict) and used.get("agent_id") == agent_id:
            return True
    return False


def _parent_in_prompt(directory: Path, agent_id: str, file: FoundFile) -> str | None:
    """Returns the parent's id in a prompt; None if the prompt is not for this agent."""
    text = _head(directory, file).decode("utf-8", "replace")
    own, parent = _PROMPT_ID.search(text), _PROMPT_PARENT.search(text)
    if own is None or parent is None or own[1] != agent_id or not is_safe_name(parent[1]):
        return None
    return parent[1]


def _head(directory: Path, file: FoundFile) -> bytes:
    """Returns the first bytes of a file; empty if the file cannot be read."""
    try:
        opened = open_beneath(directory, file.parts)
        try:
            return read_piece(opened.fileno(), directory.joinpath(*file.parts), _HEAD, 0)
        finally:
            close_read(opened)
    except RegistryError as error:
        hand_on(error)
        return b""


def _objects(directory: Path, file: FoundFile) -> Iterator[dict[str, Any]]:
    """Yields the JSON objects in the first lines and the last lines of a file, in file order.

    Yields nothing if the file cannot be read.
    """
    try:
        lines = _lines(directory, file)
    except (RegistryError, OSError) as error:
        hand_on(error)
        return
    for line in lines:
        try:
            decoded = json.loads(line)
        except (ValueError, RecursionError) as error:
            hand_on(error)
            continue
        if isinstance(decoded, dict):
            yield decoded


def _lines(directory: Path, file: FoundFile) -> list[bytes]:
    path = directory.joinpath(*file.parts)
    opened = open_beneath(directory, file.parts)
    try:
        fd = opened.fileno()
        tail: list[bytes] = []
        begin = size = os.fstat(fd).st_size
        for start, line, _ in lines_from_end(
            fd, path, size, longest=_LINE_AT_MOST, look_back=_TAIL
        ):
            begin = start
            if line:
                tail.append(line)
        head = read_piece(fd, path, min(begin, _HEAD), 0).split(b"\n")
    finally:
        close_read(opened)
    return [*head, *reversed(tail)]
