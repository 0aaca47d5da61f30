"""Decides which processes are tmux servers, and which server a process names. Pure.

The environment of a process in a pane names the tmux server and the pane. This is not a proof,
because the user of the process can set any environment. Also, when a server has ended, another
process may have the pid of this server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from registry.dataclass import dataclass
from tui.host.process.claims import ROOT
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.procfs import INIT, Stat, Users
from tui.host.tmux_types import SERVER_NAME

UsersOf = Callable[[int], Users | None]
"""A function that returns the user ids of a process; None if the process is not visible."""

Listens = Callable[[int], bool | None]
"""A function that returns whether a process listens at a unix socket; None if unknown."""

OrderOf = Callable[[int], int | None]
"""A function that returns a number for the process session of a process; None if unknown.

Later process sessions have greater numbers.
"""

Led = Mapping[int, Sequence[int]]
"""Maps the id of each process session (setsid(2)) to the pids in this process session."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The tmux servers among some processes.

    Attributes:
        all: The pids in `sure`, and the pids of the processes that may be tmux servers.
        sure: The pids of the processes that are certainly tmux servers. Such a process has the
            name of a tmux server, or has a child that proves this (see `proves_server`). The child
            must run as the same user or as root.
    """

    all: frozenset[int]
    sure: frozenset[int]


def is_named_server(stat: Stat) -> bool:
    """Returns whether a process runs and has the name of a tmux server."""
    return stat.name == SERVER_NAME and not stat.is_ended


def proves_server(stat: Stat, named: PaneEnvironment | None, parent: Stat) -> bool:
    """Returns whether a process proves that its parent is a tmux server.

    The environment of the process must name the parent as the server, because a tmux server is the
    parent of the first processes of its panes. The name of the program does not matter. In these
    cases, the process proves nothing:

    - The parent is init, which becomes the parent of every process whose parent has ended.
    - The process is older than the parent, so this parent did not start the process.

    Args:
        stat: The process.
        named: The pane that the environment of the process names, or None.
        parent: The parent of the process.
    """
    names_parent = named is not None and named.server_pid == stat.parent == parent.pid
    return names_parent and parent.pid != INIT and stat.started >= parent.started


def is_of_same_user(child: Users | None, parent: Users | None) -> bool:
    """Returns whether a process runs as the user of its parent, or as root.

    Args:
        child: The users of the process.
        parent: The users of the parent.
    """
    return child is not None and parent is not None and {ROOT, *parent}.issuperset(child)


def servers_among(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    users_of: UsersOf,
    listens: Listens,
) -> Servers:
    """Finds the tmux servers among some processes.

    If only processes of other users name their parent as a server, the parent is a possible server
    (`Servers.all`). But a parent that listens at no socket is not a server.

    Args:
        stats: Maps pids to the data of the processes.
        panes: Maps pids to the panes that the processes name in their environments.
        users_of: See `UsersOf`. Called for few processes.
        listens: See `Listens`. Called for few processes.
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
    """Returns the processes whose environment names an ended server with the pid of a new one.

    Args:
        stats: Maps pids to the data of the processes.
        panes: Maps pids to the panes that the processes name in their environments.
        servers: The pids of the tmux servers.
        led: See `Led`.
        order_of: See `OrderOf`. Called for few processes.
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
    """Returns whether a process names an ended server, and not the present server with this pid.

    This is so if at least one of these is older than the present server:

    - the process, or its process session
    - an ancestor that names the same pid, or the process session of this ancestor

    Args:
        pid: A process that names the pid of a server.
        began: When the present server started, in clock ticks since the boot.
        stats: Maps pids to the data of the processes.
        panes: Maps pids to the panes that the processes name in their environments.
        led: See `Led`.
        order_of: See `OrderOf`. Called for few processes.
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
    """Returns whether the process session of a process is older than a tmux server.

    A process cannot join the process session of an unrelated process. So a process in an older
    process session does not descend from the server.
    """
    session = stats[pid].session
    # A server in the foreground is in the process session of the shell that started the server.
    if server in stats and stats[server].session == session:
        return False
    if any(stats[member].started < began for member in led.get(session, ())):
        return True
    if session in stats:
        return False
    own, other = order_of(pid), order_of(server)
    return own is not None and other is not None and own < other
