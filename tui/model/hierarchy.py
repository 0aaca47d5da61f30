"""Parents and children: the order of a task's tree, and the relatives of an agent. Pure."""

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
    """Entries as (index, level, number of children), parents before their children.

    An agent's own `parent` decides; where that leads nowhere `agent_hierarchy`
    does. An agent without a parent stands at the top; a loop is cut before its first agent.
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
            below = [each for each in children.get(index, ()) if each not in placed]
            ordered.append((index, level, len(below)))
            todo.extend((each, level + 1) for each in reversed(below))

    for root in children.get(None, ()):
        place(root)
    for index in range(len(record.agents)):
        if index not in placed:
            place(_first_of_loop(index, parents))
    return ordered


def _first_of_loop(start: int, parents: Sequence[int | None]) -> int:
    """The first entry, in file order, of the loop that the parents of one lead into."""
    seen: dict[int, None] = {}
    index: int | None = start
    while index is not None and index not in seen:
        seen[index] = None
        index = parents[index]
    path = list(seen)
    return min(path[path.index(index) :]) if index is not None else start


class Place(NamedTuple):
    """Where an agent stands among those of its task."""

    key: AgentKey
    record: AgentRecord
    level: int
    children: int


def places_of(state: TaskState, before: TaskRoll | None) -> list[tuple[Place, AgentRow | None]]:
    """All agents of a task, parents before children, with their rows of before."""
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
    """The places of before; None if an agent came, went or moved since."""
    was = before.state.record
    by_id = {agent.id: agent for agent in record.agents}
    if (
        was is None
        or was.hierarchy != record.hierarchy
        or len(by_id) < len(record.agents)
        or [each.id for each in was.agents] != [each.id for each in record.agents]
    ):
        return None
    places = [Place(row.key, by_id[row.key.id], row.level, row.children) for row in before.agents]
    moved = any(
        place.record.parent != row.record.parent
        for place, row in zip(places, before.agents, strict=True)
    )
    return None if moved else places


def beneath(task: TaskRoll, row: AgentRow) -> Iterable[AgentRow]:
    """All descendants of an agent, as the roll's tree has them."""
    after = task.agents[task.agents.index(row) + 1 :]
    return itertools.takewhile(lambda each: each.level > row.level, after)


def children_of(task: TaskRoll, row: AgentRow) -> list[AgentRow]:
    """The agents that an agent started itself."""
    return [each for each in beneath(task, row) if each.level == row.level + 1]


def parent_of(task: TaskRoll, row: AgentRow) -> AgentRow | None:
    """The agent that started an agent, or None if the orchestrator did."""
    before = task.agents[: task.agents.index(row)]
    return next((each for each in reversed(before) if each.level < row.level), None)
