"""Finds out whose output a process writes, by its open files. Linux only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from registry.agent_output import ARCHIVE, FINDINGS, PROGRESS, STREAM_LOG, Identity
from registry.dataclass import dataclass, field
from tui.host.process import descriptors, procfs

_SOURCES = (PROGRESS, FINDINGS, STREAM_LOG)

_DELETED = " (deleted)"

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


def written_by(
    pid: int, watched: Watched, files: Iterator[tuple[str, str]]
) -> tuple[frozenset[Agent], frozenset[Agent]]:
    """Returns the agents whose output a process writes, certainly and possibly.

    Args:
        pid: The process.
        watched: The agents whose output files are compared with the open files.
        files: The open files of the process, from `descriptors.open_files`.

    Returns:
        Two sets. First, the agents whose output files the process certainly has open for writing:
        these files have their usual path, and no second hard link. Second, these agents and the
        watched agents whose output the process may write.
    """
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
    """Returns whether a path may lead a process to another file than muster."""
    try:
        return not procfs.has_our_mounts(pid)
    except OSError:
        return True


def _leads_to(path: str, opened: os.stat_result) -> bool:
    """Returns whether a path leads to an open file, and is the only name of this file."""
    with suppress(OSError):
        status = os.lstat(path)
        return os.path.samestat(status, opened) and status.st_nlink == 1
    return False
