"""The data with which the preconditions of an action are checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audit import EndedSession
from registry.dataclass import dataclass, field
from registry.schema import TaskRecord, UnreadDatabase
from tui.actions.plan import Step
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.roll import AgentKey, AgentRow

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd


@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """The data of one task's registry.

    Attributes:
        record: The content; None if the content is not known.
        error: Why the registry cannot be read now, or None.
        owner: The user id of the file's owner; None if the owner is not known.
        database: A database that may contain a newer status of the task's agents, or None.
        identity: The device and inode of the file that was read, or None.
        is_elsewhere: Whether the path of the registry no longer leads to a registry.
        has_locks: Whether the file system accepts locks.
    """

    record: TaskRecord | None
    error: str | None = None
    owner: int | None = None
    database: UnreadDatabase | None = None
    identity: tuple[int, int] | None = None
    is_elsewhere: bool = False
    has_locks: bool = True


@dataclass(frozen=True, slots=True)
class Leftover:
    """The running processes that may belong to an agent whose session is gone.

    Attributes:
        session: The former session of these processes. None if it is not certain that all these
            processes belong to the agent.
        why: A message: why the agent must not get a terminal status, and what the operator can do.
    """

    session: EndedSession | None
    why: str


@dataclass(frozen=True, slots=True)
class ActionEvidence:
    """The data with which the steps of a plan are checked, all from one moment.

    Attributes:
        snapshot: The snapshot of tmux.
        server: The tmux server of the plan; see `TmuxSnapshot.server`.
        sessions: Maps each session of the plan to its present data on that server. A session may
            have a new name.
        sharing: Maps a session's id to the name of another session that shows the same panes.
        tasks: Maps the path of a task's registry to the data. Unread registries are missing.
        elsewhere: Maps the name of a missing session to the reason why another tmux server
            may have it.
        leftovers: Maps a step to the running processes that may belong to its agent, although the
            agent's session is gone.
        mixed: Maps a session's id to the message that panes were moved into or out of the session.
        claims: Maps a session's id to the reason why the session may belong to another agent.
        others: Maps a step to the reason why it would also end another agent.
        holding_us: The ids of the sessions in which muster itself runs.
        rows: Maps the path of a registry to its agents in the roll call.
        holders: Maps a session's id to the agents in the roll call that have, or may have, this
            session.
        alone: Whether the operator named exactly one agent.
        working: The leaked agents that wrote output long after their recorded end.
        ends: Maps the step of an active agent that is gone to the end that the agent itself
            reported, or to None.
        unwritable: Maps the path of a task's registry to the reason why the task's database cannot
            be written.
        ending: The steps of agents that reported their end a moment ago (`is_ending`).
        processes: Maps the step of an agent without a session to the reason why the agent's
            process must not be ended, or may still run.
        denied: Maps a step that this user has no permission to record to the reason.
    """

    snapshot: TmuxSnapshot
    server: tuple[int | None, int]
    sessions: Mapping[Session, Session] = field(default_factory=dict)
    sharing: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[Path, TaskEvidence] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    leftovers: Mapping[Step, Leftover] = field(default_factory=dict)
    mixed: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[Step, str] = field(default_factory=dict)
    holding_us: frozenset[str] = frozenset()
    rows: Mapping[Path, Sequence[AgentRow]] = field(default_factory=dict)
    holders: Mapping[str, Sequence[AgentRow]] = field(default_factory=dict)
    alone: bool = False
    working: frozenset[AgentKey] = frozenset()
    ends: Mapping[Step, ReportedEnd | None] = field(default_factory=dict)
    unwritable: Mapping[Path, str] = field(default_factory=dict)
    ending: frozenset[Step] = frozenset()
    denied: Mapping[Step, str] = field(default_factory=dict)
    processes: Mapping[Step, str] = field(default_factory=dict)
