"""The tree of a task's agents: the order of the agents, their parents and children. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from registry.schema import (
    AgentRecord,
    TaskRecord,
)
from tui.model.roll import AgentKey, AgentRow, TaskRoll, TaskState


def _tree_order(record: TaskRecord) -> list[tuple[int, int, int]]:
    """Returns the agents of a task as a tree, parents before children.

    The field `parent` of an agent names its parent. If no agent has this id, `agent_hierarchy`
    names the parent. An agent without a parent is at the top of the tree. In a loop of parents,
    the agent that is first in the file is at the top.

    Returns:
        For each agent, its index in the file, its level, and the number of its children.
    """
    first: dict[str, int] = {}
    for index, agent in enumerate(record.agents):
        first.setdefault(agent.id, index)
    listed = {
        child: first[parent]
        for parent, children in record.hierarchy.items()
        if parent in first
        for child in children
    }
    parents: list[int | None] = []
    for index, agent in enumerate(record.agents):
        parent = first.get(agent.parent) if agent.parent else None
        if parent is None:
            parent = listed.get(agent.id)
        parents.append(None if parent == index else parent)
    children: dict[int | None, list[int]] = {}
    for index, parent in enumerate(parents):
        children.setdefault(parent, []).append(index)
    ordered: list[tuple[int, int, int]] = []
    placed: set[int] = set()

    def place(root: int) -> None:
        todo = [(root, 0)]
        while todo:
            index, level = todo.pop()
            if index in placed:
                continue
            placed.add(index)
            below = [child for child in children.get(index, ()) if child not in placed]
            ordered.append((index, level, len(below)))
            todo.extend((child, level + 1) for child in reversed(below))

    for root in children.get(None, ()):
        place(root)
    for index in range(len(record.agents)):
        if index not in placed:
            place(_first_of_loop(index, parents))
    return ordered


def _first_of_loop(start: int, parents: Sequence[int | None]) -> int:
    """Returns the first entry, in the order of the file, of the loop that an entry's parents form.

    Returns `start` if the parents do not form a loop.
    """
    seen: dict[int, None] = {}
    index: int | None = start
    while index is not None and index not in seen:
        seen[index] = None
        index = parents[index]
    path = list(seen)
    return min(path[path.index(index) :]) if index is not None else start


class Place(NamedTuple):
    """The place of an agent in the tree of its task."""

    key: AgentKey
    record: AgentRecord
    level: int
    children: int


def places_of(state: TaskState, before: TaskRoll | None) -> list[tuple[Place, AgentRow | None]]:
    """Returns the agents of a task, parents before children.

    Args:
        state: The task.
        before: The previous roll of the task, or None.

    Returns:
        The place of each agent, with the agent's previous row. The row is None if the tree, or the
        state of the whole registry, has changed.
    """
    record = state.record
    if record is None:
        return []
    if before is not None and (before.state.error, before.state.database) == (
        state.error,
        state.database,
    ):
        kept = _same_places(record, before)
        if kept is not None:
            return list(zip(kept, before.agents, strict=True))
    seen: dict[str, int] = {}
    keys = []
    for agent in record.agents:
        ordinal = seen.get(agent.id, 0)
        seen[agent.id] = ordinal + 1
        keys.append(AgentKey(state.registry, agent.id, ordinal))
    return [
        (Place(keys[index], record.agents[index], level, children), None)
        for index, level, children in _tree_order(record)
    ]


def _same_places(record: TaskRecord, before: TaskRoll) -> list[Place] | None:
    """Returns the places of the previous roll, with the new records.

    Returns None if an agent was added, removed or moved after the previous roll.
    """
    was = before.state.record
    by_id = {agent.id: agent for agent in record.agents}
    if (
        was is None
        or was.hierarchy != record.hierarchy
        or len(by_id) < len(record.agents)
        or [agent.id for agent in was.agents] != [agent.id for agent in record.agents]
    ):
        return None
    places = [Place(row.key, by_id[row.key.id], row.level, row.children) for row in before.agents]
    moved = any(
        place.record.parent != row.record.parent
        for place, row in zip(places, before.agents, strict=True)
    )
    return None if moved else places


def descendants_of(task: TaskRoll, row: AgentRow) -> Iterable[AgentRow]:
    """Returns all descendants of an agent in the tree of its task."""
    after = task.agents[task.agents.index(row) + 1 :]
    return itertools.takewhile(lambda agent: agent.level > row.level, after)


def children_of(task: TaskRoll, row: AgentRow) -> list[AgentRow]:
    """Returns the children of an agent in the tree of its task."""
    return [agent for agent in descendants_of(task, row) if agent.level == row.level + 1]


def parent_of(task: TaskRoll, row: AgentRow) -> AgentRow | None:
    """Returns the parent of an agent in the tree of its task; None for an agent at the top."""
    before = task.agents[: task.agents.index(row)]
    return next((agent for agent in reversed(before) if agent.level < row.level), None)
