"""The roll as frozen records: what is known of each agent, and the verdict on it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from registry.schema import AgentRecord, TaskRecord, UnreadDatabase
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.evidence import Evidence

if TYPE_CHECKING:
    from registry.sources import TaskSource


class Verdict(StrEnum):
    """What is true of an agent; `tui.model.verdicts.VERDICTS` says all about each."""

    LIVE = "live"
    STALLED = "stalled"
    ZOMBIE = "zombie"
    LEAKED = "leaked"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class AgentKey:
    """Which agent: stays the same whatever moves.

    Attributes:
        ordinal: Tells apart entries of the same id in one registry; 0 for the first.
    """

    registry: Path
    id: str
    ordinal: int = 0

    def __hash__(self) -> int:
        # Keys are looked up by the ten thousand; a path's hash is slow, a string's is kept.
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of one task.

    Attributes:
        workspace: The workspace it is shown under.
        source: Where it is read and changed.
        record: Its last good content, or None if there never was one.
        read_at: When that was read; seconds since the epoch.
        error: Why it cannot be read now, or None.
        listed_description: What the global registry says of it.
        hot_journal: What is to be said of a commit that was cut off here and that nobody
            has finished yet, or None.
        database: Where the truth about its agents may be, instead of here, or None.
        owner: Whose the file is that was read, by the user's number; None if none was.
        identity: Device and inode of that file.
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

    @property
    def registry(self) -> Path:
        """What names it among all tasks."""
        return self.source.path

    @property
    def description(self) -> str:
        """What its registry says of it, or else the global one; empty if neither does."""
        return (self.record.description if self.record else "") or self.listed_description


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent on the roll.

    Attributes:
        record: What its registry says.
        session: Its session, or None.
        name_reused_by: Another's session that has the name of the agent's now, or None.
        note: Why the verdict is what it is, where that needs saying.
        last_activity: Last sign of life, in seconds since the epoch, or None.
        level: 0 for an agent of the orchestrator, 1 for its children, ...
        children: How many agents it started.
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


@dataclass(frozen=True, slots=True)
class TaskRoll:
    """One task with its agents, parents before children.

    Attributes:
        counts: How many agents have each verdict.
        completed: How many agents have completed.
        progress: How far its agents are, in the mean, in percent; None without agents.
    """

    state: TaskState
    agents: tuple[AgentRow, ...]
    counts: Mapping[Verdict, int]
    completed: int = 0
    progress: float | None = None

    @property
    def task_id(self) -> str:
        """As the registry has it, or else the name of its directory."""
        record = self.state.record
        return (record.task_id if record else None) or self.state.source.directory.name


@dataclass(frozen=True, slots=True)
class WorkspaceRoll:
    """One workspace with its tasks.

    Attributes:
        error: Why its directory or its global registry cannot be read, or None.
        hot_journal: As `TaskState.hot_journal`, of its global registry.
        database: What has agents of it that are not among these, or None.
    """

    path: Path
    tasks: tuple[TaskRoll, ...]
    error: str | None
    hot_journal: str | None = None
    database: UnreadDatabase | None = None

    @property
    def is_partly_unread(self) -> bool:
        """Whether there may be more in it than is known of it."""
        return bool(self.error or self.hot_journal or self.database)


@dataclass(frozen=True, slots=True)
class MassDeath:
    """Many agents that went at once, or before anybody looked.

    Attributes:
        gone: How many.
        of: How many active agents there were until the first of them went.
        agents: Which.
    """

    gone: int
    of: int
    agents: frozenset[AgentKey]


@dataclass(frozen=True, slots=True)
class RollCall:
    """Everything that is shown, at one moment.

    Attributes:
        evidence: What the agents were judged by.
        orphans: Sessions named like an agent's that no registry accounts for.
        orphans_known: False while a registry that might account for them was never
            read, a database might, or only a part of a workspace is seen: then nobody
            can tell of others than `orphans`.
        counts: How many agents, and orphans, have each verdict.
        mass_death: Whether most agents went at once: rather the wrong socket.
        nearby_workspaces: Others, which were read to tell whose sessions are.
        nearby_databases: What keeps orphans from being told, of other workspaces.
        whole: False while the first tasks were read alone, right after the start.
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

    @property
    def answer(self) -> TmuxSnapshot:
        """What tmux said."""
        return self.evidence.snapshot

    @property
    def databases(self) -> tuple[UnreadDatabase, ...]:
        """Those that the workspaces' own agents are in, or may be."""
        own = (workspace.database for workspace in self.workspaces)
        of_tasks = (task.state.database for task in self.tasks())
        return tuple(dict.fromkeys(each for each in (*own, *of_tasks) if each is not None))

    def task_of(self, key: AgentKey) -> TaskRoll | None:
        """The task that an agent belongs to, or None if it is gone."""
        return next((task for task in self.tasks() if task.state.registry == key.registry), None)

    @property
    def unreadable(self) -> int:
        """How many registries of tasks cannot be read now."""
        return sum(task.state.error is not None for task in self.tasks())

    def agents(self) -> Iterable[AgentRow]:
        """All agents of all tasks, in the order of the roll."""
        for workspace in self.workspaces:
            for task in workspace.tasks:
                yield from task.agents

    def tasks(self) -> Iterable[TaskRoll]:
        """All tasks of all workspaces."""
        for workspace in self.workspaces:
            yield from workspace.tasks
