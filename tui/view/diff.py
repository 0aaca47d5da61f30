"""The differences between two roll calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from registry.dataclass import dataclass, field
from registry.schema import UnreadDatabase
from tui.host.tmux_types import Session, TmuxState
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll
from tui.view.filter import Fields, Filter, agent_fields, orphan_fields

Value: TypeAlias = str | float | None


@dataclass(frozen=True, slots=True)
class AgentChange:
    """The event that an agent appeared, disappeared or changed.

    Attributes:
        event: ``agent-came``, ``agent-went`` or ``agent-changed``.
        row: The agent's present row, or the last row of an agent that disappeared.
        task: The id of the agent's task.
        changed: Maps each changed field to its values before and after the change.
    """

    event: str
    row: AgentRow
    task: str
    changed: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrphanChange:
    """The event that an orphaned session appeared or disappeared.

    Attributes:
        event: ``orphan-came`` or ``orphan-went``.
        session: The orphaned session.
    """

    event: str
    session: Session


@dataclass(frozen=True, slots=True)
class TmuxChange:
    """The event that the state of tmux changed, or that another tmux server answers.

    Attributes:
        before: The state in the earlier roll call.
        state: The state in the later roll call.
        detail: The server that answered, or why the state is unknown, in the later roll call.
    """

    before: TmuxState
    state: TmuxState
    detail: str
    event: str = "tmux-changed"


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """The event that a registry, workspace or database became readable or unreadable.

    Attributes:
        event: ``registry-unreadable`` or ``registry-readable``; ``registry-gone`` if an
            unreadable registry disappeared.
        path: The path of the task's registry, the workspace or the database.
        error: Why muster cannot read the path; None for the other events.
    """

    event: str
    path: Path
    error: str | None


Change: TypeAlias = AgentChange | OrphanChange | TmuxChange | RegistryChange


def differences(before: RollCall, after: RollCall, wanted: Filter) -> Iterator[Change]:
    """Yields the changes in this order: tmux, registries, agents, orphans.

    Args:
        before: A roll call.
        after: A later roll call of the same workspaces.
        wanted: A filter. Changes of agents and orphans are only yielded if the agent or orphan
            matches the filter in at least one of the two roll calls.
    """
    old_answer = before.answer.state, before.answer.detail
    if old_answer != (after.answer.state, after.answer.detail):
        yield TmuxChange(before.answer.state, after.answer.state, after.answer.detail)
    yield from _registries(_errors(before), _errors(after), after)
    yield from _agents(before, after, wanted)
    yield from _orphans(before, after, wanted)


def _errors(roll: RollCall) -> dict[Path, _Error]:
    """Maps each workspace, database and task to its error."""
    errors = {
        workspace.path: _Error(workspace.error, workspace.database)
        for workspace in roll.workspaces
    }
    databases = (*roll.databases, *roll.nearby_databases)
    errors |= {database.path: _Error(database.problem or str(database)) for database in databases}
    return errors | {
        task.state.registry: _Error(task.state.error, task.state.database) for task in roll.tasks()
    }


class _Error(NamedTuple):
    """Why a workspace, a database or a task cannot be read.

    Attributes:
        why: The reason; None if it can be read.
        database: The unread database that may have its agents, or None.
    """

    why: str | None
    database: UnreadDatabase | None = None

    @property
    def is_own(self) -> bool:
        """Whether the reason is not that of the database, which is reported once."""
        return self.database is None or self.why != self.database.cause


_NO_ERROR = _Error(None)


def _registries(
    before: Mapping[Path, _Error], after: Mapping[Path, _Error], roll: RollCall
) -> Iterator[RegistryChange]:
    for path, error in before.items():
        if error.why is not None and path not in after and error.is_own:
            # A database that can be read has no entry of its own.
            event = "registry-readable" if _is_read(path, roll) else "registry-gone"
            yield RegistryChange(event, path, None)
    for path, error in after.items():
        earlier = before.get(path, _NO_ERROR)
        if error.why == earlier.why:
            continue
        if error.why is None and earlier.is_own:
            yield RegistryChange("registry-readable", path, None)
        elif error.why is not None and error.is_own:
            yield RegistryChange("registry-unreadable", path, error.why)


def _is_read(path: Path, roll: RollCall) -> bool:
    return any(path == file.path for task in roll.tasks() for file in task.state.source.files)


_Agents: TypeAlias = Mapping[AgentKey, tuple[AgentRow, str, Fields]]


def _by_key(tasks: Iterable[TaskRoll]) -> _Agents:
    return {
        row.key: (row, task.task_id, agent_fields(row, task))
        for task in tasks
        for row in task.agents
    }


def _changed_tasks(roll: RollCall, other: RollCall) -> Iterator[TaskRoll]:
    """Yields the tasks of `roll` that `other` does not contain in the same state."""
    # The roll builder keeps the object of an unchanged task.
    same = {id(task) for task in other.tasks()}
    return (task for task in roll.tasks() if id(task) not in same)


def state_of(row: AgentRow) -> dict[str, Value]:
    """Returns the fields of an agent whose changes are reported."""
    return {
        "verdict": row.verdict.value,
        "status": row.record.status,
        "progress": row.record.progress,
    }


def _agents(before: RollCall, after: RollCall, wanted: Filter) -> Iterator[AgentChange]:
    old, new = _by_key(_changed_tasks(before, after)), _by_key(_changed_tasks(after, before))
    for key, (row, task, fields) in old.items():
        if key not in new and wanted.matches(fields):
            yield AgentChange("agent-went", row, task)
    for key, (row, task, fields) in new.items():
        was = old.get(key)
        if was is None:
            if wanted.matches(fields):
                yield AgentChange("agent-came", row, task)
            continue
        now, earlier = state_of(row), state_of(was[0])
        changed = {name: (earlier[name], now[name]) for name in now if now[name] != earlier[name]}
        if changed and (wanted.matches(fields) or wanted.matches(was[2])):
            yield AgentChange("agent-changed", row, task, changed)


def _orphans(before: RollCall, after: RollCall, wanted: Filter) -> Iterator[OrphanChange]:
    old = {(session.id, session.created, session.name): session for session in before.orphans}
    new = {(session.id, session.created, session.name): session for session in after.orphans}
    for key, session in old.items():
        if key not in new and wanted.matches(orphan_fields(session)):
            yield OrphanChange("orphan-went", session)
    for key, session in new.items():
        if key not in old and wanted.matches(orphan_fields(session)):
            yield OrphanChange("orphan-came", session)
