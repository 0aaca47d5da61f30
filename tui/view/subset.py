"""Filters and sorts a roll call, for the commands that print it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from registry.dataclass import replace
from tui.model.roll import AgentRow, RollCall, TaskRoll, Verdict, WorkspaceRoll
from tui.view.filter import Filter, agent_fields, orphan_fields, task_matches
from tui.view.sort import Order, order_key


def select(roll: RollCall, wanted: Filter, *, hide_finished: bool = False) -> RollCall:
    """Returns a roll call with only the agents, tasks and orphans that match a filter.

    The counts do not change. Unreadable registries stay in the roll call, because they may contain
    matching agents.

    Args:
        roll: The whole roll call.
        wanted: The filter.
        hide_finished: Whether to leave out finished agents.
    """
    if not wanted and not hide_finished:
        return roll
    workspaces = []
    for workspace in roll.workspaces:
        tasks = tuple(_tasks(workspace, wanted, hide_finished))
        if tasks or workspace.is_partly_unread:
            workspaces.append(replace(workspace, tasks=tasks, all_formats=workspace.formats))
    orphans = tuple(session for session in roll.orphans if wanted.matches(orphan_fields(session)))
    return replace(roll, workspaces=tuple(workspaces), orphans=orphans)


def _tasks(workspace: WorkspaceRoll, wanted: Filter, hide_finished: bool) -> Iterable[TaskRoll]:
    for task in workspace.tasks:
        agents = tuple(
            row
            for row in task.agents
            if not (hide_finished and row.verdict is Verdict.FINISHED)
            and wanted.matches(agent_fields(row, task))
        )
        unread = task.state.error is not None or task.state.hot_journal is not None
        if agents or unread or task_matches(task, wanted):
            yield replace(task, agents=_lifted(task.agents, agents))


def _lifted(before: tuple[AgentRow, ...], left: tuple[AgentRow, ...]) -> tuple[AgentRow, ...]:
    """Returns the remaining agents; reduces each level by the number of removed ancestors."""
    if len(before) == len(left):
        return left
    kept = {row.key for row in left}
    levels: list[bool] = []
    lifted = []
    for row in before:
        del levels[row.level :]
        level = sum(levels)
        levels.append(row.key in kept)
        if levels[-1]:
            lifted.append(replace(row, level=level))
    return tuple(lifted)


def arrange(roll: RollCall, order: Order) -> RollCall:
    """Returns a roll call with agents, tasks and workspaces in another order.

    Agents are sorted within their task, and get the level 0. Tasks and workspaces are sorted by
    their first agent. The sort is stable.
    """
    key = order_key(order)
    workspaces = []
    for workspace in roll.workspaces:
        tasks = []
        for task in workspace.tasks:
            agents = sorted(task.agents, key=key)
            tasks.append(replace(task, agents=tuple(replace(row, level=0) for row in agents)))
        tasks.sort(key=lambda task: _first(task.agents, key))
        workspaces.append(replace(workspace, tasks=tuple(tasks)))
    workspaces.sort(
        key=lambda workspace: _first(workspace.tasks[0].agents if workspace.tasks else (), key)
    )
    return replace(roll, workspaces=tuple(workspaces))


def _first(
    agents: tuple[AgentRow, ...], key: Callable[[AgentRow], tuple[Any, ...]]
) -> tuple[Any, ...]:
    """Returns a task's sort key, from the task's first agent; tasks without agents are last."""
    return (0, *key(agents[0])) if agents else (1,)
