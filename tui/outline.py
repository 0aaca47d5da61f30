"""Which lines the roll has: folded, filtered, in order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tui.filtering import (
    Filter,
    agent_fields,
    orphan_fields,
    parse,
    task_matches,
    workspace_fields,
)
from tui.host.sessions import Session
from tui.roll import AgentKey, AgentRow, RollCall, TaskRoll, WorkspaceRoll


@dataclass(frozen=True, slots=True)
class WorkspaceKey:
    """The branch of one workspace."""

    path: Path


@dataclass(frozen=True, slots=True)
class TaskKey:
    """The branch of one task."""

    registry: Path


@dataclass(frozen=True, slots=True)
class OrphansKey:
    """The branch of all orphaned sessions."""


@dataclass(frozen=True, slots=True)
class OrphanKey:
    """One orphaned session, as its server knows it."""

    session_id: str
    created: int


Key = WorkspaceKey | TaskKey | AgentKey | OrphansKey | OrphanKey


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the roll.

    Attributes:
        key: What it stands for; stays the same whatever moves.
        item: The frozen record that it shows.
        level: How far it is indented.
        folded: None where nothing is beneath it.
    """

    key: Key
    item: WorkspaceRoll | TaskRoll | AgentRow | Session | None
    level: int
    folded: bool | None


def outline(roll: RollCall, folded: Collection[Key], query: str = "") -> tuple[Line, ...]:
    """The lines to show, parents before children.

    Args:
        roll: The roll call.
        folded: Branches that are closed; ignored while a filter is on.
        query: Only what this filter (`tui.filtering`) means, with the branches that
            lead there; empty for everything.
    """
    wanted = parse(query)
    lines: list[Line] = []
    several = len(roll.workspaces) > 1
    for workspace in roll.workspaces:
        beneath = list(_tasks(workspace, folded, wanted, int(several)))
        empty = not workspace.tasks and wanted.matches(workspace_fields(workspace))
        if several and (beneath or empty or not wanted):
            key = WorkspaceKey(workspace.path)
            closed = key in folded and not wanted
            lines.append(Line(key, workspace, 0, closed if workspace.tasks else None))
            beneath = [] if closed else beneath
        lines += beneath
    orphans = [each for each in roll.orphans if wanted.matches(orphan_fields(each))]
    if orphans:
        closed = OrphansKey() in folded and not wanted
        lines.append(Line(OrphansKey(), None, 0, closed))
        if not closed:
            lines += [Line(OrphanKey(s.id, s.created), s, 1, None) for s in orphans]
    return tuple(lines)


def _tasks(
    workspace: WorkspaceRoll, folded: Collection[Key], wanted: Filter, level: int
) -> Iterator[Line]:
    for task in workspace.tasks:
        agents = list(_agents(task, folded, wanted, level + 1))
        if wanted and not agents and not task_matches(task, wanted):
            continue
        key = TaskKey(task.state.registry)
        closed = key in folded and not wanted
        yield Line(key, task, level, closed if task.agents else None)
        if not closed:
            yield from agents


def _agents(task: TaskRoll, folded: Collection[Key], wanted: Filter, level: int) -> Iterator[Line]:
    if wanted:
        yield from _matching_agents(task, wanted, level)
        return
    hidden_below: int | None = None
    for row in task.agents:
        if hidden_below is not None and row.level > hidden_below:
            continue
        hidden_below = None
        closed = row.key in folded if row.children else None
        if closed:
            hidden_below = row.level
        yield Line(row.key, row, level + row.level, closed)


def _matching_agents(task: TaskRoll, wanted: Filter, level: int) -> Iterator[Line]:
    path: list[AgentRow] = []
    shown: set[AgentKey] = set()
    for row in task.agents:
        del path[row.level :]
        path.append(row)
        if not wanted.matches(agent_fields(row, task)):
            continue
        for each in path:
            if each.key not in shown:
                shown.add(each.key)
                yield Line(each.key, each, level + each.level, False if each.children else None)


def branches(roll: RollCall) -> Iterator[Key]:
    """Every key that has something beneath it."""
    for workspace in roll.workspaces:
        yield WorkspaceKey(workspace.path)
        for task in workspace.tasks:
            yield TaskKey(task.state.registry)
            yield from (row.key for row in task.agents if row.children)
    yield OrphansKey()


def actionable(roll: RollCall) -> dict[Key, AgentRow | Session]:
    """Everything that can be marked and acted on, by its key."""
    found: dict[Key, AgentRow | Session] = {row.key: row for row in roll.agents()}
    found.update({OrphanKey(s.id, s.created): s for s in roll.orphans})
    return found


def meant(roll: RollCall, keys: Iterable[Key]) -> tuple[list[AgentRow], list[Session], bool]:
    """Whom some lines stand for: an agent, all agents of a task, an orphan, all orphans.

    Returns:
        The agents, the orphaned sessions, and whether a whole task is among them.
    """
    there = actionable(roll)
    tasks = {TaskKey(task.state.registry): task for task in roll.tasks()}
    rows: list[AgentRow] = []
    sessions: list[Session] = []
    whole = False
    for key in keys:
        item = there.get(key)
        if isinstance(item, AgentRow):
            rows.append(item)
        elif isinstance(item, Session):
            sessions.append(item)
        elif isinstance(key, TaskKey) and key in tasks:
            rows += tasks[key].agents
            whole = True
        elif isinstance(key, OrphansKey):
            sessions += roll.orphans
    return rows, sessions, whole
