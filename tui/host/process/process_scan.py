"""Scans all processes in /proc. Linux only."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

from registry.dataclass import replace
from tui.host.process import descriptors, pane_environment, procfs
from tui.host.process.ancestry import children_of, line_of, servers_above
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_look import Look
from tui.host.process.procfs import Stat
from tui.host.process.server_processes import (
    Listens,
    OrderOf,
    UsersOf,
    naming_former,
    servers_among,
)


class Looker:
    """Scans all processes repeatedly. Not thread-safe.

    The environment of a process is read only once for each program that the process runs. So the
    `Looker` does not notice that a process overwrites its environment in place.
    """

    def __init__(self) -> None:
        self._environments: dict[object, PaneEnvironment | None] = {}

    def look(self) -> Look:
        """Scans all processes.

        Raises:
            OSError: The processes cannot be listed.
        """
        stats = procfs.all_stats()
        before, self._environments = self._environments, {}
        panes: dict[int, PaneEnvironment] = {}
        unread: set[int] = set()
        hidden: set[int] = set()
        for pid, stat in stats.items():
            program = pid, stat.started, stat.name, stat.environment
            pane = before[program] if program in before else pane_environment.pane_said_by(pid)
            self._environments[program] = pane
            if pane is pane_environment.UNREAD:
                unread.add(pid)
            elif pane is pane_environment.HIDDEN:
                hidden.add(pid)
            elif pane is not None:
                panes[pid] = pane
        users_of, listens = functools.cache(procfs.users_of), functools.cache(descriptors.listens)
        order_of = functools.cache(procfs.session_order_of)
        now = look_at(stats, panes, users_of, listens, order_of)
        return replace(now, unread=frozenset(unread), hidden=frozenset(hidden))


def look() -> Look:
    """Scans all processes.

    Raises:
        OSError: The processes cannot be listed, or /proc belongs to another PID namespace.
    """
    if not procfs.numbers_are_ours():
        raise OSError("/proc belongs to another PID namespace than muster")
    return Looker().look()


def look_at(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    users_of: UsersOf,
    listens: Listens,
    order_of: OrderOf = lambda _: None,
) -> Look:
    """Makes a `Look` from the data of all processes. Pure.

    Args:
        stats: See `Look`.
        panes: See `Look`.
        users_of: See `Look`.
        listens: See `Look`.
        order_of: See `Look`.
    """
    among = servers_among(stats, panes, users_of, listens)
    servers = among.all
    led: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        led.setdefault(stat.session, []).append(pid)
    former = naming_former(stats, panes, servers, led, order_of)
    runs_on = servers_above(stats, servers)
    saying: dict[tuple[int, str], list[int]] = {}
    for pid, pane in panes.items():
        for name in (pane.pane, pane.session):
            saying.setdefault((pane.server_pid, name), []).append(pid)
        # A process that init adopted still names its server.
        if pid not in runs_on and pane.server_pid in servers and pid not in former:
            runs_on[pid] = pane.server_pid
    ourselves = frozenset(line_of(os.getpid(), stats))
    return Look(
        stats,
        panes,
        servers,
        among.sure,
        former,
        runs_on,
        ourselves,
        users_of,
        listens,
        children_of(stats),
        led,
        saying,
        order_of,
    )
