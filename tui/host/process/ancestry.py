"""Finds ancestors and descendants among processes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tui.host.process.procfs import Stat


def children_of(stats: Mapping[int, Stat]) -> Mapping[int, Sequence[int]]:
    """Maps the pid of each process that has children to the pids of its children."""
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    return children


def with_descendants(
    roots: Iterable[int],
    children: Mapping[int, Sequence[int]],
    is_spared: Callable[[int], bool] = lambda _: False,
) -> set[int]:
    """Returns processes with all their descendants.

    Args:
        roots: The pids of the processes.
        children: The result of `children_of`.
        is_spared: Returns whether the search skips a process and does not go on to the children of
            this process.
    """
    pids = {pid for pid in roots if not is_spared(pid)}
    todo = list(pids)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in pids and not is_spared(child):
                pids.add(child)
                todo.append(child)
    return pids


def servers_above(stats: Mapping[int, Stat], servers: Collection[int]) -> dict[int, int]:
    """Maps each process that descends from tmux servers to the nearest of these servers."""
    above: dict[int, int | None] = {}
    for pid in stats:
        path = []
        while pid not in above and pid in stats:
            # Mark the pid as visited: pids that were reused during the scan may form a cycle.
            above[pid] = None
            path.append(pid)
            pid = stats[pid].parent
            if pid in servers:
                break
        server = pid if pid in servers and path else above.get(pid)
        above |= dict.fromkeys(path, server)
    return {pid: server for pid, server in above.items() if server is not None}


def line_of(pid: int, stats: Mapping[int, Stat]) -> set[int]:
    """Returns the pids of a process and its ancestors."""
    line = {pid}
    while (stat := stats.get(pid)) is not None and stat.parent not in line:
        pid = stat.parent
        line.add(pid)
    return line


def child_above(pid: int, parent: int, stats: Mapping[int, Stat]) -> int | None:
    """Returns the ancestor of a process that is a child of `parent`.

    The result may be the process itself.

    Args:
        pid: The process.
        parent: The pid of the parent.
        stats: Maps pids to the data of the processes.

    Returns:
        The pid; None if the process does not descend from `parent`.
    """
    visited: set[int] = set()
    while (stat := stats.get(pid)) is not None and pid not in visited:
        if stat.parent == parent:
            return pid
        visited.add(pid)
        pid = stat.parent
    return None
