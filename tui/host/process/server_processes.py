"""Decides which processes are tmux servers, and which server a process names. Pure.

The environment of a process names the server and the pane where the process was started. The user
of the process chooses that text. The pid of a server that ended may now belong to another process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from registry.dataclass import dataclass
from tui.host.process.claims import ROOT
from tui.host.process.procfs import INIT, PaneEnvironment, Stat, Users
from tui.host.tmux_types import SERVER_NAME

UsersOf = Callable[[int], Users | None]
"""Returns a process's users; None if the process is not visible."""

Listens = Callable[[int], bool | None]
"""Returns whether a process listens at a unix socket; None if that cannot be known."""

OrderOf = Callable[[int], int | None]
"""Returns the number of a process's process session, greater for later sessions; or None."""

Led = Mapping[int, Sequence[int]]
"""The members of each process session."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The tmux servers among some processes.

    Attributes:
        all: The tmux servers, and the processes that may be tmux servers.
        sure: The certain servers. Each server has the name of a tmux server, or a child process
            that names its parent as its server. The child runs as the same user or as root.
    """

    all: frozenset[int]
    sure: frozenset[int]


def is_named_server(stat: Stat) -> bool:
    """Returns whether a process runs and has the name of a tmux server."""
    return stat.name == SERVER_NAME and not stat.is_ended


def proves_server(stat: Stat, named: PaneEnvironment | None, parent: Stat) -> bool:
    """Returns whether a process names its parent as a tmux server, and was started by this parent.

    A tmux server is the parent of the first processes of its panes, whatever its program is
    called. Init is excluded, because it becomes the parent of every process whose parent has
    ended. A process that is older than its parent was not started by this parent.

    Args:
        stat: The process.
        named: The pane that the environment of the process names, or None.
        parent: The parent of the process.
    """
    names_parent = named is not None and named.server_pid == stat.parent == parent.pid
    return names_parent and parent.pid != INIT and stat.started >= parent.started


def is_of_same_user(child: Users | None, parent: Users | None) -> bool:
    """Returns whether a process runs as the user of its parent, or as root."""
    return child is not None and parent is not None and {ROOT, *parent}.issuperset(child)


def servers_among(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    users_of: UsersOf,
    listens: Listens,
) -> Servers:
    """Returns the tmux servers among some processes.

    If only processes of other users name their parent as a server, the parent counts as a possible
    server. A parent that listens at no socket does not count, because every server listens.

    Args:
        stats: Maps pids to the data of every process.
        panes: The pane that each process's environment names, if it names one.
        users_of: Called for few processes.
        listens: Called for few processes.
    """
    sure = {pid for pid, stat in stats.items() if is_named_server(stat)}
    doubtful: set[int] = set()
    for pid, named in panes.items():
        parent = stats.get(stats[pid].parent)
        if parent is None or parent.pid in sure or not proves_server(stats[pid], named, parent):
            continue
        if is_of_same_user(users_of(pid), users_of(parent.pid)):
            sure.add(parent.pid)
        elif listens(parent.pid) is not False:
            doubtful.add(parent.pid)
    return Servers(frozenset(sure | doubtful), frozenset(sure))


def naming_former(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    servers: Collection[int],
    led: Led,
    order_of: OrderOf,
) -> frozenset[int]:
    """Returns the processes that name a former server whose pid a newer server has now.

    Args:
        stats: Maps pids to the data of every process.
        panes: The pane that each process's environment names, if it names one.
        servers: The tmux servers.
        led: The members of each process session.
        order_of: Called for few processes.
    """
    return frozenset(
        pid
        for pid, named in panes.items()
        if named.server_pid in servers
        and names_former(pid, stats[named.server_pid].started, stats, panes, led, order_of)
    )


def names_former(
    pid: int,
    began: int,
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    led: Led,
    order_of: OrderOf,
) -> bool:
    """Returns whether a process names a former server, and not the present server with that pid.

    A process names a former server if one of these is older than the present server: the process,
    its process session, or an ancestor that names the same pid.

    Args:
        pid: A process that names the pid of a server.
        began: When the present server started, in ticks since boot.
        stats: Maps pids to the data of every process.
        panes: The pane that each process's environment names, if it names one.
        led: The members of each process session.
        order_of: Called for few processes.
    """
    server = panes[pid].server_pid
    passed: set[int] = set()
    while pid in stats and pid not in passed and pid != server:
        passed.add(pid)
        named = panes.get(pid)
        if named is not None and named.server_pid == server:
            if stats[pid].started < began:
                return True
            if _is_of_older_session(pid, server, began, stats, led, order_of):
                return True
        pid = stats[pid].parent
    return False


def _is_of_older_session(
    pid: int, server: int, began: int, stats: Mapping[int, Stat], led: Led, order_of: OrderOf
) -> bool:
    """Returns whether a process's process session is older than a tmux server.

    A process cannot join the process session of an unrelated process. So a process of an older
    process session does not descend from the server.
    """
    session = stats[pid].session
    # A server that runs in the foreground has the process session of the shell that started it.
    if server in stats and stats[server].session == session:
        return False
    if any(stats[member].started < began for member in led.get(session, ())):
        return True
    if session in stats:
        return False
    own, other = order_of(pid), order_of(server)
    return own is not None and other is not None and own < other


def is_socket(named: str, socket: Path) -> bool:
    """Returns whether the path in ``$TMUX`` may lead to a socket.

    Two paths may lead to the same socket. If a server was started with a relative path, ``$TMUX``
    contains this relative path. Then the directory to which the path is relative is not known.

    Args:
        named: The path.
        socket: The socket.
    """
    if not os.path.isabs(named):
        return os.path.basename(named) == socket.name
    return named == os.fspath(socket) or os.path.realpath(named) == os.path.realpath(socket)
