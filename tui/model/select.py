"""Selects the agents for an action: by id, with all descendants, or by task. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry.text import choices, quoted_name, shown_name
from tui.model.hierarchy import descendants_of
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll


def subtrees(roll: RollCall, rows: Iterable[AgentRow]) -> list[AgentRow]:
    """Returns agents with all their descendants, without duplicates, parents before children."""
    selected: dict[AgentKey, AgentRow] = {}
    tasks = {task.state.registry: task for task in roll.tasks()}
    for row in rows:
        selected[row.key] = row
        selected |= {agent.key: agent for agent in descendants_of(tasks[row.key.registry], row)}
    return list(selected.values())


def rows_of(roll: RollCall, ids: Sequence[str]) -> tuple[list[AgentRow], list[str]]:
    """Returns the agents with exactly these ids.

    If several entries of a registry have the same id, the first one that has not ended is
    chosen.

    Returns:
        The rows, and a message for each id that no agent has, or that agents of several tasks
        have.
    """
    by_id: dict[str, list[AgentRow]] = {}
    for row in roll.agents():
        by_id.setdefault(row.key.id, []).append(row)
    rows: list[AgentRow] = []
    problems: list[str] = []
    for agent_id in dict.fromkeys(ids):
        entries = by_id.get(agent_id, [])
        registries = {row.key.registry for row in entries}
        if not entries:
            problems.append(f"no agent {quoted_name(agent_id)} in the registries")
        elif len(registries) > 1:
            listed = choices(str(registry) for registry in sorted(registries))
            name = quoted_name(agent_id)
            problems.append(f"{name} is in more than one task: choose with -w one of {listed}")
        else:
            unfinished = [row for row in entries if not row.verdict.is_over]
            rows.append((unfinished or entries)[0])
    return rows, problems


def meant_ids(word: str, agents: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the ids that a user can mean with a word, where no mistake can do harm.

    Args:
        word: What the user typed.
        agents: The id and the type of each agent.

    Returns:
        The id that is the word; without such an id, all ids that begin with the word, and the ids
        of all agents whose type begins with the word.
    """
    ids: dict[str, None] = {}
    for agent_id, kind in agents:
        if agent_id == word:
            return [word]
        if word and (agent_id.startswith(word) or kind.startswith(word)):
            ids[agent_id] = None
    return list(ids)


def too_many(word: str, ids: Iterable[str]) -> str:
    """Returns the message that a word can mean several agents."""
    return f"{quoted_name(word)} can mean several agents; give more of the id: {choices(ids)}"


def row_meant(roll: RollCall, word: str) -> tuple[AgentRow | None, list[str]]:
    """Returns the only agent that a user can mean with a word; see `meant_ids`.

    Returns:
        The row; or None, and messages that say why there is not exactly one agent.
    """
    ids = meant_ids(word, ((row.key.id, row.record.type) for row in roll.agents()))
    if len(ids) > 1:
        return None, [too_many(word, ids)]
    rows, problems = rows_of(roll, ids or [word])
    return (rows[0] if rows else None), problems


def tasks_of(roll: RollCall, ids: Sequence[str]) -> tuple[list[TaskRoll], list[str]]:
    """Returns the tasks with exactly these ids.

    Returns:
        The tasks, and a message for each id that no task has, that several tasks have, or
        whose registry was never read.
    """
    tasks: list[TaskRoll] = []
    problems: list[str] = []
    for task_id in dict.fromkeys(ids):
        matches = [task for task in roll.tasks() if task.task_id == task_id]
        if not matches:
            problems.append(f"no task {quoted_name(task_id)} in the registries")
        elif len(matches) > 1:
            listed = choices(sorted(str(task.state.registry) for task in matches))
            name = quoted_name(task_id)
            problems.append(f"{name} is the id of several tasks: choose with -w one of {listed}")
        elif matches[0].state.record is None:
            path = shown_name(matches[0].state.registry)
            problems.append(f"cannot read {path}: {matches[0].state.error}")
        else:
            tasks.append(matches[0])
    return tasks, problems
