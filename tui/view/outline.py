"""Which lines the roll has: folded, filtered, sorted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tui.host.tmux_types import Session
from tui.host.usage import Load
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict, WorkspaceRoll
from tui.view.filter import agent_fields, orphan_fields, task_matches, workspace_fields
from tui.view.view import Sort, View, sort_key


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

EVERYTHING = View()
NO_LOADS: Mapping[Key, Load] = {}


class Line(NamedTuple):
    """One line of the roll.

    Attributes:
        key: What it stands for; stays the same whatever moves.
        item: The frozen record that it shows.
        level: How far it is indented.
        folded: None where nothing is beneath it.
        leads: Whether it is there only because it leads to what was looked for.
        task: The id of an agent's task, where its line is not above it.
    """

    key: Key
    item: WorkspaceRoll | TaskRoll | AgentRow | Session | None
    level: int
    folded: bool | None
    leads: bool = False
    task: str = ""


class Outliner:
    """Outlines one roll call after another; works out anew only what changed in between."""

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
        """The lines to show: parents before children, or sorted, without branches.

        Args:
            roll: The roll call.
            folded: Branches that are closed; ignored while some are looked for.
            view: Whom to show, in which order. Branches that lead to them are shown too.
            loads: What sessions cost, to sort by.
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
    """The lines of one roll call; see `Outliner.outline`."""
    return Outliner().outline(roll, folded, view, loads)


def _orphans(roll: RollCall, view: View) -> list[Session]:
    if not view.has(Verdict.ORPHAN):
        return []
    return [each for each in roll.orphans if view.wanted.matches(orphan_fields(each))]


# The tree


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
    """The lines of before with what changed in them; None if they are others now.

    Only of a task all of whose agents are shown.
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
    anew = ((each, changed.get(id(each.item))) for each in others)
    return (
        first._replace(item=task),
        *(each if row is None else each._replace(item=row) for each, row in anew),
    )


def _is_meant(task: TaskRoll, view: View) -> bool:
    """Whether a task is shown although none of its agents is."""
    if not view.narrows:
        return not task.agents or bool(task.state.error or task.state.hot_journal)
    return view.only is None and task_matches(task, view.wanted)


def _agents(task: TaskRoll, view: View) -> Iterable[tuple[AgentRow, bool]]:
    """Agents to show, parents before children, and whether they only lead to one."""
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
    """The agents of a task that a view is about."""
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


# Sorted


def _sorted(roll: RollCall, view: View, loads: Mapping[Key, Load]) -> Iterator[Line]:
    if not view.narrows:
        # Nobody can tell who is in what cannot be read: that comes first.
        yield from _unreadable(roll)
    found: list[tuple[Key, AgentRow | Session, str]] = [
        (row.key, row, task_id)
        for task, task_id in ((each, each.task_id) for each in roll.tasks())
        for row in _asked_for(task, view)
    ]
    found += ((OrphanKey(s.id, s.created), s, "") for s in _orphans(roll, view))
    of = sort_key(view.sort, loads)
    found.sort(key=lambda each: of(each[0], each[1]))
    yield from (Line(key, item, 1, None, task=task) for key, item, task in found)


def _unreadable(roll: RollCall) -> Iterator[Line]:
    for workspace in roll.workspaces:
        if workspace.is_partly_unread:
            yield Line(WorkspaceKey(workspace.path), workspace, 0, None)
    for task in roll.tasks():
        if task.state.error or task.state.hot_journal:
            yield Line(TaskKey(task.state.registry), task, 0, None)


def matching(roll: RollCall, view: View) -> dict[Key, AgentRow | Session]:
    """Everybody that a view is about, in folds or not: agents and orphans by their keys."""
    shown: dict[Key, AgentRow | Session] = {
        row.key: row for task in roll.tasks() for row in _asked_for(task, view)
    }
    return shown | {OrphanKey(s.id, s.created): s for s in _orphans(roll, view)}


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


def is_asked_for(line: Line) -> bool:
    """Whether a line is an agent's or an orphan's and does not only lead to one."""
    return not line.leads and isinstance(line.item, AgentRow | Session)


def nearest(lines: Sequence[Line], before: Line | None, old: int) -> int:
    """Where the cursor goes when its line is gone: to what it was inside of.

    Args:
        lines: Those that there are now.
        before: The line that is gone.
        old: Where it was.
    """
    if before is not None and isinstance(before.item, AgentRow):
        for number in range(min(old, len(lines)) - 1, -1, -1):
            if lines[number].level < before.level:
                return number
    return max(0, min(old, len(lines) - 1))


def sessions_of(lines: Iterable[Line]) -> dict[Key, Session]:
    """The sessions of agents, and those without any agent."""
    found: dict[Key, Session] = {}
    for line in lines:
        session = line.item.session if isinstance(line.item, AgentRow) else line.item
        if isinstance(session, Session):
            found[line.key] = session
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
