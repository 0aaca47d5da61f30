"""What a registry says, as frozen records; and the words it says it in.

Real registries hold agents as a list or as an object keyed by id, with fields
missing, null, unknown or of the wrong type. Reading never fails on that: what
cannot be understood becomes None or is named in `TaskRecord.warnings`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from registry.storage.codec import Json, kind_of
from registry.storage.interruption import hand_on
from registry.text import shown_name

ACTIVE_STATUSES = frozenset({"running", "working", "blocked"})
"""An agent of such a status should have a session."""

TERMINAL_STATUSES = frozenset({"completed", "error", "failed", "terminated"})
"""An agent of such a status is through."""

ORCHESTRATOR = "orchestrator"
"""The parent of an agent that no other agent started."""

SESSION_PREFIX = "agent_"
"""What the orchestrator puts before an agent's id to name its tmux session."""


def is_active(status: object) -> bool:
    """Whether a status, of whatever type it came, counts as active."""
    return isinstance(status, str) and status in ACTIVE_STATUSES


def is_terminal(status: object) -> bool:
    """Whether a status, of whatever type it came, counts as terminal."""
    return isinstance(status, str) and status in TERMINAL_STATUSES


def tmux_name(name: str) -> str:
    """The name that tmux gives a session that was to be called so.

    tmux replaces ``.`` and ``:``, which separate the parts of a target
    (session_check_name in its source).
    """
    return name.replace(".", "_").replace(":", "_")


def is_tmux_name_certain(name: str) -> bool:
    """Whether `tmux_name` is sure to be what tmux makes of a name.

    tmux expands formats (``#``) in a new session's name and escapes backslashes,
    some dollar signs and what the C library cannot print, by version and system.
    """
    plain = "#" not in name and "\\" not in name and "$" not in name
    return plain and name.isprintable()


def is_global(registry: Json) -> bool:
    """Whether a decoded registry is a workspace's global one, by its fields.

    A task's registry names its task, and may have further fields of any name.
    """
    if "task_id" in registry:
        return False
    return any(field in registry for field in ("tasks", "total_agents_spawned", "active_agents"))


def agent_entries(registry: Json) -> list[tuple[str | None, Json]]:
    """The agents of a task's or the global registry with their ids, in file order.

    Entries that are not objects are left out. In an object keyed by id the key
    is the id unless the entry has one of its own.
    """
    agents = registry.get("agents")
    found: list[tuple[str | None, Json]] = []
    if isinstance(agents, dict):
        for key, entry in agents.items():
            if isinstance(entry, dict):
                own = entry.get("id")
                found.append((own if isinstance(own, str) and own else key, entry))
    elif isinstance(agents, list):
        for each in agents:
            if isinstance(each, dict):
                own = each.get("id")
                found.append((own if isinstance(own, str) else text_of(own), each))
    return found


def counts_as_active(registry: Json, entry: Json) -> bool:
    """Whether the registry's counter of active agents includes this entry.

    A global registry's entry has no status until its first update; the
    orchestrator counted it as active when it wrote it.
    """
    status = entry.get("status")
    if status is None and is_global(registry):
        return True
    return is_active(status)


def parse_time(value: object) -> float | None:
    """Seconds since the epoch of a registry's timestamp, or None.

    Timestamps are ISO 8601; naive ones are local time, some end in ``Z``.
    """
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        hand_on(error)
        return None


@dataclass(frozen=True, slots=True)
class Deployment:
    """What tells one deployment of an agent from a later one of the same id.

    Attributes:
        tmux_session: As its task's registry has it, or None where that names none.
        started_at: Likewise.
    """

    tmux_session: str | None
    started_at: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Deployment:
        """That which an agent's entry is about."""
        return cls(text_of(entry.get("tmux_session")) or None, text_of(entry.get("started_at")))


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One agent as its task's registry has it.

    Attributes:
        id: Empty when the entry has none.
        type: Empty when the entry has none.
        tmux_session: The name of its session, or None when not named by a string.
        parent: The id of another agent, "orchestrator", or None.
        depth: Its own claim; 1 is the top.
        status: As written, known word or not; empty when missing.
        progress: Percent as written, not clamped, or None.
        started_at: As written.
        last_update: As written.
        started: `started_at` in seconds since the epoch, or None.
        updated: `last_update` likewise.
        ended: The later of `completed_at` and `terminated_at` likewise.
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

    @property
    def deployment(self) -> Deployment:
        """That which the entry was about when it was read."""
        return Deployment(self.tmux_session, self.started_at)


def tmux_names(names: Iterable[str]) -> frozenset[str] | None:
    """The names that tmux gives some sessions; None if one of them is not certain."""
    kept = frozenset(map(tmux_name, names))
    return kept if all(map(is_tmux_name_certain, kept)) else None


@dataclass(frozen=True)
class TaskRecord:
    """One task's registry.

    Attributes:
        task_id: As written, or None.
        hierarchy: `agent_hierarchy`: parent id to child ids.
        active_count, completed_count, total_spawned: Counters as written, or None.
        warnings: What in the file could not be understood, for people.
        max_agents, max_depth, max_concurrent: Limits as written, or None.
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

    # Worked out once a reading, and not again for every change elsewhere.

    @cached_property
    def expecting(self) -> tuple[AgentRecord, ...]:
        """The active agents whose session has a name that tmux is sure to keep."""
        return tuple(
            agent
            for agent in self.agents
            if agent.tmux_session
            and is_active(agent.status)
            and is_tmux_name_certain(agent.tmux_session)
        )

    @cached_property
    def session_names(self) -> tuple[str, ...]:
        """What tmux calls the agents' sessions, of those that name one."""
        return tuple(tmux_name(each.tmux_session) for each in self.agents if each.tmux_session)

    @cached_property
    def tmux_sessions(self) -> frozenset[str] | None:
        """What tmux calls all agents' sessions; None if that is not certain."""
        return tmux_names(each.tmux_session or SESSION_PREFIX + each.id for each in self.agents)


@dataclass(frozen=True, slots=True)
class GlobalTask:
    """A task as the global registry lists it.

    Attributes:
        elsewhere: The `workspace` it points to, as written, or None.
    """

    task_id: str
    description: str
    status: str
    elsewhere: str | None


@dataclass(frozen=True)
class GlobalRecord:
    """A workspace's global registry.

    Attributes:
        tasks: By task id, in file order.
        sessions: Every tmux session name that an agent's entry has.
        active_agents, total_agents_spawned: Counters as written, or None.
        warnings: What in the file could not be understood, for people.
    """

    tasks: Mapping[str, GlobalTask]
    sessions: frozenset[str]
    active_agents: int | None
    total_agents_spawned: int | None
    warnings: tuple[str, ...]

    @cached_property
    def tmux_sessions(self) -> frozenset[str] | None:
        """What tmux calls these sessions; None if that is not certain."""
        return tmux_names(self.sessions)


def text_of(value: object) -> str | None:
    """A field that should be a string; numbers are taken for the text they show."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError as error:
            hand_on(error)
            return None
    return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number_of(value: object) -> float | None:
    """A field that should be a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError as error:
        hand_on(error)
        return None
    return number if math.isfinite(number) else None


def agent_record(agent_id: str | None, entry: Mapping[str, Any]) -> AgentRecord:
    """Reads one agent's entry; never fails."""
    started_at = text_of(entry.get("started_at"))
    session = entry.get("tmux_session")
    last_update = text_of(entry.get("last_update"))
    return AgentRecord(
        id=agent_id or "",
        type=text_of(entry.get("type")) or "",
        # No number: the text that shows it may be another than was meant.
        tmux_session=(session or None) if isinstance(session, str) else None,
        parent=text_of(entry.get("parent")),
        depth=_whole(entry.get("depth")),
        status=text_of(entry.get("status")) or "",
        progress=number_of(entry.get("progress")),
        started_at=started_at,
        last_update=last_update,
        started=parse_time(started_at),
        updated=parse_time(last_update),
        ended=_latest(entry.get("completed_at"), entry.get("terminated_at")),
    )


def _latest(one: object, other: object) -> float | None:
    if one is None and other is None:
        return None
    return max((each for each in map(parse_time, (one, other)) if each is not None), default=None)


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


def task_record(registry: Json) -> TaskRecord:
    """Reads a decoded task's registry; never fails."""
    return TaskRecord(
        task_id=text_of(registry.get("task_id")),
        description=text_of(registry.get("task_description")) or "",
        status=text_of(registry.get("status")) or "",
        created_at=text_of(registry.get("created_at")),
        agents=tuple(agent_record(id_, entry) for id_, entry in agent_entries(registry)),
        hierarchy=_hierarchy(registry),
        active_count=_whole(registry.get("active_count")),
        completed_count=_whole(registry.get("completed_count")),
        total_spawned=_whole(registry.get("total_spawned")),
        warnings=tuple(_agents_warnings(registry)),
        max_agents=_whole(registry.get("max_agents")),
        max_depth=_whole(registry.get("max_depth")),
        max_concurrent=_whole(registry.get("max_concurrent")),
    )


def global_record(registry: Json) -> GlobalRecord:
    """Reads a decoded global registry; never fails."""
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
        active_agents=_whole(registry.get("active_agents")),
        total_agents_spawned=_whole(registry.get("total_agents_spawned")),
        warnings=tuple(_agents_warnings(registry)) if "agents" in registry else (),
    )
