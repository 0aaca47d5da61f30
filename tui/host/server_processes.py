"""Which processes are tmux servers, and which server a process names: the one rule. Pure.

A process says in its environment which server and pane it was started in. That is the word of
its user, and the pid of a server that ended may be another process's by now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tui.host.claims import ROOT
from tui.host.procfs import INIT, PaneEnvironment, Stat, Users
from tui.host.tmux_types import SERVER_NAME

UsersOf = Callable[[int], Users | None]
"""Tells a process's users, or None if it is not to be seen."""

Listens = Callable[[int], bool | None]
"""Tells whether a process listens at a unix socket, or None if that cannot be known."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The tmux servers among some processes.

    Attributes:
        all: Those that are tmux servers, or may be.
        sure: Those that are named so, or of which their own user's processes say so.
    """

    all: frozenset[int]
    sure: frozenset[int]


def is_named_server(stat: Stat) -> bool:
    """Whether a process has the name of a tmux server, and runs."""
    return stat.name == SERVER_NAME and not stat.is_ended


def proves_server(stat: Stat, said: PaneEnvironment | None, parent: Stat) -> bool:
    """Whether a process says that its parent is a tmux server, and may know it.

    Whatever its program is called, a server is the parent of its panes. But init is the
    parent of any user's process that lost its own, and a process that is older than its
    parent was given to it.

    Args:
        stat: The process.
        said: What it says.
        parent: Its parent.
    """
    names_parent = said is not None and said.server_pid == stat.parent == parent.pid
    return names_parent and parent.pid != INIT and stat.started >= parent.started


def is_of_same_user(child: Users | None, parent: Users | None) -> bool:
    """Returns whether a process is of the same user as its parent, or of root."""
    return child is not None and parent is not None and {ROOT, *parent}.issuperset(child)


def servers_among(
    stats: Mapping[int, Stat],
    panes: Mapping[int, PaneEnvironment],
    users_of: UsersOf,
    listens: Listens,
) -> Servers:
    """The tmux servers among some processes.

    On the word of another user a process is a server at most if it may listen at a socket,
    as all servers do.

    Args:
        stats: Every process.
        panes: What those that say something of a pane say.
        users_of: Asked of few.
        listens: Asked of few.
    """
    sure = {pid for pid, stat in stats.items() if is_named_server(stat)}
    doubtful: set[int] = set()
    for pid, said in panes.items():
        parent = stats.get(stats[pid].parent)
        if parent is None or parent.pid in sure or not proves_server(stats[pid], said, parent):
            continue
        if is_of_same_user(users_of(pid), users_of(parent.pid)):
            sure.add(parent.pid)
        elif listens(parent.pid) is not False:
            doubtful.add(parent.pid)
    return Servers(frozenset(sure | doubtful), frozenset(sure))


def naming_former(
    stats: Mapping[int, Stat], panes: Mapping[int, PaneEnvironment], servers: Collection[int]
) -> frozenset[int]:
    """The processes that name a former server, whose pid another one has by now.

    Args:
        stats: Every process.
        panes: What those that say something of a pane say.
        servers: The tmux servers.
    """
    return frozenset(
        pid
        for pid, said in panes.items()
        if said.server_pid in servers
        and names_former(pid, stats[said.server_pid].started, stats, panes)
    )


def names_former(
    pid: int, began: int, stats: Mapping[int, Stat], panes: Mapping[int, PaneEnvironment]
) -> bool:
    """Whether a process names a former server, and not the one of the same pid.

    It or an ancestor that says the same began before that one.

    Args:
        pid: A process that names the pid of a server.
        began: When the server began, in ticks since the host was booted.
        stats: Every process.
        panes: What those that say something of a pane say.
    """
    server = panes[pid].server_pid
    passed: set[int] = set()
    while pid in stats and pid not in passed and pid != server:
        passed.add(pid)
        said = panes.get(pid)
        if said is not None and said.server_pid == server and stats[pid].started < began:
            return True
        pid = stats[pid].parent
    return False


def is_socket(said: str, socket: Path) -> bool:
    """Returns whether what a process calls its server's socket may be a socket.

    The same may have been reached by another path. A server that was given a relative one
    tells it like that, and nobody else knows from where.

    Args:
        said: As in ``$TMUX``.
        socket: The socket.
    """
    if not os.path.isabs(said):
        return os.path.basename(said) == socket.name
    return said == os.fspath(socket) or os.path.realpath(said) == os.path.realpath(socket)
