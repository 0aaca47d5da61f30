"""What the panel reads: an agent's fields and files, its pane, what was done to it.

Each source is read again and again, in a thread, while its tab is open, and says each
time what there is by now, or that nothing is new.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol

from registry.agent_output import FileFacts, Line, Source
from registry.errors import RegistryError
from tui.host.tmux_types import PaneCapture, Session, TmuxSnapshot

if TYPE_CHECKING:
    from registry.audit import Log
    from registry.sources import TaskSource
    from tui.host.process_tree import Process
    from tui.host.tmux import Tmux
    from tui.model.roll import AgentKey

FILE_EVERY = 0.5
"""Seconds between two looks at whether a file that is open in the panel has grown."""

PANE_EVERY = 2.0
"""Seconds between two captures of a pane that goes on writing."""

_LOG_EVERY = 1.0


class PanelSource(Protocol):
    """Something to read. Used by one thread at a time.

    Attributes:
        every: Seconds until it is to be read again by itself; None for only when told.
    """

    every: float | None

    def read(self) -> object | None:
        """What there is; None if that is nothing new. May block."""

    def close(self) -> None:
        """Lets go of what it holds."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What is known of an agent beyond its row.

    Attributes:
        entry: Every field of its entry, or None if there is none to be had.
        files: Its files.
        listed: Its entry in the global registry; None if there is none, or it was not read.
        processes: All of its session; None without one, where they cannot be seen, or where
            they were not looked at.
    """

    entry: Mapping[str, Any] | None
    files: tuple[FileFacts, ...] = ()
    listed: Mapping[str, Any] | None = None
    processes: tuple[Process, ...] | None = None


class FieldsSource:
    """Every field of an agent's entry, and its files."""

    every: float | None = None

    def __init__(self, task: TaskSource, agent: AgentKey) -> None:
        self._task = task
        self._agent = agent
        self._before: Fields | None = None

    def read(self) -> Fields | None:
        """Reads the entry anew."""
        try:
            entry = self._task.entry(self._agent.id, self._agent.ordinal)
        except (RegistryError, OSError):
            # Its task's line says what is wrong with the file.
            entry = None
        found = Fields(entry, self._task.output_facts(self._agent.id))
        news = found != self._before
        self._before = found
        return found if news else None

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Tail(Generic[Line]):
    """The end of one of an agent's files.

    Attributes:
        records: In the order of the file.
        malformed: Lines that could not be understood, among those read.
        earlier: Whether there are records before these.
        torn: Whether a last line is still being written.
        size: Of the file in bytes; None if it is not there.
        error: Why it cannot be read, or None.
    """

    records: tuple[Line, ...] = ()
    malformed: int = 0
    earlier: bool = False
    torn: bool = False
    size: int | None = None
    error: str | None = None


class FileSource(Generic[Line]):
    """The last records of one of an agent's files, and what comes after them.

    Args:
        task: The agent's.
        agent_id: As the registry has it; untrusted.
        source: Which file.
        keep: How many records at most.
    """

    every: float | None = FILE_EVERY

    def __init__(self, task: TaskSource, agent_id: str, source: Source[Line], keep: int) -> None:
        self._file = task.output(agent_id, source)
        self._keep = keep
        self._tail: Tail[Line] | None = None

    def read(self) -> Tail[Line] | None:
        """Reads what was written since the last time."""
        before = self._tail
        try:
            found = self._read(before)
        except (RegistryError, ValueError, OSError) as error:
            said = error.reason if isinstance(error, RegistryError) else None
            found = replace(before or Tail(), error=said or str(error))
        self._tail = found
        return found if found != before else None

    def _read(self, before: Tail[Line] | None) -> Tail[Line]:
        batch = self._file.last(self._keep) if before is None else self._file.more()
        nothing: Tail[Line] = Tail()
        old = nothing if before is None or batch.restarted else before
        records = old.records + batch.records if batch.records else old.records
        return Tail(
            records[-self._keep :],
            old.malformed + batch.malformed,
            old.earlier or batch.earlier or len(records) > self._keep,
            batch.torn,
            batch.size,
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Screen:
    """What a session's pane shows.

    Attributes:
        captured: None when it cannot be had.
        error: Why not, or None.
        more_panes: How many further panes the session has.
    """

    captured: PaneCapture | None
    error: str | None = None
    more_panes: int = 0


class PaneSource:
    """The first pane of a session. Captured when told, which is when it had output.

    tmux tells the second of the last output; of what is written later in that same
    second it would not tell again, so then one more capture follows by itself.
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
        """Captures the pane."""
        self.every = None
        began = self._clock()
        try:
            captured = self._tmux.capture(self._session, self._answer, self._session.panes[0])
        except OSError as error:
            found = Screen(None, str(error))
        else:
            if int(began) <= captured.activity <= self._clock():
                self.every = PANE_EVERY
            found = Screen(captured, None, len(self._session.panes) - 1)
        before, self._before = self._before, found
        return None if before is not None and _same(before, found) else found

    def close(self) -> None:
        """Nothing is held."""


def _same(one: Screen, other: Screen) -> bool:
    """Whether two captures show the same."""
    if one.captured is None or other.captured is None:
        return one == other
    return replace(one, captured=replace(one.captured, activity=other.captured.activity)) == other


@dataclass(frozen=True, slots=True)
class Record:
    """What was done, as far as it is on record.

    Attributes:
        error: Why that cannot be read, or None.
    """

    log: Log
    error: str | None = None


class AuditSource:
    """The audit log that a registry's changes are in; read anew when it was written."""

    every: float | None = _LOG_EVERY

    def __init__(self, log: Path) -> None:
        self._path = log
        self._seen: tuple[int, ...] | None = None

    def read(self) -> Record | None:
        """Reads the whole log, if it is another than the last time."""
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
        """Nothing is held."""
