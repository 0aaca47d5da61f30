"""Processes of panes that are gone, and processes that write an agent's output. Linux only.

What ignores SIGHUP outlives its session and its tmux server. It still says in its
environment which pane it was started in, or it still writes what its agent puts out,
whatever it says. Whose a process is decides nothing here: the caller decides what it proves.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from registry.agent_output import ARCHIVE, FINDINGS, PROGRESS, STREAM_LOG, Identity
from tui.host import procfs
from tui.host.process_tree import Look, Process, look
from tui.host.procfs import PaneEnvironment
from tui.host.tmux_types import TmuxSnapshot

_SOURCES = (PROGRESS, FINDINGS, STREAM_LOG)

_DELETED = " (deleted)"

Agent = tuple[Path, str]
"""An agent: its task's directory, and its id."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Agents whose output is looked for, as muster opened it.

    Attributes:
        agents: They.
        files: Whose output a file is.
        folders: The tasks' directories.
    """

    agents: frozenset[Agent] = frozenset()
    files: Mapping[Identity, Agent] = field(default_factory=dict)
    folders: Mapping[Identity, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stray:
    """A process whose pane is gone, or that writes the output of a watched agent.

    Attributes:
        users: Its real, effective and saved user, by their numbers.
        began: Seconds since the epoch.
        said: The pane that it says it was started in, which is gone. None where it says
            none that is gone, but writes an agent's output.
        writes_for: Agents whose output files it surely has open for writing: in place, and
            by their only name.
        may_write_for: These, and watched agents whose output it may write.
        is_former: Whether another server has the pid of its own by now.
        is_here: Whether that pane was of the socket that was asked.
    """

    process: Process
    users: frozenset[int]
    began: float
    said: PaneEnvironment | None
    writes_for: frozenset[Agent] = frozenset()
    may_write_for: frozenset[Agent] = frozenset()
    is_former: bool = False
    is_here: bool = True

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


def find_strays(answer: TmuxSnapshot, watched: Watched) -> tuple[Stray, ...]:
    """The processes of panes that are gone, of any server, and those that write for agents.

    The former are neither this process and its ancestors, nor tmux servers, nor what runs
    on another server by now. The latter may run anywhere: also in a pane that is there.

    Args:
        answer: What tmux said; not that it cannot tell.
        watched: Agents whose writers are looked for.

    Raises:
        OSError: The processes cannot be listed.
    """
    # A pane that was made since tmux answered is not gone, though it is in no answer.
    asked_at = time.time() - (time.monotonic() - answer.asked_at)
    now = look()
    alive = {pane for session in answer.sessions.values() for pane in session.panes}
    trusted = {each for each in (os.getuid(), 0, answer.server_user) if each is not None}
    # A server without sessions does not say who it is.
    asked = answer.listener if answer.server_pid is None else answer.server_pid
    strays = []
    for process in now.described(now.panes.keys() - now.ourselves - now.sure):
        said, own = now.panes[process.pid], now.users_of(process.pid)
        if own is None or now.runs_on.get(process.pid) not in (None, said.server_pid):
            continue
        is_ours = said.server_pid == asked
        is_former = process.pid in now.former
        began = procfs.begun_at(now.stats[process.pid])
        if is_ours and began > asked_at:
            continue
        if is_former or _is_gone(said, asked, alive, now):
            exactly, maybe = _written_by(process.pid, watched)
            is_here = is_ours or _is_same_socket(said.socket, answer, trusted.issuperset(own))
            users = frozenset(own)
            strays.append(Stray(process, users, began, said, exactly, maybe, is_former, is_here))
    known = {each.process.pid for each in strays} | {os.getpid()}
    for process in now.described(now.stats.keys() - known) if watched.agents else ():
        exactly, maybe = _written_by(process.pid, watched)
        own = now.users_of(process.pid) if not maybe.isdisjoint(watched.agents) else None
        if own is not None:
            began = procfs.begun_at(now.stats[process.pid])
            strays.append(Stray(process, frozenset(own), began, None, exactly, maybe))
    return tuple(strays)


def _is_gone(said: PaneEnvironment, asked: int | None, alive: Collection[str], now: Look) -> bool:
    """Whether the pane that a process says it was started in is gone."""
    if said.server_pid == asked:
        # One that does not say which may be in any.
        return bool(said.pane) and said.pane not in alive
    # A server whose socket was taken by another one cannot be asked, and may have it.
    return said.server_pid not in now.servers


def _is_same_socket(said: str, answer: TmuxSnapshot, may_follow: bool) -> bool:
    """Whether a process names the socket that was asked.

    Args:
        said: What it names.
        answer: What tmux said.
        may_follow: Whether the path may be followed: another user's may lead anywhere.
    """
    socket = os.fspath(answer.socket)
    if os.path.normpath(said) == os.path.normpath(socket):
        return True
    return may_follow and os.path.realpath(said) == os.path.realpath(socket)


def _written_by(pid: int, watched: Watched) -> tuple[frozenset[Agent], frozenset[Agent]]:
    """Whose output a process has open for writing: surely, and maybe; see `Stray`."""
    surely: set[Agent] = set()
    maybe: set[Agent] = set()
    with suppress(OSError):
        for number, target in procfs.open_files(pid):
            with suppress(OSError, ValueError):
                named = _named(target)
                if named is None or not procfs.is_open_for_writing(pid, number):
                    continue
                opened = os.stat(f"/proc/{pid}/fd/{number}")
                if stat.S_ISREG(opened.st_mode):
                    found = _agent_of(named, opened, pid, watched)
                    maybe |= found.keys()
                    surely |= {agent for agent, is_sure in found.items() if is_sure}
    return frozenset(surely), frozenset(maybe)


@dataclass(frozen=True, slots=True)
class _Named:
    """An agent's output file, by its path alone, which may be of another mount namespace.

    Attributes:
        agent: The agent, by the path of its task's directory there.
        in_place: Whether it has the name of one that is written now: neither archived,
            nor deleted, nor put aside under a longer name.
    """

    path: str
    agent: Agent
    in_place: bool


def _named(path: str) -> _Named | None:
    """Whose output a file may be, by its path; None if it is nobody's."""
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


def _agent_of(
    named: _Named, opened: os.stat_result, pid: int, watched: Watched
) -> dict[Agent, bool]:
    """Whose output an open file of a process may be, and whether it surely is."""
    task, agent_id = named.agent
    identity = opened.st_dev, opened.st_ino
    found: dict[Agent, bool] = {}
    if identity in watched.files:
        found[watched.files[identity]] = False
    own = {(path, agent_id) for path in _tasks_at(task, pid, watched)} & watched.agents
    if not named.in_place or not _leads_to(named.path, opened):
        # It was moved or deleted, or its path is of another mount namespace.
        return dict.fromkeys(own, False) | found
    if not own:
        return {named.agent: True} | found
    # What was opened beneath the workspace is sure; a path alone is not.
    return dict.fromkeys(own, False) | {agent: agent in own for agent in found}


def _tasks_at(directory: Path, pid: int, watched: Watched) -> set[Path]:
    """Which watched tasks' directory a path of a process may be of."""
    with suppress(OSError):
        there = os.stat(directory)
        if (task := watched.folders.get((there.st_dev, there.st_ino))) is not None:
            return {task}
    if not _has_other_mounts(pid):
        return set()
    # Its paths lead elsewhere, or nowhere here; only the name can be compared.
    return {path for path in watched.folders.values() if path.name == directory.name}


def _has_other_mounts(pid: int) -> bool:
    """Whether paths of a process may lead elsewhere than here, or nowhere."""
    try:
        return not os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), os.stat("/proc/self/ns/mnt"))
    except OSError:
        return True


def _leads_to(path: str, opened: os.stat_result) -> bool:
    """Whether a path leads to the very file that a process has open, and nothing else does."""
    with suppress(OSError):
        there = os.lstat(path)
        return os.path.samestat(there, opened) and there.st_nlink == 1
    return False
