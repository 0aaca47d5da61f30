"""The records of a roll call: the data of each agent, and the verdict on the agent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from registry.dataclass import dataclass
from registry.schema import (
    FAILED_STATUSES,
    AgentRecord,
    TaskRecord,
    UnreadDatabase,
    is_terminal,
)
from registry.sources import Dialect
from registry.text import shown_name
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.evidence import Evidence
from tui.text.sanitize import harmless

if TYPE_CHECKING:
    from registry.sources import TaskSource
    from tui.host.process.agent_processes import AgentProcess


_TITLE_AT_MOST = 400

REVIEWER = "[reviewer]"
"""The mark after the name of an agent that reviews a phase."""


class Verdict(StrEnum):
    """The verdict on an agent or a session; explained in `tui.model.verdicts.VERDICTS`."""

    LIVE = "live"
    BLOCKED = "blocked"
    STALLED = "stalled"
    ZOMBIE = "zombie"
    FAILED = "failed"
    LEAKED = "leaked"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"
    FINISHED = "finished"

    @property
    def is_over(self) -> bool:
        """Whether the agent has ended, and has no known session or process."""
        return self in (Verdict.FINISHED, Verdict.FAILED)


@dataclass(frozen=True, slots=True)
class AgentKey:
    """The identity of an agent, the same in all roll calls.

    Attributes:
        registry: The path of the registry of the agent's task.
        id: The agent's id.
        ordinal: The number of the entry among entries with the same id; 0 for the first.
    """

    registry: Path
    id: str
    ordinal: int = 0

    def __hash__(self) -> int:
        # For speed with thousands of lookups: a string caches its hash, a path does not.
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class TaskState:
    """The last known content of one task's registry.

    Attributes:
        workspace: The workspace under which the task is shown.
        source: The access to the task's registry.
        record: The last valid content, or None if no valid content was ever read.
        read_at: When the content was read, seconds since the epoch.
        error: Why the registry cannot be read now, or None.
        listed_description: The description in the global registry.
        hot_journal: A message about an interrupted commit that no process has recovered yet,
            or None.
        database: A database that may have newer data about the task's agents, or None.
        owner: The user id of the registry file's owner; None if no file was read.
        identity: The device and inode of the registry file.
        has_locks: Whether the file system accepts locks. If not, the registry cannot be written.
    """

    workspace: Path
    source: TaskSource
    record: TaskRecord | None
    read_at: float
    error: str | None
    listed_description: str = ""
    hot_journal: str | None = None
    database: UnreadDatabase | None = None
    owner: int | None = None
    identity: tuple[int, int] | None = None
    has_locks: bool = True

    @property
    def registry(self) -> Path:
        """The path of the task's registry, which identifies the task."""
        return self.source.path

    @property
    def description(self) -> str:
        """The description in the task's registry, or else in the global registry; may be empty."""
        return (self.record.description if self.record else "") or self.listed_description


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent in a roll call.

    Attributes:
        key: The identity of the agent.
        record: The agent's entry in the registry.
        verdict: The verdict on the agent.
        session: The agent's session, or None.
        note: The reason for the verdict; empty if the verdict needs no reason.
        last_activity: The time of the agent's last report or output, in seconds since the epoch,
            or None.
        level: The agent's depth in the tree; 0 at the top.
        children: The number of the agent's children.
        name_reused_by: A session of another agent that now has this agent's session name, or
            None.
        process: The running process of an agent without a session, or None.
    """

    key: AgentKey
    record: AgentRecord
    verdict: Verdict
    session: Session | None
    note: str
    last_activity: float | None
    level: int
    children: int
    name_reused_by: Session | None = None
    process: AgentProcess | None = None

    @property
    def ended_as(self) -> str | None:
        """How the agent ended: ``completed``, ``failed`` or ``terminated``; None if it is active.

        The words of orchestrators are translated: ``error`` is ``failed``.
        """
        meaning = self.record.meaning
        if not is_terminal(meaning):
            return None
        return "failed" if meaning in FAILED_STATUSES else meaning


def place_of(row: AgentRow) -> str:
    """Returns the name of an agent's session, or else its pid, as text that is safe to show."""
    record = row.record
    if record.tmux_session:
        return shown_name(record.tmux_session, 134)
    return "-" if record.pid is None else f"pid {record.pid}"


@dataclass(frozen=True, slots=True)
class TaskRoll:
    """One task with its agents, parents before children.

    Attributes:
        state: The content of the task's registry.
        agents: The agents of the task.
        counts: The number of agents with each verdict.
        completed: The number of agents with the status completed.
        progress: The mean progress of the agents in percent; None without agents.
        last_activity: The time of the last report or output of all agents, in seconds since the
            epoch, or None.
    """

    state: TaskState
    agents: tuple[AgentRow, ...]
    counts: Mapping[Verdict, int]
    completed: int = 0
    progress: float | None = None
    last_activity: float | None = None

    @property
    def title(self) -> str:
        """The task's description, or else its id, as text that is safe to show on one line."""
        words = " ".join(self.state.description[:_TITLE_AT_MOST].split())
        return harmless(words, _TITLE_AT_MOST) if words else shown_name(self.task_id)

    @property
    def phase(self) -> str:
        """The present phase and the number of phases, in words; empty without phases."""
        record = self.state.record
        if record is None or not record.phases:
            return ""
        numbers = list(record.phases)
        present = numbers.index(record.phase) + 1 if record.phase in numbers else "?"
        return f"phase {present} of {len(numbers)}"

    @property
    def agents_known(self) -> bool:
        """Whether `agents` has all agents; False if a file that may list agents was not read."""
        state = self.state
        return state.record is not None and state.record.is_whole and state.database is None

    @property
    def task_id(self) -> str:
        """The task's id in the registry, or else the name of its directory."""
        record = self.state.record
        return (record.task_id if record else None) or self.state.source.directory.name


@dataclass(frozen=True, slots=True)
class WorkspaceRoll:
    """One workspace with its tasks.

    Attributes:
        path: The path of the workspace.
        tasks: The tasks of the workspace.
        error: Why the workspace's directory or global registry cannot be read, or None.
        hot_journal: A message about an interrupted commit of the global registry, or None.
        database: A database with agents that are not in `tasks`, or None.
        all_formats: The storage formats of all tasks, if `tasks` is a part; otherwise None.
    """

    path: Path
    tasks: tuple[TaskRoll, ...]
    error: str | None
    hot_journal: str | None = None
    database: UnreadDatabase | None = None
    all_formats: tuple[Dialect, ...] | None = None

    @property
    def formats(self) -> tuple[Dialect, ...]:
        """The storage formats of the workspace's tasks; empty without tasks."""
        if self.all_formats is not None:
            return self.all_formats
        used = {task.state.source.dialect for task in self.tasks}
        return tuple(dialect for dialect in Dialect if dialect in used)

    @property
    def is_partly_unread(self) -> bool:
        """Whether the workspace may have tasks or agents that muster has not read."""
        return bool(self.error or self.hot_journal or self.database)


@dataclass(frozen=True, slots=True)
class MassDeath:
    """Many agents that died at once, or before muster started.

    Attributes:
        gone: The number of dead agents.
        of: The number of active agents before the first death.
        agents: The dead agents.
    """

    gone: int
    of: int
    agents: frozenset[AgentKey]


@dataclass(frozen=True, slots=True)
class RollCall:
    """All verdicts at one moment.

    Attributes:
        host: The name of the host.
        evidence: The evidence for the verdicts.
        workspaces: The workspaces with their tasks and agents.
        orphans: Sessions that are named like an agent's session, but that no registry lists.
        orphans_known: Whether `orphans` has all orphans. False if an unread registry or database
            may list sessions, or if only a part of a workspace is shown.
        counts: The number of agents and orphans with each verdict.
        mass_death: Many deaths at once, probably because the socket is wrong; None if there are
            none.
        nearby_workspaces: Other workspaces that muster read, because they may list sessions.
        nearby_databases: Databases of other workspaces that may list sessions.
        whole: Whether all tasks were read. Right after the start, only the first tasks are read,
            so this is False.
        awaits_first: Whether a registry was never read, because it is being written.
    """

    host: str
    evidence: Evidence
    workspaces: tuple[WorkspaceRoll, ...]
    orphans: tuple[Session, ...]
    counts: Mapping[Verdict, int]
    orphans_known: bool = True
    mass_death: MassDeath | None = None
    nearby_workspaces: tuple[Path, ...] = ()
    nearby_databases: tuple[UnreadDatabase, ...] = ()
    whole: bool = True
    awaits_first: bool = False

    @property
    def answer(self) -> TmuxSnapshot:
        """The answer of tmux."""
        return self.evidence.snapshot

    @property
    def databases(self) -> tuple[UnreadDatabase, ...]:
        """The unread databases that may list agents of these workspaces."""
        own = (workspace.database for workspace in self.workspaces)
        of_tasks = (task.state.database for task in self.tasks())
        databases = (database for database in (*own, *of_tasks) if database is not None)
        return tuple(dict.fromkeys(databases))

    @property
    def agents_known(self) -> bool:
        """Whether all agents are known: muster read each workspace and task."""
        return not any(workspace.is_partly_unread for workspace in self.workspaces) and all(
            task.agents_known for task in self.tasks()
        )

    def task_of(self, key: AgentKey) -> TaskRoll | None:
        """Returns the task of an agent, or None if the task is not in the roll call."""
        return next((task for task in self.tasks() if task.state.registry == key.registry), None)

    @property
    def unreadable(self) -> int:
        """The number of tasks whose registries cannot be read now."""
        return sum(task.state.error is not None for task in self.tasks())

    def agents(self) -> Iterable[AgentRow]:
        """Yields the agents of all tasks."""
        for workspace in self.workspaces:
            for task in workspace.tasks:
                yield from task.agents

    def tasks(self) -> Iterable[TaskRoll]:
        """Yields the tasks of all workspaces."""
        for workspace in self.workspaces:
            yield from workspace.tasks
