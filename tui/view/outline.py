"""Makes the lines of the agent list from a roll call: folded, filtered and sorted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from registry.dataclass import dataclass
from tui.host.process.usage import Load
from tui.host.tmux_types import Session
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict, WorkspaceRoll
from tui.view.filter import agent_fields, orphan_fields, task_matches, workspace_fields
from tui.view.view import Sort, View, sort_key


@dataclass(frozen=True, slots=True)
class WorkspaceKey:
    """Identifies the line of a workspace."""

    path: Path


@dataclass(frozen=True, slots=True)
class TaskKey:
    """Identifies the line of a task, by the path of the task's registry."""

    registry: Path


@dataclass(frozen=True, slots=True)
class OrphansKey:
    """Identifies the line above all orphaned sessions."""


@dataclass(frozen=True, slots=True)
class OrphanKey:
    """Identifies the line of an orphaned session, by the session's tmux id and creation time."""

    session_id: str
    created: int


Key = WorkspaceKey | TaskKey | AgentKey | OrphansKey | OrphanKey

EVERYTHING = View()
NO_LOADS: Mapping[Key, Load] = {}


class Line(NamedTuple):
    """One line of the agent list.

    Attributes:
        key: The identity of the line, independent of the line's position.
        item: The record that the line shows; None for the line above the orphans.
        level: The indentation level.
        folded: Whether the line is folded; None for a line that cannot be folded.
        leads: Whether an agent is shown only because a descendant of the agent matches the filter.
        task: The title of an agent's task if the task has no line of its own; otherwise empty.
            Safe text.
    """

    key: Key
    item: WorkspaceRoll | TaskRoll | AgentRow | Session | None
    level: int
    folded: bool | None
    leads: bool = False
    task: str = ""


class Outliner:
    """Makes the lines of successive roll calls; reuses the lines of unchanged tasks."""

    def __init__(self) -> None:
        self._way: tuple[frozenset[Key], View, bool] | None = None
        self._known: dict[Path, tuple[TaskRoll, tuple[Line, ...]]] = {}

    def outline(
        self,
        roll: RollCall,
        folded: Collection[Key] = (),
        view: View = EVERYTHING,
        loads: Mapping[Key, Load] = NO_LOADS,
    ) -> tuple[Line, ...]:
        """Returns the lines to show.

        In the sort order by hierarchy, parents come before their children, and the parents of
        matching agents are shown too. In other sort orders, no line can be folded.

        Args:
            roll: The roll call.
            folded: The keys of folded lines; ignored if the view has a filter.
            view: The filter and the sort order.
            loads: Maps keys of lines to the CPU and memory of sessions, for sorting by these.
        """
        if view.sort is not Sort.HIERARCHY:
            return tuple(_sorted(roll, view, loads))
        closed = frozenset[Key]() if view.narrows else frozenset(folded)
        way = (closed, view, len(roll.workspaces) > 1)
        known = self._known if way == self._way else {}
        self._way, self._known = way, {}
        lines: list[Line] = []
        for workspace in roll.workspaces:
            lines += self._workspace(workspace, *way, known)
        lines += _orphan_lines(roll, closed, view)
        return tuple(lines)

    def _workspace(
        self,
        workspace: WorkspaceRoll,
        folded: Collection[Key],
        view: View,
        several: bool,
        known: Mapping[Path, tuple[TaskRoll, tuple[Line, ...]]],
    ) -> list[Line]:
        beneath: list[Line] = []
        for task in workspace.tasks:
            at = task.state.registry
            before = known.get(at)
            if before is None or before[0] is not task:
                lines = (
                    _same_lines(before, task) if before is not None and not view.hides else None
                )
                before = task, lines or tuple(_task(task, folded, view, int(several)))
            self._known[at] = before
            beneath += before[1]
        empty = not workspace.tasks and view.wanted.matches(workspace_fields(workspace))
        if several and (beneath or (empty and view.only is None) or not view.narrows):
            key = WorkspaceKey(workspace.path)
            closed = key in folded
            line = Line(key, workspace, 0, closed if workspace.tasks else None)
            return [line] if closed else [line, *beneath]
        return beneath


def outline(
    roll: RollCall,
    folded: Collection[Key] = (),
    view: View = EVERYTHING,
    loads: Mapping[Key, Load] = NO_LOADS,
) -> tuple[Line, ...]:
    """Returns the lines of a single roll call; see `Outliner.outline`."""
    return Outliner().outline(roll, folded, view, loads)


def _orphans(roll: RollCall, view: View) -> list[Session]:
    if not view.has(Verdict.ORPHAN):
        return []
    return [session for session in roll.orphans if view.wanted.matches(orphan_fields(session))]


# Tree


def _orphan_lines(roll: RollCall, folded: Collection[Key], view: View) -> Iterator[Line]:
    orphans = _orphans(roll, view)
    if orphans:
        closed = OrphansKey() in folded
        yield Line(OrphansKey(), None, 0, closed)
        if not closed:
            yield from (Line(OrphanKey(s.id, s.created), s, 1, None) for s in orphans)


def _task(task: TaskRoll, folded: Collection[Key], view: View, level: int) -> Iterator[Line]:
    agents = list(_agents(task, view))
    if not agents and view.hides and not _is_meant(task, view):
        return
    key = TaskKey(task.state.registry)
    closed = key in folded
    yield Line(key, task, level, closed if agents else None)
    if not closed:
        yield from _lines(agents, folded, level + 1)


def _same_lines(
    before: tuple[TaskRoll, tuple[Line, ...]], task: TaskRoll
) -> tuple[Line, ...] | None:
    """Returns the previous lines of a task, with the new rows of changed agents.

    Returns None if an agent was added or removed, or if an agent's level changed. Call this only
    if all agents of the task are shown.
    """
    was, lines = before
    if len(was.agents) != len(task.agents):
        return None
    changed: dict[int, AgentRow] = {}
    for old, row in zip(was.agents, task.agents, strict=True):
        if row is not old:
            if (row.key, row.level) != (old.key, old.level):
                return None
            changed[id(old)] = row
    first, *others = lines
    pairs = ((line, changed.get(id(line.item))) for line in others)
    return (
        first._replace(item=task),
        *(line if row is None else line._replace(item=row) for line, row in pairs),
    )


def _is_meant(task: TaskRoll, view: View) -> bool:
    """Returns whether a task has a line even if none of the task's agents is shown."""
    if not view.narrows:
        return not task.agents or bool(task.state.error or task.state.hot_journal)
    return view.only is None and task_matches(task, view.wanted)


def _agents(task: TaskRoll, view: View) -> Iterable[tuple[AgentRow, bool]]:
    """Yields the agents to show, and whether each agent is shown only because of a descendant."""
    if not view.hides:
        return ((row, False) for row in task.agents)
    asked_for = {row.key for row in _asked_for(task, view)}
    if len(asked_for) == len(task.agents):
        return ((row, False) for row in task.agents)
    path: list[AgentRow] = []
    shown: dict[AgentKey, tuple[AgentRow, bool]] = {}
    for row in task.agents if asked_for else ():
        del path[row.level :]
        if row.key in asked_for:
            for above in path:
                shown.setdefault(above.key, (above, True))
            shown[row.key] = row, False
        path.append(row)
    return shown.values()


def _asked_for(task: TaskRoll, view: View) -> Iterator[AgentRow]:
    """Yields the agents of a task that match a view's filter and verdicts."""
    shown = {verdict for verdict in task.counts if task.counts[verdict] and view.has(verdict)}
    if not shown:
        return
    wanted = view.wanted
    for row in task.agents:
        if row.verdict in shown and (not wanted or wanted.matches(agent_fields(row, task))):
            yield row


def _lines(
    agents: list[tuple[AgentRow, bool]], folded: Collection[Key], level: int
) -> Iterator[Line]:
    hidden_below: int | None = None
    for number, (row, leads) in enumerate(agents, 1):
        if hidden_below is not None and row.level > hidden_below:
            continue
        hidden_below = None
        has_more = number < len(agents) and agents[number][0].level > row.level
        closed = row.key in folded if has_more else None
        if closed:
            hidden_below = row.level
        yield Line(row.key, row, level + row.level, closed, leads)


# Sorted lines


def _sorted(roll: RollCall, view: View, loads: Mapping[Key, Load]) -> Iterator[Line]:
    if not view.narrows:
        # Unreadable registries come first, because they may contain urgent agents.
        yield from _unreadable(roll)
    items: list[tuple[Key, AgentRow | Session, str]] = [
        (row.key, row, task.title) for task in roll.tasks() for row in _asked_for(task, view)
    ]
    items += ((OrphanKey(s.id, s.created), s, "") for s in _orphans(roll, view))
    key_of = sort_key(view.sort, loads)
    items.sort(key=lambda entry: key_of(entry[0], entry[1]), reverse=view.reverse)
    yield from (Line(key, item, 1, None, task=title) for key, item, title in items)


def _unreadable(roll: RollCall) -> Iterator[Line]:
    for workspace in roll.workspaces:
        if workspace.is_partly_unread:
            yield Line(WorkspaceKey(workspace.path), workspace, 0, None)
    for task in roll.tasks():
        if task.state.error or task.state.hot_journal:
            yield Line(TaskKey(task.state.registry), task, 0, None)


def matching(roll: RollCall, view: View) -> dict[Key, AgentRow | Session]:
    """Returns the agents and orphans that match a view's filter and verdicts, by line key."""
    shown: dict[Key, AgentRow | Session] = {
        row.key: row for task in roll.tasks() for row in _asked_for(task, view)
    }
    return shown | {OrphanKey(s.id, s.created): s for s in _orphans(roll, view)}


def branches(roll: RollCall) -> Iterator[Key]:
    """Yields the keys of the lines that can be folded.

    These are workspaces, tasks, agents with children, and the orphans' line.
    """
    for workspace in roll.workspaces:
        yield WorkspaceKey(workspace.path)
        for task in workspace.tasks:
            yield TaskKey(task.state.registry)
            yield from (row.key for row in task.agents if row.children)
    yield OrphansKey()


def actionable(roll: RollCall) -> dict[Key, AgentRow | Session]:
    """Returns all agents and orphans, by line key; only these items can be marked."""
    items: dict[Key, AgentRow | Session] = {row.key: row for row in roll.agents()}
    items.update({OrphanKey(s.id, s.created): s for s in roll.orphans})
    return items


def is_asked_for(line: Line) -> bool:
    """Returns whether a line shows an agent or orphan that matches the view's filter.

    Returns False if an agent is shown only because a descendant of the agent matches.
    """
    return not line.leads and isinstance(line.item, AgentRow | Session)


def nearest(lines: Sequence[Line], before: Line | None, old: int) -> int:
    """Returns the index of the line for the cursor, after the line under the cursor disappeared.

    If an agent's line disappeared, this is the line of the agent's parent or task. Otherwise it is
    the line that now has the old index.

    Args:
        lines: The present lines.
        before: The line that disappeared.
        old: The index that this line had.
    """
    if before is not None and isinstance(before.item, AgentRow):
        for number in range(min(old, len(lines)) - 1, -1, -1):
            if lines[number].level < before.level:
                return number
    return max(0, min(old, len(lines) - 1))


def sessions_of(lines: Iterable[Line]) -> dict[Key, Session]:
    """Returns the session of each agent's or orphan's line, by line key."""
    sessions: dict[Key, Session] = {}
    for line in lines:
        session = line.item.session if isinstance(line.item, AgentRow) else line.item
        if isinstance(session, Session):
            sessions[line.key] = session
    return sessions


def roots_of(lines: Iterable[Line]) -> dict[Key, tuple[int, int]]:
    """Returns the process of each line of an agent without a session, by line key.

    A process is given by its pid and its start time.
    """
    roots: dict[Key, tuple[int, int]] = {}
    for line in lines:
        process = line.item.process if isinstance(line.item, AgentRow) else None
        if process is not None and process.identity is not None:
            roots[line.key] = process.identity
    return roots


def meant(roll: RollCall, keys: Iterable[Key]) -> tuple[list[AgentRow], list[Session], bool]:
    """Returns the agents and orphaned sessions to which an action on lines applies.

    A task's line stands for all agents of the task. The line above the orphans stands for all
    orphans.

    Args:
        roll: The roll call.
        keys: The keys of the lines.

    Returns:
        The agents, the orphaned sessions, and whether one of the lines is a task's line.
    """
    items = actionable(roll)
    tasks = {TaskKey(task.state.registry): task for task in roll.tasks()}
    rows: list[AgentRow] = []
    sessions: list[Session] = []
    whole = False
    for key in keys:
        item = items.get(key)
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
