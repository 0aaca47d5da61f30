"""Finding tasks and agents, and telling whether all were found. Asks no tmux."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from registry.errors import BusyRegistryError, CorruptRegistryError, RegistryError
from registry.schema import GlobalTask, Workspace
from registry.snapshots import BUSY_TIMEOUT, when_free, while_busy
from registry.sources import TaskSource, workspace_source
from registry.storage import DEFAULT_TIMEOUT
from registry.text import choices, quoted_name, shown_name
from tui.cli.output import DONE, NOT_ALL_DONE, complain
from tui.errors import UsageError
from tui.host.tmux_types import TmuxState
from tui.model.roll import RollCall
from tui.model.warnings import notices

_BROKEN_FOR = 0.3


def tasks_in(
    workspaces: tuple[Workspace, ...], timeout: float = BUSY_TIMEOUT
) -> Iterator[TaskSource]:
    """All tasks that may be opened.

    Args:
        workspaces: Where to look.
        timeout: Seconds to wait for writers that keep a workspace's list from being read.
    """
    for source in map(workspace_source, workspaces):
        listed: Mapping[str, GlobalTask] = {}
        # Tasks that lie in the workspace are found without it.
        with contextlib.suppress(RegistryError):
            listed = when_free(source.listed, timeout).record.tasks
        for task in source.tasks(listed):
            if task.problem is None:
                yield task


def find_task(workspaces: tuple[Workspace, ...], task_id: str | None) -> TaskSource:
    """The task of an id, or the only one that there is.

    Raises:
        UsageError: There is none, or more than one.
    """
    there = list(tasks_in(workspaces))
    found = [each for each in there if task_id in (None, each.directory.name)]
    if len(found) == 1:
        return found[0]
    where = _paths(each.path for each in workspaces)
    if not there:
        raise UsageError(f"there is no task in {where}")
    names = choices(sorted({each.directory.name for each in there}))
    if task_id is None:
        raise UsageError(f"choose one with --task: {names}")
    if found:
        name = quoted_name(task_id)
        raise UsageError(f"task {name} is in more than one workspace: choose with -w")
    raise UsageError(f"there is no task {quoted_name(task_id)} in {where}, but: {names}")


def task_with(
    workspaces: tuple[Workspace, ...], agent_id: str, task_id: str | None = None
) -> TaskSource:
    """The task that has an agent; the one of an id if that is given.

    Raises:
        UsageError: None has it, or more than one.
    """
    if task_id is not None:
        return find_task(workspaces, task_id)
    found: list[TaskSource] = []
    unread: dict[Path, RegistryError] = {}
    broken_until = time.monotonic() + _BROKEN_FOR

    def may_pass() -> bool:
        if found:
            return False
        if any(isinstance(each, BusyRegistryError) for each in unread.values()):
            return True
        # What does not parse may be in the middle of being written, too, but not for long.
        broken = any(isinstance(each, CorruptRegistryError) for each in unread.values())
        return broken and time.monotonic() < broken_until

    # As long as the command waits for the lock afterwards.
    for _ in while_busy(may_pass, DEFAULT_TIMEOUT):
        found, unread = _look(workspaces, agent_id)
    if len(found) == 1:
        return found[0]
    if found:
        names = choices(each.directory.name for each in found)
        name = quoted_name(agent_id)
        raise UsageError(f"{name} is in more than one task: choose with --task: {names}")
    for error in unread.values():
        if isinstance(error, BusyRegistryError):
            raise error
    said = f"no agent {quoted_name(agent_id)} in {_paths(each.path for each in workspaces)}"
    if unread:
        said += f"; not readable, and it may be in there: {_paths(unread)}"
    raise UsageError(said)


def _paths(paths: Iterable[Path]) -> str:
    return ", ".join(shown_name(each) for each in paths)


def _look(
    workspaces: tuple[Workspace, ...], agent_id: str
) -> tuple[list[TaskSource], dict[Path, RegistryError]]:
    """The tasks that have an agent, and the registries that could not be read."""
    found: list[TaskSource] = []
    unread: dict[Path, RegistryError] = {}
    for task in tasks_in(workspaces):
        try:
            record = task.read().record
        except RegistryError as error:
            unread[task.path] = error
            continue
        if any(agent.id == agent_id for agent in record.agents):
            found.append(task)
    return found, unread


def exit_code_if_all_found(
    roll: RollCall, found: Sequence[object], what: str, options: argparse.Namespace
) -> int:
    """Says whether these were all of their kind; an exit code."""
    if not found and roll.answer.state is TmuxState.UNKNOWN:
        complain(f"no {what} can be told; tmux: {roll.answer.why}")
        return NOT_ALL_DONE
    unseen = unread_registries(roll, nearby=what == "orphan")
    if unseen:
        complain(*unseen)
        return NOT_ALL_DONE
    if what == "zombie" and roll.evidence.doubts:
        for said in notices(roll):
            complain(said)
        return NOT_ALL_DONE
    if what == "orphan" and not roll.orphans_known:
        complain("orphans cannot be told: not all registries that may list them are seen")
        return NOT_ALL_DONE
    if not found and not options.json:
        print(f"No {what}s.")
    return DONE


def unread_registries(roll: RollCall, *, nearby: bool) -> list[str]:
    """What could not be read, and so may hold whom nobody found.

    Args:
        roll: The roll call.
        nearby: Also what may hold orphans of other workspaces.
    """
    said = [
        f"{shown_name(task.state.registry)} cannot be read: {task.state.error}"
        for task in roll.tasks()
        if task.state.error is not None
    ]
    databases = (*roll.databases, *(roll.nearby_databases if nearby else ()))
    return [*said, *map(str, dict.fromkeys(databases))]
