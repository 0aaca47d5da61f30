"""Processes of panes that are gone, because their session or their tmux server has ended.

What ignores SIGHUP outlives both. It still says in its environment which pane it was
started in, or it still writes what its agent puts out, whatever it says. Linux only, as
`tui.host.process_tree` is.
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
    """A process whose pane is gone.

    Attributes:
        users: Its real, effective and saved user, by their numbers.
        began: Seconds since the epoch.
        said: Where it says that it was started: in a pane of the socket that was asked.
            None where it says none that is gone, but writes an agent's output.
        writes_for: Agents whose output files it has open for writing, each as the real
            path of its task's directory and its id.
        is_former: Whether another server has the pid of its own by now.
    """

    process: Process
    users: frozenset[int]
    began: float
    said: PaneEnvironment | None
    writes_for: frozenset[tuple[Path, str]]
    is_former: bool

    @property
    def pane(self) -> tuple[int, str]:
        """Its server and its pane: tells it from the processes of other panes.

        One that names no pane stands for itself.
        """
        return (
            (-self.process.pid, "")
            if self.said is None
            else (self.said.server_pid, self.said.pane)
        )


def find_strays(answer: TmuxSnapshot, users: frozenset[int]) -> tuple[Stray, ...]:
    """The processes of panes that are gone, of any server of the socket that was asked.

    Those that write an agent's output are among them, unless they run in a pane that is
    there: a process can wipe or change its environment, but not its parents. Neither this
    process and its ancestors are, nor tmux servers, nor what runs on another server by now.

    Args:
        answer: What tmux said; not that it cannot tell.
        users: Whose processes are believed what they say, by the users' numbers.

    Raises:
        OSError: The processes cannot be listed.
    """
    # A pane that was made since tmux answered is not gone, though it is in no answer.
    asked_at = time.time() - (time.monotonic() - answer.asked_at)
    now = look()
    spared = now.ourselves | now.servers
    alive = {pane for session in answer.sessions.values() for pane in session.panes}
    server = now.stats.get(answer.server_pid) if answer.server_pid is not None else None
    socket = os.path.realpath(answer.socket)
    strays = []
    for process in now.described(now.panes.keys() - spared):
        said, own = now.panes[process.pid], now.users_of(process.pid)
        if own is None or not users.issuperset(own) or os.path.realpath(said.socket) != socket:
            continue
        if now.runs_on.get(process.pid) not in (None, said.server_pid):
            continue
        began = procfs.begun_at(now.stats[process.pid])
        is_ours = said.server_pid == answer.server_pid
        is_former = is_ours and server is not None and process.started < server.started
        if is_ours and began > asked_at:
            continue
        if is_former or _is_gone(said, answer, alive, now):
            written = _written_by(process.pid)
            strays.append(Stray(process, frozenset(own), began, said, written, is_former))
    spared |= {each.process.pid for each in strays}
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
        # It may be in a pane that was made since tmux answered.
        if (not servers or began <= asked_at) and (written := _written_by(pid)):
            strays.append(Stray(process, frozenset(own), began, None, written, False))
    return tuple(strays)


def _is_gone(
    said: PaneEnvironment, answer: TmuxSnapshot, alive: Collection[str], now: Look
) -> bool:
    """Whether the pane that a process says it was started in is gone."""
    if said.server_pid == answer.server_pid:
        # One that does not say which may be in any.
        return bool(said.pane) and said.pane not in alive
    # A server whose socket was taken by another one cannot be asked, and may have it.
    return said.server_pid not in now.servers


def _written_by(pid: int) -> frozenset[tuple[Path, str]]:
    """The agents whose output a process has open for writing; see `Stray.writes_for`."""
    found = set()
    with suppress(OSError):
        for number, target in procfs.open_files(pid):
            with suppress(OSError, ValueError, IndexError):
                path = Path(target)
                agent = _agent_of(path)
                if agent is None or not procfs.is_open_for_writing(pid, number):
                    continue
                if _is(path, pid, number):
                    found.add(agent)
    return frozenset(found)


def _agent_of(path: Path) -> tuple[Path, str] | None:
    """Whose output a file is, by its path; None if it is nobody's."""
    for source in _SOURCES:
        _, ending = source.parts("")
        agent_id = path.name.removesuffix(ending)
        if path.parent.name == source.folder and agent_id and path.name != agent_id:
            return path.parent.parent, agent_id
    return None


def _is(path: Path, pid: int, number: str) -> bool:
    """Whether a path leads to the very file that a process has open, and nothing else does."""
    there, open_ = os.lstat(path), os.stat(f"/proc/{pid}/fd/{number}")
    same = (there.st_dev, there.st_ino) == (open_.st_dev, open_.st_ino)
    return same and stat.S_ISREG(there.st_mode) and there.st_nlink == 1
