"""Finds processes whose pane is gone, and processes that write an agent's output. Linux only.

A process that ignores SIGHUP survives the end of its session, and even of its tmux server. The
environment of such a process still names the pane in which the process was started. Such a process
may also still write the output of its agent. This module finds these processes, of all users, but
does not decide whether an agent is dead.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Set

from registry.dataclass import dataclass
from tui.host.output_writers import Agent, Watched, written_by
from tui.host.process import descriptors, procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_tree import Look, Process, look
from tui.host.process.socket_path import is_socket
from tui.host.tmux_servers import panes_of
from tui.host.tmux_types import TmuxSnapshot

_KTHREADD = 2

FILES_OF_A_USER = 20_000
"""The number of open files that are examined for all processes of one user together.

This limit does not apply to muster's user, root and the user of the tmux server. Without the
limit, other users could stall muster for hours. A process whose files are not all examined may
belong to any agent that started when the process did.
"""


@dataclass(frozen=True, slots=True)
class Stray:
    """A process whose pane is gone, or that writes the output of a watched agent.

    Attributes:
        process: The process.
        users: The ids of the real, effective and saved user of the process.
        began: When the process started, in seconds since the epoch.
        named_pane: The pane that the environment of the process names, if this pane is gone. None
            if the process only writes an agent's output, or if `is_hidden`.
        writes_for: The agents whose output the process certainly writes; see `written_by`.
        may_write_for: These agents, and those whose output the process may write.
        is_former: Whether the process names a tmux server that has ended, and a newer server has
            the pid of that server.
        is_here: Whether the pane belonged to the queried socket; if `is_hidden`, whether the
            process descends from the queried server.
        other_runs: Whether the pane belonged to another tmux server, which still runs.
        is_hidden: Whether no existing pane has the process, and its former pane is not known. Then
            `began` is the earliest start among the process, its ancestors and its process session
            (setsid(2)).
        since: If `is_hidden`, the earliest time at which the process session may have begun.
    """

    process: Process
    users: frozenset[int]
    began: float
    named_pane: PaneEnvironment | None
    writes_for: frozenset[Agent] = frozenset()
    may_write_for: frozenset[Agent] = frozenset()
    is_former: bool = False
    is_here: bool = True
    other_runs: bool = False
    is_hidden: bool = False
    since: float = math.inf

    @property
    def pane(self) -> tuple[int, str]:
        """A key that all processes of the same pane share.

        The key is the pid of the server, and the id of the pane. If the process names a session
        but no pane, the key contains the id of the session. If the process names neither, the key
        belongs to this process alone.
        """
        named = self.named_pane
        if named is None:
            return -self.process.pid, ""
        return named.server_pid, named.pane or named.session


def find_strays(answer: TmuxSnapshot, watched: Watched) -> tuple[Stray, ...]:
    """Returns the processes whose pane is gone, and the processes that write agents' output.

    A pane may belong to any tmux server. muster, its ancestors and tmux servers do not count as
    processes whose pane is gone. A process that writes agents' output may run in an existing pane.

    Args:
        answer: A snapshot of tmux whose state is known.
        watched: The agents whose output files are compared with the open files of processes.

    Raises:
        OSError: The processes cannot be listed.
    """
    now = look()
    trusted = frozenset(user for user in (os.getuid(), 0, answer.server_user) if user is not None)
    # A server without sessions does not report its pid.
    asked = answer.listener if answer.server_pid is None else answer.server_pid
    strays = tuple(_outliving(answer, watched, now, asked, trusted))
    unexamined: set[int] = set()
    if watched.agents:
        known = {stray.process.pid for stray in strays} | {os.getpid()}
        strays += tuple(_writing(watched, now, known, trusted, unexamined))
    return (*strays, *_hidden(now, unexamined, asked))


def _outliving(
    answer: TmuxSnapshot, watched: Watched, now: Look, asked: int | None, trusted: Set[int]
) -> Iterator[Stray]:
    """Yields the processes that name a pane that is gone.

    Args:
        answer: The snapshot of tmux.
        watched: See `find_strays`.
        now: All processes.
        asked: The pid of the queried server; None if the pid is not known.
        trusted: The users whose paths muster follows.
    """
    # A pane that was created after the snapshot is not gone, although the snapshot lacks the pane.
    asked_at = time.time() - (time.monotonic() - answer.asked_at)
    alive = {pane for session in answer.sessions.values() for pane in session.panes}
    alive |= {session.id for session in answer.sessions.values()}
    firsts = {pid for session in answer.sessions.values() for pid in session.pids}
    # Each server is queried at most once, and only if a process may have lost its pane.
    panes = functools.cache(panes_of)
    for process in now.described(now.panes.keys() - now.ourselves - now.sure):
        named, own = now.panes[process.pid], now.users_of(process.pid)
        if own is None or now.is_in_pane_of_another(process.pid, named.server_pid):
            continue
        is_ours = named.server_pid == asked
        # The process runs in an existing pane, whatever pane its environment names.
        if is_ours and now.pane_of(process.pid, named.server_pid) in firsts:
            continue
        is_former = process.pid in now.former
        began = procfs.begun_at(now.stats[process.pid])
        if is_ours and began > asked_at:
            continue
        if is_ours and now.is_job(process.pid, named.server_pid):
            # A job has no pane. If a job names a pane, the server was started in that pane.
            named = named._replace(pane="")
        if is_former or _is_gone(process.pid, named, asked, alive, now, panes):
            surely, maybe = written_by(process.pid, watched, descriptors.open_files(process.pid))
            may_follow = None if trusted >= frozenset(own) else trusted
            is_here = is_ours or is_socket(named.socket, answer.socket, may_follow)
            users = frozenset(own)
            other_runs = not is_ours and named.server_pid in now.servers
            yield Stray(
                process, users, began, named, surely, maybe, is_former, is_here, other_runs
            )


def _writing(
    watched: Watched, now: Look, known: Set[int], trusted: Set[int], unexamined: set[int]
) -> Iterator[Stray]:
    """Yields further processes that may write the output of watched agents.

    Args:
        watched: See `find_strays`.
        now: All processes.
        known: The pids of processes that are left out.
        trusted: The users to whom `FILES_OF_A_USER` does not apply.
        unexamined: Receives the pids of the processes whose open files are not all examined.
    """
    left: dict[int, int] = {}
    for process in now.described(now.stats.keys() - known):
        own = now.users_of(process.pid)
        if own is None:
            continue
        files = descriptors.open_files(process.pid)
        if own.real not in trusted:
            files = _at_most(files, left, own.real)
        surely, maybe = written_by(process.pid, watched, files)
        if left.get(own.real) == 0:
            unexamined.add(process.pid)
        if not maybe.isdisjoint(watched.agents):
            began = procfs.begun_at(now.stats[process.pid])
            yield Stray(process, frozenset(own), began, None, surely, maybe)


def _hidden(now: Look, unexamined: Set[int], asked: int | None) -> Iterator[Stray]:
    """Yields the processes that no existing pane has, and that may have lost their pane.

    The environment of such a process is hidden or too large, or its files are not all examined. Or
    the process is a child of a tmux server, and names no pane: when a pane is gone, its first
    process stays a child of the server.

    Args:
        now: All processes.
        unexamined: The pids of the processes whose open files were not all examined.
        asked: The pid of the queried server; None if the pid is not known.
    """
    children = {pid for server in now.servers for pid in now.children.get(server, ())}
    hidden = now.hidden | now.unread | unexamined | (children - now.panes.keys())
    for process in now.described(hidden - now.ourselves - now.servers):
        server = now.runs_on.get(process.pid)
        if server is not None and (
            now.pane_of(process.pid, server) is not None or now.is_job(process.pid, server)
        ):
            continue
        own = now.users_of(process.pid)
        if own is not None and not _is_of_kernel(process.pid, now):
            since, began = _beginning(process.pid, now)
            is_here = server is not None and server == asked
            users = frozenset(own)
            yield Stray(process, users, began, None, is_here=is_here, is_hidden=True, since=since)


def _is_of_kernel(pid: int, now: Look) -> bool:
    """Returns whether a process is a thread of the kernel: kthreadd, or a child of kthreadd."""
    kthreadd = now.stats.get(_KTHREADD)
    return (
        kthreadd is not None
        and kthreadd.name == "kthreadd"
        and _KTHREADD in (pid, now.stats[pid].parent)
    )


def _beginning(pid: int, now: Look) -> tuple[float, float]:
    """Returns between which two times the process session of a process may have begun.

    The second time is the earliest start among the processes to which the process is tied. These
    are its ancestors and the members of its process session (setsid(2)). A process that descends
    from a pane is not tied to a process that is older than the pane, except to a server, and to a
    process that adopts others, such as init.

    The two times are equal, unless the leader of the process session has ended. Then the first
    time comes from older process sessions; it is minus infinity if their order is not known.
    """
    stats = now.stats
    session = stats[pid].session
    members = {pid, *now.led.get(session, ())}
    if session not in stats:
        # A process is in the process session of its real parent, unless it is the leader. So a
        # parent in another process session has adopted the process, and proves nothing.
        began = min(procfs.begun_at(stats[each]) for each in members)
        return min(began, _older_than(pid, now)), began
    tied = members
    parent = stats[pid].parent
    while parent in stats and not _adopts(parent, now) and parent not in tied:
        tied.add(parent)
        parent = stats[parent].parent
    began = min(procfs.begun_at(stats[each]) for each in tied)
    return began, began


def _older_than(pid: int, now: Look) -> float:
    """Returns a time after which the process session of a process certainly began."""
    order = now.order_of(pid)
    if order is None:
        return -math.inf
    leaders = (leader for leader in now.led if leader in now.stats)
    older = (
        procfs.begun_at(now.stats[leader])
        for leader in leaders
        if (other := now.order_of(leader)) is not None and other < order
    )
    return max(older, default=-math.inf)


def _adopts(pid: int, now: Look) -> bool:
    """Returns whether the parent of a process may be another one than the one that started it.

    A process that is the parent of a tmux server has certainly adopted it, unless the server runs
    in the foreground.
    """
    # The manager of a user's services adopts the user's processes (PR_SET_CHILD_SUBREAPER).
    if pid <= procfs.INIT or pid in now.servers or now.stats[pid].name == "systemd":
        return True
    return any(now.stats[server].parent == pid for server in now.servers)


def _is_gone(
    pid: int,
    named: PaneEnvironment,
    asked: int | None,
    alive: Collection[str],
    now: Look,
    panes_of: Callable[[int], frozenset[str] | None],
) -> bool:
    """Returns whether the pane that a process names is gone, or may be gone.

    Args:
        pid: The process.
        named: The pane that the process names.
        asked: The pid of the queried server; None if the pid is not known.
        alive: The ids of the panes and sessions on the queried server.
        now: All processes.
        panes_of: Queries another tmux server; see `tmux_servers.panes_of`.
    """
    if named.server_pid == asked:
        if now.is_job(pid, named.server_pid):
            return named.session not in alive
        return (named.pane or named.session) not in alive
    if named.server_pid not in now.servers:
        return True
    # A child of the server that survived the end of its pane stays a child of the server.
    if now.pane_of(pid, named.server_pid) is not None or now.is_job(pid, named.server_pid):
        return False
    panes = panes_of(named.server_pid)
    return panes is None or named.pane not in panes


def _at_most(
    files: Iterator[tuple[str, str]], left: dict[int, int], user: int
) -> Iterator[tuple[str, str]]:
    """Yields open files, until the limit of the user is reached.

    Args:
        files: The open files of one process.
        left: Maps each user to the number of files that may still be examined. This function
            reduces the number.
        user: The user of the process.
    """
    left.setdefault(user, FILES_OF_A_USER)
    for file in files:
        if left[user] <= 0:
            return
        left[user] -= 1
        yield file
