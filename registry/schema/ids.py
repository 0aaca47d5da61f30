"""Who an agent is: unique ids, and whether one of its kind is there already.

Pure functions over decoded registries, to be called where the caller holds
them, for example inside `LockedRegistryFile`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime

from registry.schema.records import ACTIVE_STATUSES, agent_entries
from registry.storage.codec import Json
from registry.text import quoted_name


def find_existing_agent(
    task_id: str,
    agent_type: str,
    registry: Json,
    status_filter: Collection[str] = ACTIVE_STATUSES,
) -> Json | None:
    """Finds an agent of a type that is at work on a task.

    Args:
        task_id: The task; a registry of another task has none to offer.
        agent_type: The type that is about to be deployed.
        registry: The task's decoded registry.
        status_filter: Statuses that count; the active ones unless told otherwise.

    Returns:
        The agent's entry in `registry` (not a copy), or None.
    """
    if isinstance(status_filter, str):
        raise TypeError(f"status_filter must be a collection, not the string {status_filter!r}")
    if registry.get("task_id", task_id) != task_id:
        return None
    for _, entry in agent_entries(registry):
        status = entry.get("status")
        if entry.get("type") == agent_type and isinstance(status, str) and status in status_filter:
            return entry
    return None


def verify_agent_id_unique(agent_id: str, registry: Json, global_registry: Json) -> bool:
    """Whether no agent, nor a key of `agents`, of the two registries is this id."""
    for where in (registry, global_registry):
        agents = where.get("agents")
        if isinstance(agents, dict) and agent_id in agents:
            return False
        if any(agent_id == each for each, _ in agent_entries(where)):
            return False
    return True


def generate_unique_agent_id(
    agent_type: str, registry: Json, global_registry: Json, max_attempts: int = 10
) -> str:
    """Makes an id ``type-HHMMSS-6 hex`` that neither registry has.

    Args:
        agent_type: Becomes the first part, as it is.
        registry: The task's decoded registry.
        global_registry: The workspace's.
        max_attempts: How often to try again on a clash.

    Raises:
        RuntimeError: Every attempt clashed.
    """
    for _ in range(max_attempts):
        clock = datetime.now().strftime("%H%M%S")
        agent_id = f"{agent_type}-{clock}-{secrets.token_hex(3)}"
        if verify_agent_id_unique(agent_id, registry, global_registry):
            return agent_id
    raise RuntimeError(
        f"no unique id for type {quoted_name(agent_type)} in {max_attempts} attempts"
    )
