"""Finds processes of panes that no longer exist because their session or server has ended.

A process that ignores SIGHUP survives both. Its environment still names its pane, or it still
writes the output files of its agent. Linux only, like `tui.host.process_tree`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.agent_output import FINDINGS, PROGRESS, STREAM_LOG
from tui.host import procfs
from tui.host.process_tree import Look, Process, line_of, look
from tui.host.procfs import PaneEnvironment
from tui.host.tmux_types import TmuxSnapshot

_SOURCES = (PROGRESS, FINDINGS, STREAM_LOG)


@dataclass(frozen=True, slots=True)
class Stray:
    """A process whose pane no longer exists.

    Attributes:
        process: The process.
        users: The ids of its real, effective and saved user.
        began: Its start time, seconds since the epoch.
        said: The pane that its environment names, if this pane belonged to the queried
            socket and no longer exists. None if it only writes an agent's output.
        writes_for: The agents whose output files it has open for writing. Each is the real
            path of the task's directory and the agent's id.
        is_former: Whether a new server has the pid of the process's server.
    """

    process: Process
    users: frozenset[int]
    began: float
    said: PaneEnvironment | None
    writes_for: frozenset[tuple[Path, str]]
    is_former: bool

    @property
    def pane(self) -> tuple[int, str]:
        """The pid of its server and the id of its pane, which distinguish it from other panes.

        A process that names no pane gets a value of its own.
        """
        return (
            (-self.process.pid, "")
            if self.said is None
            else (self.said.server_pid, self.said.pane)
        )


def find_strays(answer: TmuxSnapshot, users: frozenset[int]) -> tuple[Stray, ...]:
    """Returns the processes whose pane no longer exists, of any server of the queried socket.

    This includes processes that write an agent's output, unless they run in an existing pane:
    a process can change its environment, but not its ancestors. These are left out: this
    process and its ancestors, tmux servers, and processes on another server.

    Args:
        answer: The tmux snapshot; its state must not be unknown.
        users: The ids of users whose processes' environments are believed.

    Raises:
        OSError: The processes cannot be listed.
    """
    # A pane that was created after the snapshot is not in it, but exists.
    asked_at = time.time() - (time.monotonic() - answer.asked_at)
    now = look()
    spared = now.ourselves | now.sure
    alive = {pane for session in answer.sessions.values() for pane in session.panes}
    socket = os.path.realpath(answer.socket)
    strays = []
    for process in now.described(now.panes.keys() - spared):
        pane, own = now.panes[process.pid], now.users_of(process.pid)
        if own is None or not users.issuperset(own) or os.path.realpath(pane.socket) != socket:
            continue
        if now.runs_on.get(process.pid) not in (None, pane.server_pid):
            continue
        began = procfs.begun_at(now.stats[process.pid])
        is_ours = pane.server_pid == answer.server_pid
        is_former = process.pid in now.former
        if is_ours and began > asked_at:
            continue
        if is_former or _is_gone(pane, answer, alive, now):
            written = _written_by(process.pid)
            strays.append(Stray(process, frozenset(own), began, pane, written, is_former))
    spared |= {stray.process.pid for stray in strays}
    roots = {pid for session in answer.sessions.values() for pid in session.pids}
    for process in now.described(now.stats.keys() - spared):
        pid = process.pid
        line = line_of(pid, now.stats)
        servers = line & now.servers
        if servers - {answer.server_pid} or roots & {*line, now.stats[pid].session}:
            continue
        own = now.users_of(pid)
        if own is None or not users.issuperset(own):
            continue
        began = procfs.begun_at(now.stats[pid])
        # It may run in a pane that was created after the snapshot.
        if (not servers or began <= asked_at) and (written := _written_by(pid)):
            strays.append(Stray(process, frozenset(own), began, None, written, False))
    return tuple(strays)


def _is_gone(
    pane: PaneEnvironment, answer: TmuxSnapshot, alive: Collection[str], now: Look
) -> bool:
    """Returns whether the pane that an environment names no longer exists."""
    if pane.server_pid == answer.server_pid:
        # Without a pane's id the process may be in any pane.
        return bool(pane.pane) and pane.pane not in alive
    # If another server took over its socket, the old server cannot be queried, but may run.
    return pane.server_pid not in now.servers


def _written_by(pid: int) -> frozenset[tuple[Path, str]]:
    """Returns the agents whose output files a process has open; see `Stray.writes_for`."""
    agents = set()
    with suppress(OSError):
        for number, target in procfs.open_files(pid):
            with suppress(OSError, ValueError, IndexError):
                path = Path(target)
                agent = _agent_of(path)
                if agent is None or not procfs.is_open_for_writing(pid, number):
                    continue
                if _is(path, pid, number):
                    agents.add(agent)
    return frozenset(agents)


def _agent_of(path: Path) -> tuple[Path, str] | None:
    """Returns the agent of an output file by its path; None for any other path."""
    for source in _SOURCES:
        _, ending = source.parts("")
        agent_id = path.name.removesuffix(ending)
        if path.parent.name == source.folder and agent_id and path.name != agent_id:
            return path.parent.parent, agent_id
    return None


def _is(path: Path, pid: int, number: str) -> bool:
    """Returns whether a path is the only link to the regular file that a process has open."""
    by_path, open_ = os.lstat(path), os.stat(f"/proc/{pid}/fd/{number}")
    same = (by_path.st_dev, by_path.st_ino) == (open_.st_dev, open_.st_ino)
    return same and stat.S_ISREG(by_path.st_mode) and by_path.st_nlink == 1
