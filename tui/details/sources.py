"""The data sources of the details panel: an agent's fields, output files, pane and audit log.

While a tab is open, a thread reads the tab's source repeatedly. Each reading returns the content,
or None if the content is unchanged.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol

from registry.agent_output import FileFacts, LastReport, Line, ProgressReport, Source, report_of
from registry.dataclass import dataclass, replace
from registry.errors import RegistryError
from tui.details.last_report import since_start
from tui.host.asker import Asker, NoAnswerError
from tui.host.tmux_types import PaneCapture, Session, TmuxSnapshot
from tui.progress import ProgressCallback

if TYPE_CHECKING:
    from registry.audit import Log
    from registry.sources import TaskSource
    from tui.details.load_history import Points
    from tui.host.process.process_tree import Process
    from tui.host.tmux import Tmux
    from tui.model.roll import AgentKey, RollCall, TaskRoll

FILE_EVERY = 0.5
"""Seconds between two readings of a file in the panel."""

PANE_EVERY = 2.0
"""Seconds between two captures of a pane with continuous output."""

REPORTS_EVERY = 2.0
"""Seconds between two readings of the last reports of the visible agents."""

TASK_FILES_EVERY = 2.0
"""Seconds between two readings of the files of all agents of a task."""

_LOG_EVERY = 1.0


class PanelSource(Protocol):
    """A data source of the details panel. Only one thread at a time may use a source.

    Attributes:
        every: Seconds between two readings; None to read only on request.
    """

    every: float | None

    def read(self) -> object | None:
        """Returns the content, or None if the content is unchanged. May block."""

    def close(self) -> None:
        """Closes open files."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Data about an agent that the roll call does not have.

    Attributes:
        entry: The agent's entry in the task's registry; None if it is missing or unreadable.
        files: The facts about the agent's output files.
        listed: The agent's entry in the global registry; None if it is missing or was not read.
        processes: All processes of the agent's session. None if the agent has no session, if
            muster cannot see the processes, or if they were not read.
        report: The agent's last report, which may be from before the agent's start, or None.
        loads: The CPU and memory of the agent's session in the last ten minutes.
    """

    entry: Mapping[str, Any] | None
    files: tuple[FileFacts, ...] = ()
    listed: Mapping[str, Any] | None = None
    processes: tuple[Process, ...] | None = None
    report: ProgressReport | None = None
    loads: Points = ()


def last_report(task: TaskSource, agent_id: str) -> ProgressReport | None:
    """Reads the last report of an agent; None if there is none."""
    last = task.newest_reports([agent_id]).get(agent_id)
    return None if last is None else last.report


def stored_report(entry: Mapping[str, Any] | None) -> ProgressReport | None:
    """Returns the last report in an agent's entry of a database; None if there is none."""
    stored = (entry or {}).get("latest")
    return report_of(stored) if isinstance(stored, dict) else None


def last_reports(roll: RollCall) -> dict[AgentKey, ProgressReport]:
    """Reads the last report of each agent of a roll call, for a command.

    Agents without a report are left out, and agents of a workspace whose file system does not
    answer.
    """
    reports: dict[AgentKey, ProgressReport] = {}
    for workspace in roll.workspaces:
        asker: Asker[dict[Path, dict[str, LastReport]]] = Asker()
        asker.begin(partial(_last_reports, workspace.tasks))
        try:
            read = asker.end()
        except NoAnswerError:
            continue
        for task in workspace.tasks:
            of_task = read[task.state.registry]
            for row in task.agents:
                last = of_task.get(row.key.id)
                report = None if last is None else since_start(last.report, row.record)
                if report is not None:
                    reports[row.key] = report
    return reports


def _last_reports(
    tasks: Sequence[TaskRoll], progress: ProgressCallback
) -> dict[Path, dict[str, LastReport]]:
    read: dict[Path, dict[str, LastReport]] = {}
    for number, task in enumerate(tasks):
        progress("Reading reports", number, len(tasks))
        ids = [row.key.id for row in task.agents]
        read[task.state.registry] = task.state.source.newest_reports(ids)
    return read


class ReportsSource:
    """The source of the last reports of the agents on the visible lines.

    Args:
        agents: Each task with the ids of its agents.
        before: The reports of earlier sources, which this source uses and extends.
    """

    every: float | None = REPORTS_EVERY

    def __init__(
        self,
        agents: Sequence[tuple[TaskSource, tuple[str, ...]]],
        before: dict[Path, dict[str, LastReport]],
    ) -> None:
        self._agents = agents
        self._known = before
        self._last: dict[tuple[Path, str], ProgressReport] | None = None

    def read(self) -> dict[tuple[Path, str], ProgressReport] | None:
        """Reads the changed files; returns all reports, or None if nothing changed.

        The result maps the path of a task's registry and the id of an agent to the report.
        """
        reports: dict[tuple[Path, str], ProgressReport] = {}
        known: dict[Path, dict[str, LastReport]] = {}
        for task, ids in self._agents:
            of_task = task.newest_reports(ids, self._known.get(task.path, {}))
            known[task.path] = of_task
            for agent_id, last in of_task.items():
                if last.report is not None:
                    reports[task.path, agent_id] = last.report
        # Only the visible agents are kept, so the memory is limited.
        self._known.clear()
        self._known.update(known)
        changed, self._last = reports != self._last, reports
        return reports if changed else None

    def close(self) -> None:
        """Does nothing: no file is open."""


class FieldsSource:
    """The source of an agent's entry and of the facts about its files."""

    every: float | None = None

    def __init__(self, task: TaskSource, agent: AgentKey) -> None:
        self._task = task
        self._agent = agent
        self._before: Fields | None = None

    def read(self) -> Fields | None:
        """Reads the entry and the facts about the files; returns None if both are unchanged."""
        try:
            entry = self._task.entry(self._agent.id, self._agent.ordinal)
        except (RegistryError, OSError):
            # The task's line in the roll call shows the error.
            entry = None
        facts = self._task.output_facts(self._agent.id)
        report = last_report(self._task, self._agent.id) or stored_report(entry)
        fields = Fields(entry, facts, report=report)
        changed = fields != self._before
        self._before = fields
        return fields if changed else None

    def close(self) -> None:
        """Does nothing: no file is open."""


@dataclass(frozen=True, slots=True)
class Tail(Generic[Line]):
    """The last records of an agent's output file.

    Attributes:
        records: The records, in the order of the file.
        malformed: The number of lines that are left out, because they are invalid or too long.
        earlier: Whether the file has records before `records`.
        torn: Whether the last line is incomplete.
        size: The size of the file in bytes; None if the file does not exist.
        error: Why the file cannot be read, or None.
        modified: The time of the last write, in seconds since the epoch, or None.
    """

    records: tuple[Line, ...] = ()
    malformed: int = 0
    earlier: bool = False
    torn: bool = False
    size: int | None = None
    error: str | None = None
    modified: float | None = None


class FileSource(Generic[Line]):
    """The source of the last records of an agent's output file.

    Args:
        task: The agent's task.
        agent_id: The agent's id in the registry; untrusted.
        source: The kind of file.
        keep: The largest number of records that `read` returns.
    """

    every: float | None = FILE_EVERY

    def __init__(self, task: TaskSource, agent_id: str, source: Source[Line], keep: int) -> None:
        self._file = task.output(agent_id, source)
        self._keep = keep
        self._tail: Tail[Line] | None = None

    def read(self) -> Tail[Line] | None:
        """Reads the new lines; returns the last records, or None if the file is unchanged."""
        before = self._tail
        try:
            tail = self._read(before)
        except (RegistryError, ValueError, OSError) as error:
            reason = error.reason if isinstance(error, RegistryError) else None
            tail = replace(before or Tail(), error=reason or str(error))
        self._tail = tail
        return tail if tail != before else None

    def _read(self, before: Tail[Line] | None) -> Tail[Line]:
        batch = self._file.last(self._keep) if before is None else self._file.more()
        empty: Tail[Line] = Tail()
        old = empty if before is None or batch.restarted else before
        records = old.records + batch.records if batch.records else old.records
        return Tail(
            records[-self._keep :],
            old.malformed + batch.malformed,
            old.earlier or batch.earlier or len(records) > self._keep,
            batch.torn,
            batch.size,
            modified=batch.modified,
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TaskFilesSource(Generic[Line]):
    """The source of the last records of the output files of all agents of a task.

    Args:
        task: The task.
        agent_ids: The ids of the agents; untrusted.
        source: The kind of file.
        keep: The largest number of records of each file.

    Attributes:
        agent_ids: The ids of the agents; may be set while a thread reads.
    """

    every: float | None = TASK_FILES_EVERY

    def __init__(
        self, task: TaskSource, agent_ids: Sequence[str], source: Source[Line], keep: int
    ) -> None:
        self.agent_ids = tuple(agent_ids)
        self._task = task
        self._source = source
        self._keep = keep
        self._files: dict[str, FileSource[Line]] = {}
        self._tails: dict[str, Tail[Line]] = {}

    def read(self) -> dict[str, Tail[Line]] | None:
        """Reads the new lines; returns the last records of each agent, or None if unchanged."""
        before = dict(self._tails)
        agent_ids = self.agent_ids
        for agent_id in self._files.keys() - set(agent_ids):
            self._files.pop(agent_id).close()
            self._tails.pop(agent_id, None)
        for agent_id in agent_ids:
            if agent_id not in self._files:
                file = FileSource(self._task, agent_id, self._source, self._keep)
                self._files[agent_id] = file
            if (tail := self._files[agent_id].read()) is not None:
                self._tails[agent_id] = tail
        return dict(self._tails) if self._tails != before or not self._files else None

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()


@dataclass(frozen=True, slots=True)
class Screen:
    """The content of a session's first pane.

    Attributes:
        captured: The captured pane; None after an error.
        error: Why the pane cannot be captured, or None.
        more_panes: The number of further panes of the session.
    """

    captured: PaneCapture | None
    error: str | None = None
    more_panes: int = 0


class PaneSource:
    """The source of a session's first pane.

    The pane is captured on request, when the session's time of the last output changes. tmux
    reports this time in whole seconds. So if the last output was in the second of a capture, the
    pane is captured once more, `PANE_EVERY` later.
    """

    def __init__(
        self,
        tmux: Tmux,
        session: Session,
        answer: TmuxSnapshot,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.every: float | None = None
        self._tmux = tmux
        self._session = session
        self._answer = answer
        self._clock = clock
        self._before: Screen | None = None

    def read(self) -> Screen | None:
        """Captures the pane; returns None if the content has not changed."""
        self.every = None
        began = self._clock()
        try:
            captured = self._tmux.capture(self._session, self._answer, self._session.panes[0])
        except OSError as error:
            screen = Screen(None, str(error))
        else:
            if int(began) <= captured.activity <= self._clock():
                self.every = PANE_EVERY
            screen = Screen(captured, None, len(self._session.panes) - 1)
        before, self._before = self._before, screen
        return None if before is not None and _same(before, screen) else screen

    def close(self) -> None:
        """Does nothing: no file is open."""


def _same(one: Screen, other: Screen) -> bool:
    """Whether two captures have the same content; the times of the last output may differ."""
    if one.captured is None or other.captured is None:
        return one == other
    return replace(one, captured=replace(one.captured, activity=other.captured.activity)) == other


@dataclass(frozen=True, slots=True)
class Record:
    """The content of an audit log.

    Attributes:
        log: The entries; empty after an error.
        error: Why the log cannot be read, or None.
    """

    log: Log
    error: str | None = None


class AuditSource:
    """The source of a workspace's audit log."""

    every: float | None = _LOG_EVERY

    def __init__(self, log: Path) -> None:
        self._path = log
        self._seen: tuple[int, ...] | None = None

    def read(self) -> Record | None:
        """Reads the whole log; returns None if the file has not changed."""
        try:
            status = os.stat(self._path, follow_symlinks=False)
            seen: tuple[int, ...] = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            seen = ()
        if seen == self._seen:
            return None
        self._seen = seen
        from registry.audit import read_log

        try:
            return Record(read_log(self._path))
        except (RegistryError, OSError) as error:
            from registry.audit import Log

            return Record(Log((), ()), str(error))

    def close(self) -> None:
        """Does nothing: no file is open."""
