"""Changes decoded registries: tasks' registries and global registries. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeGuard

from registry.dataclass import dataclass
from registry.errors import AgentNotFoundError, DuplicateAgentError, WrongShapeError
from registry.schema.records import ORCHESTRATOR, agent_entries, counts_as_active, is_global
from registry.schema.statuses import is_active, is_terminal_task
from registry.storage.codec import Json, kind_of


@dataclass(frozen=True, slots=True)
class CounterNames:
    """The names of a registry's counters.

    Attributes:
        active: The counter of active agents.
        total: The counter of all agents.
        completed: The counter of agents that ended by themselves; None if the registry has no
            such counter.
    """

    active: str
    total: str
    completed: str | None


TASK_COUNTERS = CounterNames("active_count", "total_spawned", "completed_count")
GLOBAL_COUNTERS = CounterNames("active_agents", "total_agents_spawned", None)


def counter_names(registry: Json) -> CounterNames:
    """Returns the names of this registry's counters."""
    return GLOBAL_COUNTERS if is_global(registry) else TASK_COUNTERS


def count_active(registry: Json) -> int:
    """Returns the number of active agents in the registry."""
    return sum(counts_as_active(registry, entry) for _, entry in agent_entries(registry))


def is_completed(entry: Json) -> bool:
    """Returns whether an agent's status is `completed`."""
    return entry.get("status") == "completed"


def ended_by_itself(entry: Json) -> bool:
    """Returns whether an agent reported its end.

    The orchestrator counts each such report in `completed_count`, even if the agent failed. If the
    orchestrator kills the agent afterwards, the count stays. A killed agent has the status
    `terminated` and the field `terminated_at`. A report of this status sets `last_update` to the
    same time.
    """
    status = entry.get("status")
    if status != "terminated" or "terminated_at" not in entry:
        return status in ("completed", "failed", "error", "terminated")
    return was_counted(entry) or entry["terminated_at"] == entry.get("last_update")


def was_counted(entry: Json) -> bool:
    """Returns whether the orchestrator certainly counted an end of this agent.

    The orchestrator cleans up after exactly the reports that it counts. If the agent works again,
    the orchestrator counts its next end, too.
    """
    return not _CLEANED_UP.isdisjoint(entry)


_CLEANED_UP = frozenset({"auto_cleanup_timestamp", "auto_cleanup_result", "auto_cleanup_error"})


def count_completed(registry: Json) -> int:
    """Returns the likeliest value of `completed_count` that the orchestrator would write."""
    return sum(ended_by_itself(entry) for _, entry in agent_entries(registry))


def completed_range(registry: Json) -> tuple[int, float]:
    """Returns the least and the greatest possible value of `completed_count`.

    The least value has only these agents:

    - Agents with the status `completed`, as the functions ``atomic_*`` count.
    - Not agents whose report of this status the orchestrator did not count, because their status
      was not active before.

    The greatest value has all agents that may have reported an end. It is infinite if the
    orchestrator counted an end (`was_counted`), because the agent may have ended several times.
    """
    least = 0
    most: float = 0
    for _, entry in agent_entries(registry):
        own_least, own_most = completions_of(entry)
        least += own_least
        most += own_most
    return least, most


def completions_of(entry: Json) -> tuple[int, float]:
    """Returns how much one agent adds to the two values of `completed_range`."""
    validated = "completion_validation" in entry
    least = is_completed(entry) and (was_counted(entry) or not validated)
    if was_counted(entry):
        return int(least), math.inf
    # An agent that works again may have reported an end before.
    return int(least), int(ended_by_itself(entry) or validated or "completed_at" in entry)


def is_count(value: object) -> TypeGuard[int]:
    """Returns whether a value is an integer, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _shift(registry: Json, counter: str, by: int, recount: Callable[[Json], int]) -> None:
    """Adds `by` to a counter. A counter that is not an integer is set to `recount(registry)`.

    Call this function after the change of the agents, because `recount` must see the change.
    """
    value = registry.get(counter)
    if not is_count(value):
        registry[counter] = recount(registry)
    elif by:
        registry[counter] = max(0, value + by)


def count_all(registry: Json) -> int:
    """Returns the number of agents in the registry."""
    return len(agent_entries(registry))


def is_reference(task: object) -> bool:
    """Returns whether a task's entry in a global registry names a task of another workspace."""
    return isinstance(task, Mapping) and bool(task.get("cross_project_reference"))


def count_tasks(registry: Json) -> dict[str, int]:
    """Returns the correct values of a global registry's task counters, by counter name.

    A task without a status counts as active. If any task has an unknown status, the result has no
    `active_tasks`. Tasks of other workspaces (`is_reference`) are not counted.
    """
    listed = registry.get("tasks")
    if not isinstance(listed, dict):
        return {}
    tasks = [task for task in listed.values() if not is_reference(task)]
    counted = {"total_tasks": len(tasks)}
    statuses = [task.get("status") if isinstance(task, dict) else None for task in tasks]
    terminal = [
        is_terminal_task(status) if isinstance(status, str) else False for status in statuses
    ]
    if None not in terminal:
        counted["active_tasks"] = terminal.count(False)
    return counted


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
    was_right = _is_completed_right(registry)
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
    _count(registry, -active, -completed, was_right)
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
    was_right = _is_completed_right(registry)
    active = completed = 0
    for entry in entries:
        active -= counts_as_active(registry, entry)
        completed -= counts(entry)
        entry["status"] = status
        entry.update(fields)
        active += is_active(status)
        completed += counts(entry)
    _count(registry, active, completed, was_right)
    return StatusChange(agent_id, previous if isinstance(previous, str) else None, status)


def _is_completed_right(registry: Json) -> bool:
    counter = counter_names(registry).completed
    if counter is None:
        return False
    value = registry.get(counter)
    least, most = completed_range(registry)
    return is_count(value) and least <= value <= most


def _count(registry: Json, active: int, completed: int, was_right: bool) -> None:
    names = counter_names(registry)
    _shift(registry, names.active, active, count_active)
    if names.completed is None:
        return
    _shift(registry, names.completed, completed, count_completed)
    if was_right:
        # The counter may not have included an agent that failed.
        least, most = completed_range(registry)
        registry[names.completed] = min(max(registry[names.completed], least), most)


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
    may_end: Callable[[Json, Json], bool] = counts_as_active,
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
    was_right = _is_completed_right(registry)
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
        _count(registry, active, completed, was_right)
    return changes
