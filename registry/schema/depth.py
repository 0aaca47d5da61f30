"""Finds the depth of an agent below the orchestrator. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from registry.schema.edits import is_count
from registry.storage.codec import Json


def depth_below(by_id: Mapping[str, Json], parent: object) -> int:
    """Returns the depth of an agent with this parent; 1 if the parent is not an agent.

    The depth is counted from the nearest ancestor whose entry has a `depth` field.

    Args:
        by_id: Maps the id of each agent in the registry to its entry.
        parent: The `parent` field of the agent.
    """
    depth, above, seen = 1, parent, set[str]()
    while isinstance(above, str) and above in by_id and above not in seen:
        stated = by_id[above].get("depth")
        if is_count(stated) and stated > 0:
            return depth + stated
        seen.add(above)
        depth += 1
        above = by_id[above].get("parent")
    return depth
