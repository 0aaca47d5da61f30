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
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path

from registry.agent_output import ARCHIVE, FINDINGS, PROGRESS, STREAM_LOG, Identity
from registry.dataclass import dataclass, field
from tui.host.process import descriptors, procfs
from tui.host.process.pane_environment import PaneEnvironment
from tui.host.process.process_tree import Look, Process, look
from tui.host.process.socket_path import is_socket
from tui.host.tmux_servers import panes_of
from tui.host.tmux_types import TmuxSnapshot

_SOURCES = (PROGRESS, FINDINGS, STREAM_LOG)

_DELETED = " (deleted)"

_KTHREADD = 2

FILES_OF_A_USER = 20_000
"""The number of open files that are examined for all processes of one user together.

This limit does not apply to muster's user, root and the user of the tmux server. Without the
limit, other users could stall muster for hours. A process whose files are not all examined may
belong to any agent that started when the process did.
"""

Agent = tuple[Path, str]
"""The directory of an agent's task, and the agent's id."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The agents whose output files are compared with the open files of processes.

    Attributes:
        agents: The agents.
        files: Maps the identity (device and inode) of each output file to its agent.
        folders: Maps the identity of each task's directory to the path of the directory.
    """

    agents: frozenset[Agent] = frozenset()
    files: Mapping[Identity, Agent] = field(default_factory=dict)
    folders: Mapping[Identity, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stray:
    """A process whose pane is gone, or that writes the output of a watched agent.

    Attributes:
        process: The process.
        users: The ids of the real, effective and saved user of the process.
        began: When the process started, in seconds since the epoch.
        named_pane: The pane that the environment of the process names, if this pane is gone. None
            if the process only writes an agent's output, or if `is_hidden`.
        writes_for: The agents whose output files the process certainly has open for writing. These
            files have their usual path, and no second hard link.
        may_write_for: The agents in `writes_for`, and the watched agents whose output the process
            may write.
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
    # A pane that was created after the snapshot is not gone, although the snapshot lacks the pane.
    asked_at = time.time() - (time.monotonic() - answer.asked_at)
    now = look()
    alive = {pane for session in answer.sessions.values() for pane in session.panes}
    alive |= {session.id for session in answer.sessions.values()}
    firsts = {pid for session in answer.sessions.values() for pid in session.pids}
    trusted = {user for user in (os.getuid(), 0, answer.server_user) if user is not None}
    # A server without sessions does not report its pid.
    asked = answer.listener if answer.server_pid is None else answer.server_pid
    # Each server is queried at most once, and only if a process may have lost its pane.
    panes = functools.cache(panes_of)
    strays = []
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
            may_follow = None if trusted.issuperset(own) else trusted
            is_here = is_ours or is_socket(named.socket, answer.socket, may_follow)
            users = frozenset(own)
            other_runs = not is_ours and named.server_pid in now.servers
            strays.append(
                Stray(process, users, began, named, surely, maybe, is_former, is_here, other_runs)
            )
    known = {stray.process.pid for stray in strays} | {os.getpid()}
    left: dict[int, int] = {}
    unexamined: set[int] = set()
    for process in now.described(now.stats.keys() - known) if watched.agents else ():
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
            strays.append(Stray(process, frozenset(own), began, None, surely, maybe))
    return (*strays, *_hidden(now, unexamined, asked))


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


def written_by(
    pid: int, watched: Watched, files: Iterator[tuple[str, str]]
) -> tuple[frozenset[Agent], frozenset[Agent]]:
    """Returns the values of `Stray.writes_for` and `Stray.may_write_for` for a process."""
    surely: set[Agent] = set()
    maybe: set[Agent] = set()
    with suppress(OSError):
        for link, target in files:
            with suppress(OSError, ValueError):
                named = _named(target)
                if named is None or not descriptors.is_open_for_writing(link):
                    continue
                opened = os.stat(link)
                if stat.S_ISREG(opened.st_mode):
                    agents = _agents_of(named, opened, pid, watched)
                    maybe |= agents.keys()
                    surely |= {agent for agent, is_sure in agents.items() if is_sure}
    return frozenset(surely), frozenset(maybe)


@dataclass(frozen=True, slots=True)
class _Named:
    """An agent's output file that is recognized only by its path.

    Attributes:
        path: The path; may belong to another mount namespace.
        agent: The agent. The path of the task's directory is in the same mount namespace as
            `path`.
        in_place: Whether the file has its usual name and place. False if the file was archived,
            deleted or renamed.
    """

    path: str
    agent: Agent
    in_place: bool


def _named(path: str) -> _Named | None:
    """Returns the agent whose output file has this path; None for any other file."""
    above, name = os.path.split(path)
    task, folder = os.path.split(above)
    for source in _SOURCES:
        agent_id, ending, rest = name.partition(source.parts("")[1])
        if not ending or not agent_id or folder not in (source.folder, ARCHIVE):
            continue
        if not rest or rest == _DELETED or rest.startswith("."):
            in_place = not rest and folder == source.folder
            return _Named(path, (Path(task), agent_id), in_place)
    return None


def _agents_of(
    named: _Named, opened: os.stat_result, pid: int, watched: Watched
) -> dict[Agent, bool]:
    """Returns the agents that may own an open file, each with whether this is certain."""
    task, agent_id = named.agent
    identity = opened.st_dev, opened.st_ino
    by_identity: dict[Agent, bool] = {}
    if identity in watched.files:
        by_identity[watched.files[identity]] = False
    own = {(path, agent_id) for path in _tasks_at(task, pid, watched)} & watched.agents
    if not named.in_place or not _leads_to(named.path, opened):
        # The file was moved or deleted, or its path belongs to another mount namespace.
        return dict.fromkeys(own, False) | by_identity
    if not own:
        return {named.agent: True} | by_identity
    # A path alone proves nothing. The agent is certain if the open file is also one of the files
    # that muster found in the workspace.
    return dict.fromkeys(own, False) | {agent: agent in own for agent in by_identity}


def _tasks_at(directory: Path, pid: int, watched: Watched) -> set[Path]:
    """Returns the directories of watched tasks to which a path of a process may lead."""
    with suppress(OSError):
        status = os.stat(directory)
        if (task := watched.folders.get((status.st_dev, status.st_ino))) is not None:
            return {task}
    if not _has_other_mounts(pid):
        return set()
    # The path belongs to another mount namespace, so only its name can be compared.
    return {path for path in watched.folders.values() if path.name == directory.name}


def _has_other_mounts(pid: int) -> bool:
    """Returns whether a process has, or may have, another mount namespace than muster."""
    try:
        return not os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), os.stat("/proc/self/ns/mnt"))
    except OSError:
        return True


def _leads_to(path: str, opened: os.stat_result) -> bool:
    """Returns whether a path leads to an open file, and is the only name of this file."""
    with suppress(OSError):
        status = os.lstat(path)
        return os.path.samestat(status, opened) and status.st_nlink == 1
    return False
