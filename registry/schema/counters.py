"""The counters of a registry: their names, their correct values, and wrong values. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from registry.dataclass import dataclass
from registry.schema.records import (
    agent_entries,
    counts_as_active,
    is_certainly_active,
    is_global,
)
from registry.schema.statuses import is_terminal_task
from registry.storage.codec import Json


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


def active_range(registry: Json) -> tuple[int, int]:
    """Returns the least and the greatest correct value of the counter of active agents.

    The two values differ by the agents with an unknown status: when the orchestrator repairs the
    counter, it leaves them out.
    """
    least = sum(is_certainly_active(registry, entry) for _, entry in agent_entries(registry))
    return least, count_active(registry)


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

    The least value counts the agents with the status `completed`, as the functions ``atomic_*``
    do. Exception: the orchestrator does not count a report of an agent whose status was not active
    before. Such an agent is left out.

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


def is_within(value: object, least: int, most: float) -> TypeGuard[int]:
    """Returns whether a value is an integer in a range of correct values of a counter."""
    return is_count(value) and least <= value <= most


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


@dataclass(frozen=True, slots=True)
class CounterDrift:
    """A counter whose value is wrong.

    Attributes:
        counter: The name of the counter.
        written: The value in the file, which may have any type.
        counted: The correct value.
    """

    counter: str
    written: Any
    counted: int


def counter_drifts(registry: Json) -> tuple[CounterDrift, ...]:
    """Returns the counters of a registry that have a wrong value, except the counters of tasks.

    Every value in the ranges `active_range` and `completed_range` is correct.

    Args:
        registry: A task's registry or the global registry, decoded and checked by
            `edits.check_agents`.
    """
    names = counter_names(registry)
    least, active = active_range(registry)
    total = count_all(registry)
    ranges: list[tuple[str, int, float, int]] = [
        (names.active, least, active, active),
        (names.total, total, total, total),
    ]
    if names.completed is not None:
        fewest, most = completed_range(registry)
        ranges.append((names.completed, fewest, most, count_completed(registry)))
    return tuple(
        CounterDrift(counter, registry.get(counter), count)
        for counter, low, high, count in ranges
        if not is_within(registry.get(counter), low, high)
    )
