"""What is different between two roll calls, change by change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tui.host.tmux_types import Session, TmuxState
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll
from tui.view.filter import Fields, Filter, agent_fields, orphan_fields

Value: TypeAlias = str | float | None


@dataclass(frozen=True, slots=True)
class AgentChange:
    """An agent came, went, or is not what it was.

    Attributes:
        event: ``agent-came``, ``agent-went`` or ``agent-changed``.
        row: The agent as it is now, or as it was last.
        task: The id of its task.
        changed: What changed, with its values before and after.
    """

    event: str
    row: AgentRow
    task: str
    changed: Mapping[str, tuple[Value, Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrphanChange:
    """An orphaned session came or went.

    Attributes:
        event: ``orphan-came`` or ``orphan-went``.
    """

    event: str
    session: Session


@dataclass(frozen=True, slots=True)
class TmuxChange:
    """tmux answers otherwise than before: at all, or from another server."""

    before: TmuxState
    state: TmuxState
    detail: str
    event: str = "tmux-changed"


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """A task's registry, or a workspace with its global one, can or cannot be read.

    Attributes:
        event: ``registry-unreadable``, ``registry-readable``, or ``registry-gone`` of
            one that could not be read before.
        error: Why it cannot be read, or None.
    """

    event: str
    path: Path
    error: str | None


Change: TypeAlias = AgentChange | OrphanChange | TmuxChange | RegistryChange


def differences(before: RollCall, after: RollCall, wanted: Filter) -> Iterator[Change]:
    """What changed, in this order: tmux, registries, agents, orphans.

    Args:
        before: A roll call.
        after: A later one of the same workspaces.
        wanted: Only agents and orphans that match, before or after.
    """
    told = before.answer.state, before.answer.detail
    if told != (after.answer.state, after.answer.detail):
        yield TmuxChange(before.answer.state, after.answer.state, after.answer.detail)
    yield from _registries(_errors(before), _errors(after))
    yield from _agents(before, after, wanted)
    yield from _orphans(before, after, wanted)


def _errors(roll: RollCall) -> dict[Path, str | None]:
    found: dict[Path, str | None] = {each.path: each.error for each in roll.workspaces}
    found |= {each.path: str(each) for each in (*roll.databases, *roll.nearby_databases)}
    return found | {task.state.registry: task.state.error for task in roll.tasks()}


def _registries(
    before: Mapping[Path, str | None], after: Mapping[Path, str | None]
) -> Iterator[RegistryChange]:
    for path, error in before.items():
        if error is not None and path not in after:
            yield RegistryChange("registry-gone", path, None)
    for path, error in after.items():
        if error == before.get(path):
            continue
        event = "registry-readable" if error is None else "registry-unreadable"
        yield RegistryChange(event, path, error)


_Agents: TypeAlias = Mapping[AgentKey, tuple[AgentRow, str, Fields]]


def _by_key(tasks: Iterable[TaskRoll]) -> _Agents:
    return {
        row.key: (row, task.task_id, agent_fields(row, task))
        for task in tasks
        for row in task.agents
    }


def _news(roll: RollCall, other: RollCall) -> Iterator[TaskRoll]:
    """Tasks that are not the very same in another roll call."""
    # Those in which nothing changed are not made anew.
    same = {id(task) for task in other.tasks()}
    return (task for task in roll.tasks() if id(task) not in same)


def state_of(row: AgentRow) -> dict[str, Value]:
    """What of an agent is watched."""
    return {
        "verdict": row.verdict.value,
        "status": row.record.status,
        "progress": row.record.progress,
    }


def _agents(before: RollCall, after: RollCall, wanted: Filter) -> Iterator[AgentChange]:
    old, new = _by_key(_news(before, after)), _by_key(_news(after, before))
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
    old = {(each.id, each.created, each.name): each for each in before.orphans}
    new = {(each.id, each.created, each.name): each for each in after.orphans}
    for key, session in old.items():
        if key not in new and wanted.matches(orphan_fields(session)):
            yield OrphanChange("orphan-went", session)
    for key, session in new.items():
        if key not in old and wanted.matches(orphan_fields(session)):
            yield OrphanChange("orphan-came", session)
