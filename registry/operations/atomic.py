"""Atomic operations: each function reads, changes and writes one registry under the file's lock.

Every function accepts a task's registry or a global registry, and recognizes the kind of registry
by the fields in the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.errors import WrongShapeError
from registry.schema import counters, edits
from registry.schema.arguments import RegistryPath, distinct_ids, timestamp
from registry.storage.codec import plain
from registry.storage.locked_file import Edit, edited

_log = logging.getLogger(__name__)


def atomic_add_agent(
    registry_path: RegistryPath, agent_data: Mapping[str, Any], parent: str
) -> None:
    """Adds an agent to a registry, and adapts the counters.

    In a task's registry, this function changes:

    - `agents`: the agent is appended,
    - `total_spawned`: plus 1,
    - `active_count`: plus 1 if the agent's status is active,
    - `agent_hierarchy[parent]`: the agent's id is appended.

    In a global registry, the function changes `agents`, `total_agents_spawned` and
    `active_agents`.

    Args:
        registry_path: A task's registry or a global registry.
        agent_data: The agent's fields, which are written unchanged; `id` is required.
        parent: The id of the agent that started this agent, or "orchestrator".

    Raises:
        DuplicateAgentError: The registry already has this id; nothing was changed.
        WrongShapeError: The id is missing, or a field of the registry has the wrong type.
        TypeError, ValueError: `agent_data` contains a value that JSON cannot represent.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    path = Path(registry_path)
    agent = plain(agent_data)

    def add(edit: Edit) -> Any:
        edits.add_agent(edit.registry, agent, parent)
        edit.changed = True
        return edit.registry[counters.counter_names(edit.registry).total]

    total = edited(path, add)
    _log.info("Atomically added agent %s to %s (%s agents in all)", agent["id"], path, total)


def atomic_update_agent_status(
    registry_path: RegistryPath, agent_id: str, status: str, **extra_fields: Any
) -> dict[str, Any]:
    """Sets an agent's status, `last_update` and further fields, and adapts the counters.

    `completed_count` counts only agents with the status `completed`, not agents that failed.

    Args:
        registry_path: A task's registry or a global registry.
        agent_id: The id of the agent.
        status: The new status.
        **extra_fields: Further fields to set, for example ``progress=40``.

    Returns:
        `success` (True), `agent_id`, `previous_status`, `new_status`, and the counters after
        the change: `active_count`, `completed_count` (None in a global registry) and
        `total_spawned`.

    Raises:
        ValueError: The registry has no such agent, or the status is not a string.
        TypeError, ValueError: A field has a value that JSON cannot represent.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    path = Path(registry_path)
    fields = plain({"last_update": timestamp(), **extra_fields})

    def update(edit: Edit) -> dict[str, Any]:
        change = edits.set_status(
            edit.registry, agent_id, status, fields, counts=counters.is_completed
        )
        edit.changed = True
        names = counters.counter_names(edit.registry)
        return {
            "success": True,
            "agent_id": agent_id,
            "previous_status": change.previous,
            "new_status": status,
            "active_count": edit.registry.get(names.active),
            "completed_count": edit.registry.get(names.completed) if names.completed else None,
            "total_spawned": edit.registry.get(names.total),
        }

    result = edited(path, update)
    _log.info("Atomically updated agent %s: %s -> %s", agent_id, result["previous_status"], status)
    return result


def atomic_increment_counts(registry_path: RegistryPath, active: int = 0, total: int = 0) -> None:
    """Adds `active` to the counter of active agents, and `total` to the counter of all agents.

    Both numbers may be negative. A counter never becomes less than 0.

    Raises:
        ValueError: A number is not an integer.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """

    def shift(edit: Edit) -> None:
        edits.shift_counters(edit.registry, active=active, total=total)
        edit.changed = bool(active or total)

    edited(Path(registry_path), shift)
    message = "Atomically added %+d to the active agents and %+d to all agents in %s"
    _log.info(message, active, total, registry_path)


def atomic_decrement_active_count(registry_path: RegistryPath, amount: int = 1) -> None:
    """Subtracts a number from the counter of active agents; the result is at least 0.

    Raises:
        ValueError: The amount is not an integer of at least 0.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    if not counters.is_count(amount) or amount < 0:
        raise WrongShapeError("amount", "must be an integer of at least 0")
    atomic_increment_counts(registry_path, active=-amount)


def atomic_mark_agents_completed(registry_path: RegistryPath, agent_ids: Iterable[str]) -> int:
    """Gives the status `completed` to agents that are active.

    Sets `status` and `completed_at`, and adapts the counters. Agents that are not active, or that
    the registry does not list, are not changed. So a second call returns 0.

    Returns:
        The number of changed entries.

    Raises:
        TypeError: `agent_ids` is a single string, or contains an object that is not a string.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    path = Path(registry_path)
    ids = distinct_ids(agent_ids)

    def complete(edit: Edit) -> int:
        done = edits.finish(edit.registry, ids, "completed", {"completed_at": timestamp()})
        edit.changed = bool(done)
        return len(done)

    count = edited(path, complete)
    _log.info("Atomically marked %d agents completed in %s", count, path)
    return count
