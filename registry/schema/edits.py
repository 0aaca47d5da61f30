"""Changes decoded registries: tasks' registries and global registries. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from registry.dataclass import dataclass
from registry.errors import AgentNotFoundError, DuplicateAgentError, WrongShapeError
from registry.schema.counters import (
    active_range,
    completed_range,
    count_active,
    count_all,
    count_completed,
    count_tasks,
    counter_names,
    ended_by_itself,
    is_count,
    is_reference,
    is_within,
)
from registry.schema.records import (
    ORCHESTRATOR,
    agent_entries,
    counts_as_active,
    is_certainly_active,
    is_global,
)
from registry.storage.codec import Json, kind_of


def _shift(registry: Json, counter: str, by: int, recount: Callable[[Json], int]) -> None:
    """Adds `by` to a counter. A counter that is not an integer is set to `recount(registry)`.

    Call this function after the change of the agents, because `recount` must see the change.
    """
    value = registry.get(counter)
    if not is_count(value):
        registry[counter] = recount(registry)
    elif by:
        registry[counter] = max(0, value + by)


def check_task(registry: Json) -> None:
    """Checks that a registry is not a global registry.

    Raises:
        WrongShapeError: The registry is a global registry.
    """
    if is_global(registry):
        raise WrongShapeError(
            "task_id", "is missing: this is a global registry; use the task's registry"
        )


def check_global(registry: Json) -> None:
    """Checks that a decoded object is a global registry.

    Raises:
        WrongShapeError: The object is a task's registry, or not a registry.
    """
    if "task_id" in registry:
        raise WrongShapeError(
            "task_id", "is present: this is a task's registry, not a global registry"
        )
    if not is_global(registry):
        raise WrongShapeError("tasks", "is missing: this is not a global registry")


def check_agents(registry: Json) -> None:
    """Checks that every agent can be counted.

    Raises:
        WrongShapeError: `agents` is not a list or an object that contains only objects.
    """
    agents = registry.get("agents", [])
    if not isinstance(agents, (list, dict)):
        raise WrongShapeError(
            "agents",
            f"is {kind_of(agents)}, not a list or an object",
        )
    for entry in agents.values() if isinstance(agents, dict) else agents:
        if not isinstance(entry, dict):
            raise WrongShapeError("agents", f"contains {kind_of(entry)}, not an object")


def _place_to_append(registry: Json) -> list[Any] | Json:
    agents = registry.get("agents")
    if agents is None:
        return {} if is_global(registry) else []
    if not isinstance(agents, (list, dict)):
        raise WrongShapeError(
            "agents",
            f"is {kind_of(agents)}, not a list or an object",
        )
    return agents


def add_agent(registry: Json, agent: Mapping[str, Any], parent: str) -> None:
    """Adds an agent to `agents`, to the counters and, in a task's registry, to `agent_hierarchy`.

    Raises:
        DuplicateAgentError: The registry already has this id; nothing was changed.
        WrongShapeError: The agent has no valid id, or `agents` or `agent_hierarchy` has the
            wrong type; nothing was changed.
    """
    entry = Appender(registry).append(agent, parent)
    names = counter_names(registry)
    _shift(registry, names.total, 1, count_all)
    _shift(registry, names.active, int(counts_as_active(registry, entry)), count_active)
    if names.completed is not None and ended_by_itself(entry):
        _shift(registry, names.completed, 1, count_completed)


class Appender:
    """Adds agents to `agents` and `agent_hierarchy` of a registry, but not to the counters.

    The time for each agent does not depend on the size of the registry. No other code may change
    these two fields meanwhile.

    Args:
        registry: The decoded registry; changed in place.
    """

    def __init__(self, registry: Json) -> None:
        self._registry = registry
        self._ids = {id_ for id_, _ in agent_entries(registry)}
        agents = registry.get("agents")
        if isinstance(agents, dict):
            self._ids.update(agents)
        self._children: dict[str, set[str]] = {}

    def append(self, agent: Mapping[str, Any], parent: str) -> Json:
        """Adds an agent; returns its entry. See `add_agent` for the errors."""
        registry, agent_id = self._registry, agent.get("id")
        if not isinstance(agent_id, str) or not agent_id:
            raise WrongShapeError("id", "of the new agent must be a non-empty string")
        if not isinstance(parent, str):
            raise WrongShapeError("parent", "must be a string")
        if agent_id == ORCHESTRATOR:
            raise WrongShapeError(
                "id",
                f"must not be {ORCHESTRATOR!r}, which is the parent of agents without a parent",
            )
        if agent_id in self._ids:
            raise DuplicateAgentError(agent_id)
        agents = _place_to_append(registry)
        if not is_global(registry):
            self._append_child(parent, agent_id)
        registry["agents"] = agents
        entry = dict(agent)
        if isinstance(agents, dict):
            agents[agent_id] = entry
        else:
            agents.append(entry)
        self._ids.add(agent_id)
        return entry

    def _append_child(self, parent: str, agent_id: str) -> None:
        hierarchy = self._registry.get("agent_hierarchy")
        if hierarchy is None:
            hierarchy = {}
        if not isinstance(hierarchy, dict):
            raise WrongShapeError("agent_hierarchy", "is not an object")
        children = hierarchy.get(parent)
        if children is None:
            children = []
        if not isinstance(children, list):
            raise WrongShapeError(f"agent_hierarchy[{parent}]", "is not a list")
        if parent not in self._children:
            self._children[parent] = {child for child in children if isinstance(child, str)}
        if agent_id not in self._children[parent]:
            self._children[parent].add(agent_id)
            children.append(agent_id)
        hierarchy[parent] = children
        self._registry["agent_hierarchy"] = hierarchy


def _entries(registry: Json, agent_id: str, is_meant: Callable[[Json], bool]) -> list[Json]:
    return [entry for id_, entry in agent_entries(registry) if id_ == agent_id and is_meant(entry)]


def remove_agent(
    registry: Json, agent_id: str, is_meant: Callable[[Json], bool] = lambda _: True
) -> bool:
    """Removes an agent from `agents`, from the counters and from `agent_hierarchy`.

    The `parent` fields of the agent's children are not changed.

    Args:
        registry: The decoded registry; changed in place.
        agent_id: The id of the agent.
        is_meant: A function that returns whether to remove a given entry that has this id.

    Returns:
        Whether an entry was removed.
    """
    entries = _entries(registry, agent_id, is_meant)
    if not entries:
        return False
    right = _Right.of(registry)
    active = sum(counts_as_active(registry, entry) for entry in entries)
    completed = sum(ended_by_itself(entry) for entry in entries)
    take_out(registry, entries)
    hierarchy = registry.get("agent_hierarchy")
    if isinstance(hierarchy, dict):
        for parent, children in list(hierarchy.items()):
            if isinstance(children, list) and agent_id in children:
                children.remove(agent_id)
                if not children:
                    del hierarchy[parent]
    _shift(registry, counter_names(registry).total, -len(entries), count_all)
    _count(registry, -active, -completed, right)
    return True


def take_out(registry: Json, entries: Collection[Json]) -> None:
    """Removes entries from `agents`; changes nothing else. Entries are compared by identity."""

    def stays(value: object) -> bool:
        return all(value is not entry for entry in entries)

    agents = registry["agents"]
    if isinstance(agents, dict):
        registry["agents"] = {key: entry for key, entry in agents.items() if stays(entry)}
    else:
        registry["agents"] = [entry for entry in agents if stays(entry)]


def list_task(global_: Json, task_id: str, fields: Mapping[str, Any]) -> bool:
    """Adds a task to a global registry and to its task counters, unless the task is listed.

    Returns:
        Whether the registry was changed.

    Raises:
        WrongShapeError: `tasks` is not an object; nothing was changed.
    """
    tasks = global_.get("tasks")
    if tasks is None:
        tasks = {}
    if not isinstance(tasks, dict):
        raise WrongShapeError("tasks", f"is {kind_of(tasks)}, not an object")
    if task_id in tasks:
        return False
    tasks[task_id] = dict(fields)
    global_["tasks"] = tasks
    if not is_reference(fields):
        counted = {"total_tasks": len(tasks), "active_tasks": len(tasks)} | count_tasks(global_)
        for counter, count in counted.items():
            value = global_.get(counter)
            global_[counter] = max(0, value + 1) if is_count(value) else count
    return True


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The change of one agent's status.

    Attributes:
        agent_id: The agent's id.
        previous: The status before the change; None if the entry had no status.
        status: The status after the change.
    """

    agent_id: str
    previous: str | None
    status: str


def set_status(
    registry: Json,
    agent_id: str,
    status: str,
    fields: Mapping[str, Any],
    is_meant: Callable[[Json], bool] = lambda _: True,
    counts: Callable[[Json], bool] = ended_by_itself,
) -> StatusChange:
    """Sets an agent's status and further fields, and adapts the counters.

    If several entries have this id, all entries that `is_meant` accepts are changed.

    Args:
        registry: The decoded registry; changed in place.
        agent_id: The id of the agent.
        status: The new status.
        fields: Further fields of the agent's entry, with the new values.
        is_meant: A function that returns whether to change a given entry that has this id.
        counts: A function that returns whether `completed_count` includes a given entry.

    Raises:
        AgentNotFoundError: The registry has no such agent.
        WrongShapeError: The status is not a string.
        ValueError: `fields` contains ``id``.
    """
    if not isinstance(status, str):
        raise WrongShapeError("status", "must be a string")
    if "id" in fields:
        raise ValueError("an agent's id cannot be changed; remove 'id' from the fields")
    entries = _entries(registry, agent_id, is_meant)
    if not entries:
        raise AgentNotFoundError(agent_id)
    previous = entries[0].get("status")
    right = _Right.of(registry)
    active = completed = 0
    for entry in entries:
        active -= counts_as_active(registry, entry)
        completed -= counts(entry)
        entry["status"] = status
        entry.update(fields)
        active += counts_as_active(registry, entry)
        completed += counts(entry)
    _count(registry, active, completed, right)
    return StatusChange(agent_id, previous if isinstance(previous, str) else None, status)


@dataclass(frozen=True, slots=True)
class _Right:
    """Which counters of a registry have a correct value before a change of agents.

    Attributes:
        active: Whether the counter of active agents is correct.
        completed: Whether the counter of agents that ended by themselves exists and is correct.
    """

    active: bool
    completed: bool

    @classmethod
    def of(cls, registry: Json) -> _Right:
        """Returns which counters of a registry are correct now."""
        names = counter_names(registry)
        active = is_within(registry.get(names.active), *active_range(registry))
        if names.completed is None:
            return cls(active, completed=False)
        return cls(active, is_within(registry.get(names.completed), *completed_range(registry)))


def _count(registry: Json, active: int, completed: int, right: _Right) -> None:
    """Adapts the counters to a change of agents; a correct counter stays correct."""
    names = counter_names(registry)
    _shift(registry, names.active, active, count_active)
    if right.active:
        # The counter may not have included an agent with an unknown status.
        least, most = active_range(registry)
        registry[names.active] = min(max(registry[names.active], least), most)
    if names.completed is None:
        return
    _shift(registry, names.completed, completed, count_completed)
    if right.completed:
        # The counter may not have included an agent that failed.
        fewest, greatest = completed_range(registry)
        registry[names.completed] = min(max(registry[names.completed], fewest), greatest)


def shift_counters(registry: Json, *, active: int = 0, total: int = 0) -> None:
    """Adds `active` to the counter of active agents, and `total` to the counter of all agents.

    A counter that is missing or not an integer counts as 0. A counter never becomes less than 0.

    Raises:
        WrongShapeError: A number to add is not an integer.
    """
    for name, by in (("active", active), ("total", total)):
        if not is_count(by):
            raise WrongShapeError(name, "must be an integer to add to a counter")
    names = counter_names(registry)
    for counter, by in ((names.active, active), (names.total, total)):
        if by:
            value = registry.get(counter)
            registry[counter] = max(0, (value if is_count(value) else 0) + by)


End = tuple[str, Mapping[str, Any]]
"""A terminal status, and the fields that are set together with this status."""


def finish(
    registry: Json, agent_ids: Collection[str], status: str, fields: Mapping[str, Any]
) -> list[StatusChange]:
    """Gives a terminal status to each active agent whose id is in `agent_ids`.

    Returns:
        One change for each changed entry, in file order.
    """
    wanted = frozenset(agent_ids)
    return finish_each(registry, lambda id_, _: (status, fields) if id_ in wanted else None)


def finish_each(
    registry: Json,
    end_of: Callable[[str | None, Json], End | None],
    may_end: Callable[[Json, Json], bool] = is_certainly_active,
) -> list[StatusChange]:
    """Gives active agents a terminal status; `end_of` chooses the status of each agent.

    Args:
        registry: The decoded registry; changed in place.
        end_of: A function that receives an agent's id and entry. The function returns the new
            status and fields, or None to leave the agent unchanged.
        may_end: A function that returns whether an entry of the registry may be changed.

    Returns:
        One change for each changed entry, in file order.
    """
    changes = []
    right = _Right.of(registry)
    active = completed = 0
    for agent_id, entry in agent_entries(registry):
        end = end_of(agent_id, entry) if may_end(registry, entry) else None
        if end is None:
            continue
        active -= counts_as_active(registry, entry)
        status, fields = end
        previous = entry.get("status")
        entry["status"] = status
        entry.update(fields)
        completed += ended_by_itself(entry)
        changes.append(StatusChange(agent_id or "", previous, status))
    if changes:
        _count(registry, active, completed, right)
    return changes
