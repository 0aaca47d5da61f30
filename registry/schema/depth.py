"""Finds the depth of agents, and missing ancestors, from the `parent` fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from registry.schema.counters import is_count
from registry.storage.codec import Json


def depth_below(by_id: Mapping[str, Json], parent: object) -> int:
    """Returns the depth of an agent with this parent; 1 if the parent is not an agent.

    The depth is counted from the nearest ancestor whose entry has a `depth` field.

    Args:
        by_id: Maps the id of each agent in the registry to its entry.
        parent: The `parent` field of the agent.
    """
    return Ancestors(by_id).depth_below(parent)


class Ancestors:
    """Follows the `parent` fields of agents, and remembers the results.

    All calls together follow each field only a few times, even if the agents form a long chain.

    Args:
        by_id: Maps the id of each agent in the registry to its entry. Agents may be added, but not
            changed. Call `forget` after each addition.
    """

    def __init__(self, by_id: Mapping[str, Json]) -> None:
        self._by_id = by_id
        # The depth below each agent, and the missing agent on which this depth depends.
        self._depths: dict[str, tuple[int, str | None]] = {}
        self._dependent: dict[str, list[str]] = {}
        self._beyond: dict[str, str | None] = {}

    def forget(self, added: str) -> None:
        """Forgets the results that depend on the fact that an agent was missing."""
        for agent_id in self._dependent.pop(added, ()):
            del self._depths[agent_id]

    def depth_below(self, parent: object) -> int:
        """See the function `depth_below`."""
        path: dict[str, int] = {}
        above = parent
        while isinstance(above, str) and above in self._by_id and above not in path:
            if above in self._depths:
                break
            stated = self._by_id[above].get("depth")
            if is_count(stated) and stated > 0:
                self._depths[above] = stated + 1, None
                break
            path[above] = len(path)
            above = self._by_id[above].get("parent")
        depth, missing, steps = 1, None, list(path)
        if isinstance(above, str):
            if above in path:
                steps, loop = steps[: path[above]], steps[path[above] :]
                depth += len(loop)
                self._depths |= dict.fromkeys(loop, (depth, None))
            else:
                depth, missing = self._depths.get(above, (1, above))
        for step in reversed(steps):
            depth += 1
            self._depths[step] = depth, missing
        if missing is not None:
            self._dependent.setdefault(missing, []).extend(steps)
        return depth

    def missing_above(self, agent_id: object) -> str | None:
        """Returns the first ancestor of an agent, or the agent itself, that is not in `by_id`.

        The result is None if the last ancestor names no parent, or if the ancestors form a loop.
        """
        path: dict[str, None] = {}
        above = agent_id
        while isinstance(above, str) and above in self._by_id:
            if above in path:
                above = None
                break
            path[above] = None
            if above in self._beyond:
                above = self._beyond[above]
            else:
                above = self._by_id[above].get("parent")
        top = above if isinstance(above, str) else None
        self._beyond |= dict.fromkeys(path, top)
        return top
