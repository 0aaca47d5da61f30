"""The agents that an action is about: by their ids, with all beneath them, whole tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from registry.text import choices, quoted_name, shown_name
from tui.model.hierarchy import beneath
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict


def subtrees(roll: RollCall, rows: Iterable[AgentRow]) -> list[AgentRow]:
    """Agents with all their descendants, each once, parents before children."""
    found: dict[AgentKey, AgentRow] = {}
    tasks = {task.state.registry: task for task in roll.tasks()}
    for row in rows:
        found[row.key] = row
        found |= {each.key: each for each in beneath(tasks[row.key.registry], row)}
    return list(found.values())


def rows_of(roll: RollCall, ids: Sequence[str]) -> tuple[list[AgentRow], list[str]]:
    """The agents of exactly these ids, and what is wrong with the ids.

    Returns:
        The rows, and a sentence for each id that names nobody or more than one.
    """
    by_id: dict[str, list[AgentRow]] = {}
    for row in roll.agents():
        by_id.setdefault(row.key.id, []).append(row)
    rows: list[AgentRow] = []
    problems: list[str] = []
    for each in dict.fromkeys(ids):
        found = by_id.get(each, [])
        places = {row.key.registry for row in found}
        if not found:
            problems.append(f"no agent {quoted_name(each)} on the roll")
        elif len(places) > 1:
            listed = choices(str(place) for place in sorted(places))
            name = quoted_name(each)
            problems.append(f"{name} is in more than one task: choose with -w one of {listed}")
        else:
            at_work = [row for row in found if row.verdict is not Verdict.FINISHED]
            rows.append((at_work or found)[0])
    return rows, problems


def tasks_of(roll: RollCall, ids: Sequence[str]) -> tuple[list[TaskRoll], list[str]]:
    """The tasks of exactly these ids, and what is wrong with the ids.

    Returns:
        The tasks, and a sentence for each id that names none, more than one, or one
        whose agents nobody knows.
    """
    tasks: list[TaskRoll] = []
    problems: list[str] = []
    for each in dict.fromkeys(ids):
        found = [task for task in roll.tasks() if task.task_id == each]
        if not found:
            problems.append(f"no task {quoted_name(each)} on the roll")
        elif len(found) > 1:
            listed = choices(sorted(str(task.state.registry) for task in found))
            name = quoted_name(each)
            problems.append(f"{name} is there more than once: choose with -w one of {listed}")
        elif found[0].state.record is None:
            path = shown_name(found[0].state.registry)
            problems.append(f"{path} cannot be read: {found[0].state.error}")
        else:
            tasks.append(found[0])
    return tasks, problems
