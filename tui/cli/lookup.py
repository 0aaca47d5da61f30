"""Finds tasks and agents, and reports the files that it cannot read. Does not query tmux."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from registry.dataclass import replace
from registry.errors import BusyRegistryError, RegistryError
from registry.schema import GlobalTask, Workspace
from registry.snapshots import BUSY_TIMEOUT, when_free, while_busy
from registry.sources import TaskSource, workspace_source
from registry.storage import DEFAULT_TIMEOUT
from registry.text import choices, quoted_name, shown_name
from tui.cli.output import DONE, NOT_ALL_DONE, complain
from tui.errors import UsageError
from tui.host.tmux_types import TmuxState
from tui.model.roll import AgentRow, RollCall
from tui.model.select import meant_ids, row_meant, too_many
from tui.model.warnings import doubts_of, notices


def tasks_in(
    workspaces: tuple[Workspace, ...],
    timeout: float = BUSY_TIMEOUT,
    unread: dict[Path, OSError | RegistryError] | None = None,
) -> Iterator[TaskSource]:
    """Yields the tasks that muster is allowed to open.

    Args:
        workspaces: The workspaces to search.
        timeout: Seconds to wait for a writer of a global registry.
        unread: Filled by this function: maps each directory that cannot be listed to the error.
    """
    for source in map(workspace_source, workspaces):
        listed: Mapping[str, GlobalTask] = {}
        # Tasks in the workspace's own directory are found without the global registry.
        with contextlib.suppress(RegistryError):
            listed = when_free(source.listed, timeout).record.tasks
        try:
            tasks = source.tasks(listed)
        except OSError as error:
            if unread is not None:
                unread[source.directory] = error
            continue
        yield from (task for task in tasks if task.is_readable)


def find_task(workspaces: tuple[Workspace, ...], task_id: str | None) -> TaskSource:
    """Returns the task with an id, or the only task.

    Args:
        workspaces: The workspaces to search.
        task_id: The id; None for the only task.

    Raises:
        UsageError: No task matches, or more than one.
    """
    unread: dict[Path, OSError | RegistryError] = {}
    tasks = list(tasks_in(workspaces, unread=unread))
    matches = [task for task in tasks if task_id in (None, task.directory.name)]
    if len(matches) == 1:
        return matches[0]
    where = _paths(workspace.path for workspace in workspaces)
    if unread:
        where += f" (cannot read {_unread(unread)})"
    if not matches:
        where += _unread_databases(workspaces)
    if not tasks:
        raise UsageError(f"there is no task in {where}")
    names = choices(sorted({task.directory.name for task in tasks}))
    if task_id is None:
        raise UsageError(f"there are several tasks; choose one with --task: {names}")
    if matches:
        name = quoted_name(task_id)
        raise UsageError(f"task {name} is in more than one workspace: choose a workspace with -w")
    raise UsageError(f"there is no task {quoted_name(task_id)} in {where}; the tasks are: {names}")


def task_with(
    workspaces: tuple[Workspace, ...], agent_id: str, task_id: str | None = None
) -> TaskSource:
    """Returns the task with an id, or the only task that lists an agent.

    Args:
        workspaces: The workspaces to search.
        agent_id: The agent's id, for the search without a task's id.
        task_id: The task's id; None to search all tasks for the agent.

    Raises:
        UsageError: No task matches, or more than one.
        BusyRegistryError: The agent was not found, and a registry could not be read because
            another process was writing it.
    """
    if task_id is not None:
        return find_task(workspaces, task_id)
    matches: list[TaskSource] = []
    unread: dict[Path, OSError | RegistryError] = {}

    def may_pass() -> bool:
        if matches:
            return False
        return any(isinstance(error, BusyRegistryError) for error in unread.values())

    # The same timeout as for the lock that the command takes afterwards.
    for _ in while_busy(may_pass, DEFAULT_TIMEOUT):
        matches, unread = _tasks_listing(workspaces, agent_id)
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = choices(task.directory.name for task in matches)
        name = quoted_name(agent_id)
        raise UsageError(f"{name} is in more than one task: choose a task with --task: {names}")
    for error in unread.values():
        if isinstance(error, BusyRegistryError):
            raise error
    where = _paths(workspace.path for workspace in workspaces)
    message = f"no agent {quoted_name(agent_id)} in {where}"
    if unread:
        message += f"; the agent may be listed in files that cannot be read: {_unread(unread)}"
    raise UsageError(message + _unread_databases(workspaces))


def agent_with(
    workspaces: tuple[Workspace, ...], word: str, task_id: str | None = None
) -> tuple[TaskSource, str]:
    """Returns the only agent that a user can mean with a word: its task and its id.

    Args:
        workspaces: The workspaces to search.
        word: The agent's id, or the beginning of the id or of the type.
        task_id: The task's id; None to search all tasks. The agent's id need not be listed in this
            task.

    Raises:
        UsageError: No agent matches, or more than one.
        BusyRegistryError: See `task_with`.
    """
    task, problem = None, None
    try:
        task = task_with(workspaces, word, task_id)
        if task_id is None:
            return task, word
    except UsageError as error:
        if task_id is not None:
            raise
        problem = error
    agents: list[tuple[str, str]] = []
    for each in tasks_in(workspaces) if task is None else (task,):
        with contextlib.suppress(RegistryError, OSError):
            agents += [(agent.id, agent.type) for agent in each.read().record.agents]
    ids = meant_ids(word, agents)
    if len(ids) > 1:
        raise UsageError(too_many(word, ids))
    if ids and ids != [word]:
        return task_with(workspaces, ids[0], task_id), ids[0]
    if problem is not None:
        raise problem
    assert task is not None
    return task, word


def _unread(errors: Mapping[Path, OSError | RegistryError]) -> str:
    def why(error: OSError | RegistryError) -> str:
        reason = error.reason if isinstance(error, RegistryError) else error.strerror
        return reason or str(error)

    return ", ".join(f"{shown_name(path)} ({why(error)})" for path, error in errors.items())


def _unread_databases(workspaces: Iterable[Workspace]) -> str:
    """Returns a text about the databases that may list more tasks and agents; may be empty."""
    sources = map(workspace_source, workspaces)
    found = (source.unread_database() for source in sources)
    return "".join(f"; {database}" for database in found if database is not None)


def _paths(paths: Iterable[Path]) -> str:
    return ", ".join(shown_name(path) for path in paths)


def _tasks_listing(
    workspaces: tuple[Workspace, ...], agent_id: str
) -> tuple[list[TaskSource], dict[Path, OSError | RegistryError]]:
    """Returns the tasks that list an agent, and the error of each unreadable path."""
    matches: list[TaskSource] = []
    unread: dict[Path, OSError | RegistryError] = {}
    for task in tasks_in(workspaces, unread=unread):
        try:
            record = task.read().record
        except (RegistryError, OSError) as error:
            unread[task.path] = error
            continue
        if any(agent.id == agent_id for agent in record.agents):
            matches.append(task)
    return matches, unread


def find_row(roll: RollCall, word: str, task_id: str | None = None) -> AgentRow:
    """Returns the only agent of a roll call that a user can mean with a word.

    Args:
        roll: The roll call.
        word: The agent's id, or the beginning of the id or of the type.
        task_id: The id of the agent's task; None for all tasks.

    Raises:
        UsageError: No agent matches, or more than one.
    """
    from tui.cli.suggest import nearest

    row, problems = row_meant(_of_task(roll, task_id), word)
    if row is None:
        raise UsageError(*problems, *nearest(roll, [word], problems))
    return row


def _of_task(roll: RollCall, task_id: str | None) -> RollCall:
    """Returns a roll call with only one task; the whole roll call if `task_id` is None."""
    if task_id is None:
        return roll
    workspaces = tuple(
        replace(
            workspace,
            tasks=tuple(
                task
                for task in workspace.tasks
                if task_id in (task.task_id, task.state.registry.parent.name)
            ),
        )
        for workspace in roll.workspaces
    )
    return replace(roll, workspaces=workspaces)


def exit_code_if_all_found(
    roll: RollCall, found: Sequence[object], what: str, options: argparse.Namespace
) -> int:
    """Prints why the roll call may lack agents or sessions of a kind; returns the exit code.

    Args:
        roll: The roll call.
        found: The agents or sessions of this kind in the roll call.
        what: The kind, for example ``zombie``.
        options: The options of the command line.

    Returns:
        NOT_ALL_DONE if the roll call may lack some, otherwise DONE.
    """
    if not found and roll.answer.state is TmuxState.UNKNOWN:
        complain(f"cannot find out whether there is any {what}; tmux: {roll.answer.why}")
        return NOT_ALL_DONE
    unseen = unread_registries(roll, nearby=what == "orphan")
    if unseen:
        complain(*unseen)
        return NOT_ALL_DONE
    if what == "zombie" and doubts_of(roll):
        for notice in notices(roll):
            complain(notice)
        return NOT_ALL_DONE
    if what == "orphan" and not roll.orphans_known:
        complain("orphans are unknown: not all registries that may list them were read")
        return NOT_ALL_DONE
    if not found and not options.json:
        print(f"No {what}s.")
    return DONE


def unread_registries(roll: RollCall, *, nearby: bool) -> list[str]:
    """Returns messages about the unreadable files that may list more agents.

    Args:
        roll: The roll call.
        nearby: Whether to include databases of other workspaces, which may list the sessions that
            this roll call shows as orphans.
    """
    messages = [
        f"{shown_name(task.state.registry)} cannot be read: {task.state.error}"
        for task in roll.tasks()
        if task.state.error is not None
    ]
    databases = (*roll.databases, *(roll.nearby_databases if nearby else ()))
    return [*messages, *map(str, dict.fromkeys(databases))]
