"""Frozen records of the content of registries.

Registries store agents in a list, or in an object whose keys are ids. Fields may be missing, null,
unknown or of the wrong type. Such a field does not cause an error: the record has None instead, or
`TaskRecord.warnings` has a message.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from registry.dataclass import dataclass, field
from registry.schema.session_names import (
    SESSION_PREFIX,
    all_spellings,
    is_tmux_name_certain,
    with_two_spellings,
)
from registry.schema.statuses import ACTIVE_STATUSES, is_active, is_terminal, meaning_of
from registry.schema.timestamps import parse_time, possible_times
from registry.storage.codec import Json, kind_of
from registry.storage.files.interruption import hand_on
from registry.text import shown_name

ORCHESTRATOR = "orchestrator"
"""The parent of an agent that was not started by another agent."""

REVIEWER_PHASE = -1
"""The `phase_index` of an agent that reviews a phase."""

_INIT = 1
_LARGEST_PID = 2**22


def is_global(registry: Json) -> bool:
    """Returns whether a decoded registry is a global registry, by its fields.

    A registry with a ``task_id`` is a task's registry, whatever other fields it has.
    """
    if "task_id" in registry:
        return False
    return any(field in registry for field in ("tasks", "total_agents_spawned", "active_agents"))


def agent_entries(registry: Json) -> list[tuple[str | None, Json]]:
    """Returns the ids and entries of all agents in a registry, in file order.

    Entries that are not objects are left out. If `agents` is an object, the id is the ``id`` field
    of the entry, or else the entry's key.
    """
    agents = registry.get("agents")
    entries: list[tuple[str | None, Json]] = []
    if isinstance(agents, dict):
        for key, entry in agents.items():
            if isinstance(entry, dict):
                own = entry.get("id")
                entries.append((own if isinstance(own, str) and own else key, entry))
    elif isinstance(agents, list):
        for entry in agents:
            if isinstance(entry, dict):
                own = entry.get("id")
                entries.append((own if isinstance(own, str) else text_of(own), entry))
    return entries


def is_certainly_active(registry: Json, entry: Json) -> bool:
    """Returns whether the status of an entry is a known word for an active agent.

    In a global registry, an entry has no status until the agent's first update. Such an agent is
    active.
    """
    status = entry.get("status")
    if status is None and is_global(registry):
        return True
    return is_active(status)


def counts_as_active(registry: Json, entry: Json) -> bool:
    """Returns whether the agent of an entry is active, for verdicts and for counters alike.

    A status that is not a known word counts as active. The orchestrator counts an agent when it
    deploys the agent, and a report with such a word leaves its counters as they are.
    """
    status = entry.get("status")
    if isinstance(status, str) and meaning_of(status) in ACTIVE_STATUSES:
        return True
    return is_certainly_active(registry, entry)


@dataclass(frozen=True, slots=True)
class Deployment:
    """Identifies one start of an agent: an agent may be started again with the same id.

    Attributes:
        tmux_session: The name of the session in the task's registry, or None.
        started_at: The start time in the task's registry, or None.
    """

    tmux_session: str | None
    started_at: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Deployment:
        """Returns the deployment that an agent's entry describes."""
        return cls(text_of(entry.get("tmux_session")) or None, text_of(entry.get("started_at")))


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One agent in its task's registry.

    Attributes:
        id: The id; empty if the entry has none.
        type: The type; empty if the entry has none.
        tmux_session: The name of the agent's session; None if the field is empty, or not a
            string.
        parent: The id of another agent, "orchestrator", or None.
        depth: The `depth` field of the entry; 1 is the top level.
        status: The status in the file, which may be an unknown word; empty if the field is
            missing.
        progress: The percentage in the file, which may be out of range, or None.
        started_at: The text of the field, or None.
        last_update: The text of the field, or None.
        started: `started_at` in seconds since the epoch, or None.
        updated: `last_update` in seconds since the epoch, or None.
        ended: The later of `completed_at` and `terminated_at` in seconds since the epoch, or
            None.
        start_doubt: The seconds between the two possible meanings of `started_at`, if this local
            time occurred twice; otherwise 0. `started` is the later meaning.
        known_status: The status that `status` means; None if `meaning_of` returns the meaning.
        phase: The number of the task's phase for which the agent works, from 0, or None.
        is_reviewer: Whether the agent reviews a phase.
        cursor_pid: The pid of the agent's process, or None. Orchestrators write the pid of an
            agent that runs without a session.
    """

    id: str
    type: str
    tmux_session: str | None
    parent: str | None
    depth: int | None
    status: str
    progress: float | None
    started_at: str | None
    last_update: str | None
    started: float | None
    updated: float | None
    ended: float | None = None
    start_doubt: float = 0.0
    known_status: str | None = None
    phase: int | None = None
    is_reviewer: bool = False
    cursor_pid: int | None = None

    @property
    def meaning(self) -> str:
        """The status for verdicts: a known word; empty if the entry has no status."""
        return meaning_of(self.status) if self.known_status is None else self.known_status

    @property
    def pid(self) -> int | None:
        """The pid by which the agent is judged; None if the entry names a session or no pid."""
        return self.cursor_pid if self.tmux_session is None else None

    @property
    def possible_starts(self) -> tuple[float, ...]:
        """The possible start times in seconds since the epoch, the earlier one first."""
        if self.started is None:
            return ()
        earlier = (self.started - self.start_doubt,) if self.start_doubt else ()
        return (*earlier, self.started)

    @property
    def recorded(self) -> float | None:
        """When the status was written, in seconds since the epoch; None if this is not known.

        An orchestrator writes some ends without `last_update`. An agent that was deployed anew
        keeps the time of its earlier end.
        """
        times = [self.updated, self.ended if is_terminal(self.meaning) else None]
        return max((time for time in times if time is not None), default=None)

    @property
    def deployment(self) -> Deployment:
        """The deployment that the entry described when the registry was read."""
        return Deployment(self.tmux_session, self.started_at)


def usual_session(agent: AgentRecord) -> str:
    """Returns the name of an agent's session, or the usual name if the entry has no name."""
    return agent.tmux_session or SESSION_PREFIX + agent.id


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a task.

    Attributes:
        name: The name; empty if it is missing.
        status: The status in the registry; empty if it is missing.
    """

    name: str
    status: str


@dataclass(frozen=True)
class TaskRecord:
    """The content of a task's registry.

    Attributes:
        task_id: The id in the file, or None.
        description: The description; empty if it is missing.
        status: The status; empty if it is missing.
        created_at: The text of the field, or None.
        agents: All agents, in file order.
        hierarchy: `agent_hierarchy`: maps each parent's id to the ids of its children.
        active_count, completed_count, total_spawned: The counters in the file, or None.
        warnings: Messages about parts of the file that could not be understood.
        max_agents, max_depth, max_concurrent: The limits in the file, or None.
        phase: The number of the present phase, from 0; None if the task has no phases.
        phases: Maps the number of each phase to the phase.
        other_sessions: Older data of agents in `agents` that name another session for the agent.
            Either session may be the agent's.
        is_whole: Whether all agents of the task are known; False if a further file that may list
            agents could not be read.
    """

    task_id: str | None
    description: str
    status: str
    created_at: str | None
    agents: tuple[AgentRecord, ...]
    hierarchy: Mapping[str, tuple[str, ...]]
    active_count: int | None
    completed_count: int | None
    total_spawned: int | None
    warnings: tuple[str, ...]
    max_agents: int | None = None
    max_depth: int | None = None
    max_concurrent: int | None = None
    phase: int | None = None
    phases: Mapping[int, Phase] = field(default_factory=dict)
    other_sessions: tuple[AgentRecord, ...] = ()
    is_whole: bool = True

    # Cached, because every change of any registry causes a new use of these values.

    @cached_property
    def expecting(self) -> tuple[AgentRecord, ...]:
        """The active agents with a session name for which `is_tmux_name_certain` is true."""
        return tuple(
            agent
            for agent in self.agents
            if agent.tmux_session
            and is_active(agent.meaning)
            and is_tmux_name_certain(agent.tmux_session)
        )

    @cached_property
    def with_pid(self) -> tuple[AgentRecord, ...]:
        """The agents whose process must be looked up: the entry names its pid."""
        return tuple(agent for agent in self.agents if agent.cursor_pid is not None)

    @cached_property
    def session_names(self) -> tuple[str, ...]:
        """The names of all sessions in the registry."""
        return tuple(agent.tmux_session for agent in self.agents if agent.tmux_session)

    @property
    def with_sessions(self) -> tuple[AgentRecord, ...]:
        """All data that name a session: of the agents, and `other_sessions`."""
        return self.agents + self.other_sessions

    @cached_property
    def sessions(self) -> frozenset[str]:
        """The names of all agents' sessions; the usual name if an agent's entry has none."""
        return frozenset(map(usual_session, self.with_sessions))

    @cached_property
    def respelled_sessions(self) -> frozenset[str]:
        """The session names in the registry that some versions of tmux change."""
        return with_two_spellings(self.sessions)

    @cached_property
    def tmux_sessions(self) -> frozenset[str] | None:
        """The possible names of all agents' sessions in tmux.

        None if `is_tmux_name_certain` is false for any of the names.
        """
        return all_spellings(self.sessions)


@dataclass(frozen=True, slots=True)
class GlobalTask:
    """A task in the list of the global registry.

    Attributes:
        task_id: The id of the task.
        description: The description; empty if it is missing.
        status: The status; empty if it is missing.
        elsewhere: The `workspace` field, which may name another workspace; None if the field is
            missing.
    """

    task_id: str
    description: str
    status: str
    elsewhere: str | None


@dataclass(frozen=True)
class GlobalRecord:
    """The content of a workspace's global registry.

    Attributes:
        tasks: Maps the ids of tasks to the tasks, in file order.
        sessions: All names of tmux sessions in the agents' entries.
        active_agents, total_agents_spawned: The counters in the file, or None.
        warnings: Messages about parts of the file that could not be understood.
        processes: Maps the pids in the entries of active agents to the ids of these agents.
    """

    tasks: Mapping[str, GlobalTask]
    sessions: frozenset[str]
    active_agents: int | None
    total_agents_spawned: int | None
    warnings: tuple[str, ...]
    processes: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def respelled_sessions(self) -> frozenset[str]:
        """The session names in the registry that some versions of tmux change."""
        return with_two_spellings(self.sessions)

    @cached_property
    def tmux_sessions(self) -> frozenset[str] | None:
        """The possible names of all listed sessions in tmux.

        None if `is_tmux_name_certain` is false for any of the names.
        """
        return all_spellings(self.sessions)


def text_of(value: object) -> str | None:
    """Returns a string unchanged, and a number as text; None for any other type."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError as error:
            hand_on(error)
            return None
    return None


def whole_of(value: object) -> int | None:
    """Returns an integer unchanged; None for any other value, also for a Boolean."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number_of(value: object) -> float | None:
    """Returns a finite number as a float; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError as error:
        hand_on(error)
        return None
    return number if math.isfinite(number) else None


def agent_record(agent_id: str | None, entry: Mapping[str, Any]) -> AgentRecord:
    """Returns the record of one agent's entry; never raises an error."""
    started_at = text_of(entry.get("started_at"))
    session = entry.get("tmux_session")
    last_update = text_of(entry.get("last_update"))
    starts = possible_times(started_at)
    written = entry.get("status")
    status = text_of(written) or ""
    phase = whole_of(entry.get("phase_index"))
    return AgentRecord(
        id=agent_id or "",
        type=text_of(entry.get("type")) or "",
        # A number is not accepted: its text may differ from the name of the session.
        tmux_session=(session or None) if isinstance(session, str) else None,
        parent=text_of(entry.get("parent")),
        depth=whole_of(entry.get("depth")),
        status=status,
        progress=number_of(entry.get("progress")),
        started_at=started_at,
        last_update=last_update,
        started=starts[-1] if starts else None,
        updated=parse_time(last_update),
        ended=_latest(entry.get("completed_at"), entry.get("terminated_at")),
        start_doubt=starts[-1] - starts[0] if starts else 0.0,
        phase=None if phase is None or phase < 0 else phase,
        is_reviewer=phase == REVIEWER_PHASE or bool(entry.get("review_id")),
        cursor_pid=_pid_of(entry.get("cursor_pid")),
        known_status=None if isinstance(written, str) else "",
    )


def _pid_of(value: object) -> int | None:
    pid = whole_of(value)
    return pid if pid is not None and _INIT < pid <= _LARGEST_PID else None


def _latest(one: object, other: object) -> float | None:
    if one is None and other is None:
        return None
    times = [time for time in map(parse_time, (one, other)) if time is not None]
    return max(times, default=None)


def _agents_warnings(registry: Json) -> Iterable[str]:
    agents = registry.get("agents")
    if agents is None:
        yield "field 'agents' is missing"
    elif not isinstance(agents, (list, dict)):
        yield f"field 'agents' is {kind_of(agents)}, not a list or an object"
    else:
        entries = agents.items() if isinstance(agents, dict) else enumerate(agents)
        for key, entry in entries:
            if not isinstance(entry, dict):
                yield f"agents[{shown_name(key, 80)}] is {kind_of(entry)}, not an object"


def _hierarchy(registry: Json) -> dict[str, tuple[str, ...]]:
    raw = registry.get("agent_hierarchy")
    if not isinstance(raw, dict):
        return {}
    return {
        parent: tuple(child for child in children if isinstance(child, str))
        for parent, children in raw.items()
        if isinstance(children, list)
    }


def _phases(registry: Json) -> dict[int, Phase]:
    phases = registry.get("phases")
    return {
        number: Phase(text_of(entry.get("name")) or "", text_of(entry.get("status")) or "")
        for number, entry in enumerate(phases if isinstance(phases, list) else ())
        if isinstance(entry, dict)
    }


def task_record(registry: Json) -> TaskRecord:
    """Returns the record of a task's decoded registry; never raises an error."""
    phases = _phases(registry)
    return TaskRecord(
        task_id=text_of(registry.get("task_id")),
        description=text_of(registry.get("task_description")) or "",
        status=text_of(registry.get("status")) or "",
        created_at=text_of(registry.get("created_at")),
        agents=tuple(agent_record(id_, entry) for id_, entry in agent_entries(registry)),
        hierarchy=_hierarchy(registry),
        active_count=whole_of(registry.get("active_count")),
        completed_count=whole_of(registry.get("completed_count")),
        total_spawned=whole_of(registry.get("total_spawned")),
        warnings=tuple(_agents_warnings(registry)),
        max_agents=whole_of(registry.get("max_agents")),
        max_depth=whole_of(registry.get("max_depth")),
        max_concurrent=whole_of(registry.get("max_concurrent")),
        phase=whole_of(registry.get("current_phase_index", 0)) if phases else None,
        phases=phases,
    )


def global_record(registry: Json) -> GlobalRecord:
    """Returns the record of a decoded global registry; never raises an error."""
    tasks: dict[str, GlobalTask] = {}
    raw = registry.get("tasks")
    for task_id, entry in (raw if isinstance(raw, dict) else {}).items():
        fields = entry if isinstance(entry, dict) else {}
        tasks[task_id] = GlobalTask(
            task_id=task_id,
            description=text_of(fields.get("description")) or "",
            status=text_of(fields.get("status")) or "",
            elsewhere=text_of(fields.get("workspace")),
        )
    sessions = (text_of(entry.get("tmux_session")) for _, entry in agent_entries(registry))
    return GlobalRecord(
        tasks=tasks,
        sessions=frozenset(name for name in sessions if name),
        active_agents=whole_of(registry.get("active_agents")),
        total_agents_spawned=whole_of(registry.get("total_agents_spawned")),
        warnings=tuple(_agents_warnings(registry)) if "agents" in registry else (),
        processes={
            pid: agent_id or ""
            for agent_id, entry in agent_entries(registry)
            if (pid := _pid_of(entry.get("cursor_pid"))) is not None
            and not is_terminal(meaning_of(text_of(entry.get("status")) or ""))
        },
    )
