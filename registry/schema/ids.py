"""Creates unique agent ids, and finds an active agent of a type. Pure.

Call these functions while you hold the lock of the registries, for example inside
`LockedRegistryFile`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime

from registry.schema.records import agent_entries
from registry.schema.statuses import ACTIVE_STATUSES
from registry.storage.codec import Json
from registry.text import quoted_name


def find_existing_agent(
    task_id: str,
    agent_type: str,
    registry: Json,
    status_filter: Collection[str] = ACTIVE_STATUSES,
) -> Json | None:
    """Finds an active agent of a type in a task's registry.

    Args:
        task_id: The id of the task. If the registry belongs to another task, the result is None.
        agent_type: The type of the agent.
        registry: The task's decoded registry.
        status_filter: The accepted statuses; by default the active ones.

    Returns:
        The agent's entry in `registry` (not a copy); None if there is no such agent.
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
    """Returns whether an id is unused.

    An id is used if an agent in one of the registries has this id, or if `agents` in one of them
    has the id as a key.
    """
    for decoded in (registry, global_registry):
        agents = decoded.get("agents")
        if isinstance(agents, dict) and agent_id in agents:
            return False
        if any(agent_id == used for used, _ in agent_entries(decoded)):
            return False
    return True


def generate_unique_agent_id(
    agent_type: str, registry: Json, global_registry: Json, max_attempts: int = 10
) -> str:
    """Creates an id that neither registry uses: ``<type>-<HHMMSS>-<6 hex digits>``.

    Args:
        agent_type: The first part of the id, used unchanged.
        registry: The task's decoded registry.
        global_registry: The workspace's global registry, decoded.
        max_attempts: The number of attempts.

    Raises:
        RuntimeError: All ids that were created are already used.
    """
    for _ in range(max_attempts):
        clock = datetime.now().strftime("%H%M%S")
        agent_id = f"{agent_type}-{clock}-{secrets.token_hex(3)}"
        if verify_agent_id_unique(agent_id, registry, global_registry):
            return agent_id
    raise RuntimeError(
        f"cannot create a unique id for type {quoted_name(agent_type)}: "
        f"{max_attempts} attempts failed; try again"
    )
