"""The atomic operations: each one locked read-change-write of one file.

Every function takes a task's registry or the global one and tells them apart by
their fields. Nothing here asks tmux or waits for anything but the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.errors import WrongShapeError
from registry.schema import edits
from registry.schema.arguments import RegistryPath, distinct_ids, timestamp
from registry.storage.codec import plain
from registry.storage.locked_file import editing

_log = logging.getLogger(__name__)


def atomic_add_agent(
    registry_path: RegistryPath, agent_data: Mapping[str, Any], parent: str
) -> None:
    """Adds an agent and counts it, in one locked pass.

    Appends to `agents`, adds 1 to `total_spawned`, and to `active_count` if its
    status is active, and puts it under ``agent_hierarchy[parent]``. (In a global
    registry: `total_agents_spawned`, `active_agents`, no hierarchy.)

    Args:
        registry_path: The registry.
        agent_data: The agent's fields; `id` is required. Kept as given.
        parent: The id of the agent that started it, or "orchestrator".

    Raises:
        DuplicateAgentError: The id is there already; nothing was changed.
        WrongShapeError: No id, or the registry's fields cannot take an agent.
        TypeError, ValueError: JSON has no word for something in `agent_data`.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    path = Path(registry_path)
    agent = plain(agent_data)
    with editing(path) as edit:
        edits.add_agent(edit.registry, agent, parent)
        edit.changed = True
        total = edit.registry[edits.counter_names(edit.registry).total]
    _log.info("Atomically added agent %s to %s (%s in all)", agent["id"], path, total)


def atomic_update_agent_status(
    registry_path: RegistryPath, agent_id: str, status: str, **extra_fields: Any
) -> dict[str, Any]:
    """Sets an agent's status, `last_update` and further fields, in one locked pass.

    The counter of active agents falls when an active agent leaves the active
    statuses and rises when it comes back; `completed_count` follows `completed`.

    Args:
        registry_path: The registry.
        agent_id: Which agent.
        status: Its new status.
        **extra_fields: Further fields to set, for example ``progress=40``.

    Returns:
        `success` (True), `agent_id`, `previous_status`, `new_status`,
        `active_count`, `completed_count` (None in a global registry) and
        `total_spawned`, as they are after the change.

    Raises:
        ValueError: The registry has no such agent, or the status is no string.
        TypeError, ValueError: JSON has no word for one of the fields.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    path = Path(registry_path)
    fields = plain({"last_update": timestamp(), **extra_fields})
    with editing(path) as edit:
        change = edits.set_status(edit.registry, agent_id, status, fields)
        edit.changed = True
        names = edits.counter_names(edit.registry)
        result = {
            "success": True,
            "agent_id": agent_id,
            "previous_status": change.previous,
            "new_status": status,
            "active_count": edit.registry.get(names.active),
            "completed_count": edit.registry.get(names.completed) if names.completed else None,
            "total_spawned": edit.registry.get(names.total),
        }
    _log.info("Atomically updated agent %s: %s -> %s", agent_id, change.previous, status)
    return result


def atomic_increment_counts(registry_path: RegistryPath, active: int = 0, total: int = 0) -> None:
    """Adds to the counters of active and of all agents; never below 0.

    Raises:
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    with editing(Path(registry_path)) as edit:
        edits.shift_counters(edit.registry, active=active, total=total)
        edit.changed = bool(active or total)
    _log.info("Atomically added %+d active, %+d total in %s", active, total, registry_path)


def atomic_decrement_active_count(registry_path: RegistryPath, amount: int = 1) -> None:
    """Takes from the counter of active agents; never below 0.

    Raises:
        ValueError: The amount is no whole number, or below 0.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    if not edits.is_count(amount) or amount < 0:
        raise WrongShapeError("amount", "must be a whole number, not below 0")
    atomic_increment_counts(registry_path, active=-amount)


def atomic_mark_agents_completed(registry_path: RegistryPath, agent_ids: Iterable[str]) -> int:
    """Completes all the named agents that are active, in one locked pass.

    Sets `status` and `completed_at` and moves the counters. Agents that are
    not active, or not there, stay as they are: a second call returns 0.

    Returns:
        How many were changed.

    Raises:
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    path = Path(registry_path)
    ids = distinct_ids(agent_ids)
    with editing(path) as edit:
        done = edits.finish(edit.registry, ids, "completed", {"completed_at": timestamp()})
        edit.changed = bool(done)
    _log.info("Atomically marked %d agents completed in %s", len(done), path)
    return len(done)
