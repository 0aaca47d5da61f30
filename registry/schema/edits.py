"""The changes that can be made to a decoded registry. Pure: no file, no clock.

One set of functions serves a task's registry and the global one; they differ
only in what their counters are called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from registry.errors import AgentNotFoundError, DuplicateAgentError, WrongShapeError
from registry.schema.records import (
    ACTIVE_STATUSES,
    ORCHESTRATOR,
    TERMINAL_STATUSES,
    agent_entries,
    counts_as_active,
    is_active,
    is_global,
)
from registry.storage.codec import Json, kind_of


@dataclass(frozen=True, slots=True)
class CounterNames:
    """The names of a registry's counters.

    Attributes:
        completed: None where the registry does not count completed agents.
    """

    active: str
    total: str
    completed: str | None


TASK_COUNTERS = CounterNames("active_count", "total_spawned", "completed_count")
GLOBAL_COUNTERS = CounterNames("active_agents", "total_agents_spawned", None)


def counter_names(registry: Json) -> CounterNames:
    """The names of this registry's counters."""
    return GLOBAL_COUNTERS if is_global(registry) else TASK_COUNTERS


def count_active(registry: Json) -> int:
    """How many agents of the registry are active."""
    return sum(counts_as_active(registry, entry) for _, entry in agent_entries(registry))


def count_completed(registry: Json) -> int:
    """How many agents of the registry are completed."""
    return sum(entry.get("status") == "completed" for _, entry in agent_entries(registry))


def is_count(value: object) -> TypeGuard[int]:
    """Whether a counter's value can be counted on with."""
    return isinstance(value, int) and not isinstance(value, bool)


def _shift(registry: Json, counter: str, by: int, recount: Callable[[Json], int]) -> None:
    """Moves a counter; one that is missing or no number is counted anew instead.

    Called after the change that it counts.
    """
    value = registry.get(counter)
    if not is_count(value):
        registry[counter] = recount(registry)
    elif by:
        registry[counter] = max(0, value + by)


def count_all(registry: Json) -> int:
    """How many agents the registry lists."""
    return len(agent_entries(registry))


def _is_over(status: str) -> bool | None:
    """Whether a task of this status is over; None if nobody can tell."""
    word = status.casefold()
    if word in TERMINAL_STATUSES:
        return True
    return False if word in ACTIVE_STATUSES or word in _TASK_AT_WORK else None


_TASK_AT_WORK = frozenset({"initialized", "active"})


def count_tasks(registry: Json) -> dict[str, int]:
    """What a global registry's counters of tasks should say.

    One that nobody can tell is left out: of active tasks, where one has a status that
    is no known word. (A task that has no status is at work.)
    """
    tasks = registry.get("tasks")
    if not isinstance(tasks, dict):
        return {}
    counted = {"total_tasks": len(tasks)}
    statuses = [each.get("status") if isinstance(each, dict) else None for each in tasks.values()]
    over = [_is_over(each) if isinstance(each, str) else False for each in statuses]
    if None not in over:
        counted["active_tasks"] = over.count(False)
    return counted


def check_task(registry: Json) -> None:
    """Makes sure that this is no global registry.

    Raises:
        WrongShapeError: It is one.
    """
    if is_global(registry):
        raise WrongShapeError(
            "task_id", "is missing, and this is a global registry; give the task's own"
        )


def check_global(registry: Json) -> None:
    """Makes sure that this is a global registry.

    Raises:
        WrongShapeError: It is another, or none.
    """
    if "task_id" in registry:
        raise WrongShapeError("task_id", "is there: this is a task's registry, no global one")
    if not is_global(registry):
        raise WrongShapeError("tasks", "is missing: this is no global registry")


def check_agents(registry: Json) -> None:
    """Makes sure that every agent can be counted.

    Raises:
        WrongShapeError: `agents` is no collection of objects.
    """
    agents = registry.get("agents", [])
    if not isinstance(agents, (list, dict)):
        raise WrongShapeError(
            "agents",
            f"is {kind_of(agents)}, not a list or an object",
        )
    for each in agents.values() if isinstance(agents, dict) else agents:
        if not isinstance(each, dict):
            raise WrongShapeError("agents", f"holds {kind_of(each)}, not an object")


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


def _is_key(registry: Json, agent_id: str) -> bool:
    """Whether adding would overwrite a key of `agents`, be it another agent's or no agent's."""
    agents = registry.get("agents")
    return isinstance(agents, dict) and agent_id in agents


def add_agent(registry: Json, agent: Mapping[str, Any], parent: str) -> None:
    """Appends an agent and counts it; in a task's registry also as its parent's child.

    Raises:
        DuplicateAgentError: The id is there already; nothing was changed.
        WrongShapeError: The agent has no id, or `agents` or `agent_hierarchy`
            cannot take one; nothing was changed.
    """
    agent_id = agent.get("id")
    if not isinstance(agent_id, str) or not agent_id:
        raise WrongShapeError("id", "of the agent's data must be a string that is not empty")
    if not isinstance(parent, str):
        raise WrongShapeError("parent", "must be a string")
    if agent_id == ORCHESTRATOR:
        raise WrongShapeError("id", f"{ORCHESTRATOR!r} stands for whoever has no agent above it")
    if any(agent_id == each for each, _ in agent_entries(registry)) or _is_key(registry, agent_id):
        raise DuplicateAgentError(agent_id)
    agents = _place_to_append(registry)
    if not is_global(registry):
        _append_child(registry, parent, agent_id)
    registry["agents"] = agents
    entry = dict(agent)
    if isinstance(agents, dict):
        agents[agent_id] = entry
    else:
        agents.append(entry)
    names = counter_names(registry)
    _shift(registry, names.total, 1, count_all)
    _shift(registry, names.active, int(counts_as_active(registry, entry)), count_active)
    if names.completed is not None and entry.get("status") == "completed":
        _shift(registry, names.completed, 1, count_completed)


def _entries(registry: Json, agent_id: str, is_meant: Callable[[Json], bool]) -> list[Json]:
    return [
        entry for each, entry in agent_entries(registry) if each == agent_id and is_meant(entry)
    ]


def remove_agent(
    registry: Json, agent_id: str, is_meant: Callable[[Json], bool] = lambda _: True
) -> bool:
    """Takes an agent out again, with what it added to counters and hierarchy.

    Children that it has by now keep it as their parent.

    Args:
        registry: The decoded registry; changed in place.
        agent_id: Which agent.
        is_meant: Which of the entries of that id.

    Returns:
        Whether it was there.
    """
    entries = _entries(registry, agent_id, is_meant)
    if not entries:
        return False
    active = sum(counts_as_active(registry, entry) for entry in entries)
    completed = sum(entry.get("status") == "completed" for entry in entries)
    take_out(registry, entries)
    hierarchy = registry.get("agent_hierarchy")
    if isinstance(hierarchy, dict):
        for parent, children in list(hierarchy.items()):
            if isinstance(children, list) and agent_id in children:
                children.remove(agent_id)
                if not children:
                    del hierarchy[parent]
    _shift(registry, counter_names(registry).total, -len(entries), count_all)
    _count(registry, -active, -completed)
    return True


def take_out(registry: Json, entries: Collection[Json]) -> None:
    """Takes these very entries out of `agents`, and nothing else with them."""

    def stays(value: object) -> bool:
        return all(value is not each for each in entries)

    agents = registry["agents"]
    if isinstance(agents, dict):
        registry["agents"] = {key: each for key, each in agents.items() if stays(each)}
    else:
        registry["agents"] = [each for each in agents if stays(each)]


def list_task(global_: Json, task_id: str, fields: Mapping[str, Any]) -> bool:
    """Lists a task in a global registry and counts it, unless it is listed.

    Returns:
        Whether anything was changed.

    Raises:
        WrongShapeError: `tasks` is no object; nothing was changed.
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
    for counter in ("total_tasks", "active_tasks"):
        _shift(global_, counter, 1, lambda registry: len(registry["tasks"]))
    return True


def _append_child(registry: Json, parent: str, agent_id: str) -> None:
    hierarchy = registry.get("agent_hierarchy")
    if hierarchy is None:
        hierarchy = {}
    if not isinstance(hierarchy, dict):
        raise WrongShapeError("agent_hierarchy", "is not an object")
    children = hierarchy.get(parent)
    if children is None:
        children = []
    if not isinstance(children, list):
        raise WrongShapeError(f"agent_hierarchy[{parent}]", "is not a list")
    if agent_id not in children:
        children.append(agent_id)
    hierarchy[parent] = children
    registry["agent_hierarchy"] = hierarchy


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One agent's change of status.

    Attributes:
        previous: The status it had, or None where the entry had none.
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
) -> StatusChange:
    """Sets an agent's status and further fields, and moves the counters with it.

    An id that is there more than once is changed everywhere.

    Args:
        registry: The decoded registry; changed in place.
        agent_id: Which agent.
        status: Its status from now on.
        fields: Further fields of its entry.
        is_meant: Which of the entries of that id.

    Raises:
        AgentNotFoundError: The registry has no such agent.
        WrongShapeError: The status is no string.
        ValueError: `fields` would change the agent's id.
    """
    if not isinstance(status, str):
        raise WrongShapeError("status", "must be a string")
    if "id" in fields:
        raise ValueError("an agent's id cannot be changed")
    entries = _entries(registry, agent_id, is_meant)
    if not entries:
        raise AgentNotFoundError(agent_id)
    previous = entries[0].get("status")
    active = completed = 0
    for entry in entries:
        active -= counts_as_active(registry, entry)
        completed -= entry.get("status") == "completed"
        entry["status"] = status
        entry.update(fields)
        active += is_active(status)
        completed += status == "completed"
    _count(registry, active, completed)
    return StatusChange(agent_id, previous if isinstance(previous, str) else None, status)


def _count(registry: Json, active: int, completed: int) -> None:
    names = counter_names(registry)
    _shift(registry, names.active, active, count_active)
    if names.completed is not None:
        _shift(registry, names.completed, completed, count_completed)


def shift_counters(registry: Json, *, active: int = 0, total: int = 0) -> None:
    """Moves the counters of active and of all agents, never below 0.

    A counter that is missing or no number counts as 0.

    Raises:
        WrongShapeError: A number to add is not a whole one.
    """
    for name, by in (("active", active), ("total", total)):
        if not is_count(by):
            raise WrongShapeError(name, "to be added must be a whole number")
    names = counter_names(registry)
    for counter, by in ((names.active, active), (names.total, total)):
        if by:
            value = registry.get(counter)
            registry[counter] = max(0, (value if is_count(value) else 0) + by)


End = tuple[str, Mapping[str, Any]]
"""A terminal status, and the further fields that go with it."""


def finish(
    registry: Json, agent_ids: Collection[str], status: str, fields: Mapping[str, Any]
) -> list[StatusChange]:
    """Gives agents that are active a terminal status; all others stay as they are.

    Returns:
        What was changed, in file order, one for each entry.
    """
    wanted = frozenset(agent_ids)
    return finish_each(registry, lambda id_, _: (status, fields) if id_ in wanted else None)


def finish_each(
    registry: Json, end_of: Callable[[str | None, Json], End | None]
) -> list[StatusChange]:
    """As `finish`, each agent in its own way.

    Args:
        registry: The decoded registry; changed in place.
        end_of: Given an agent's id and entry, how it ends; None leaves it alone.
    """
    changes = []
    completed = 0
    for agent_id, entry in agent_entries(registry):
        end = end_of(agent_id, entry) if counts_as_active(registry, entry) else None
        if end is None:
            continue
        status, fields = end
        previous = entry.get("status")
        entry["status"] = status
        entry.update(fields)
        completed += status == "completed"
        changes.append(StatusChange(agent_id or "", previous, status))
    if changes:
        _count(registry, -len(changes), completed)
    return changes
