"""What is wrong with decoded registries, and what belongs there instead. Pure.

The task's registry is the truth where the global one repeats it. What nobody can
tell is found as well, and says why it cannot be set right.

In a workspace with a database the JSON files may be left from the creation of tasks:
nobody keeps what they repeat. Only what makes such a file of no use is found there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from registry.audit.diff import MISSING, snapshot
from registry.checks.apply import mend
from registry.checks.hierarchy import hierarchy_findings
from registry.checks.issue import BY_HAND, Issue, IssueKind
from registry.errors import WrongShapeError
from registry.schema import edits
from registry.schema.counters import counter_drifts
from registry.schema.records import agent_entries, is_global, is_terminal
from registry.storage.codec import Json, kind_of
from registry.storage.interruption import hand_on
from registry.text import shown_name

_LISTED_FIELDS = (
    "type",
    "parent",
    "started_at",
    "tmux_session",
    "status",
    "last_update",
    "completed_at",
)
"""What a global registry's entry repeats of the task's, in its order."""


def task_id_of(file: Path, task: Json) -> str:
    """A task's id: as its registry has it, or else the name of its directory."""
    written = task.get("task_id")
    return written if isinstance(written, str) and written else file.parent.name


def task_findings(file: Path, task: Json, *, kept: bool = True) -> list[Issue]:
    """What is wrong within one task's registry.

    Args:
        file: Its path, to be named.
        task: The decoded registry.
        kept: Whether what it repeats is kept: its workspace has no database.
    """
    shape = _shape(file, task, is_global(task), "looks like a global registry")
    if shape is not None:
        return [shape]
    if not kept:
        return list(_agents_alone(file, task))
    return [
        *_agents_alone(file, task),
        *hierarchy_findings(file, task),
        *_counters(file, task, task),
    ]


def _shape(file: Path, registry: Json, is_other: bool, what: str) -> Issue | None:
    """Why a registry cannot be looked into, or None."""
    if is_other:
        says = f"{what}, by its fields"
        return Issue(IssueKind.SHAPE, file, None, None, MISSING, says, advice=BY_HAND)
    try:
        edits.check_agents(registry)
    except WrongShapeError as error:
        hand_on(error)
        found = kind_of(registry.get("agents"))
        return Issue(IssueKind.SHAPE, file, None, error.field, found, str(error), advice=BY_HAND)
    return None


def _agents_alone(file: Path, registry: Json) -> Iterator[Issue]:
    """Agents that cannot be told apart."""
    ids = Counter(id_ for id_, _ in agent_entries(registry))
    for id_, count in ids.items():
        if not id_:
            says = f"{count} of its agents have no id" if count > 1 else "an agent has no id"
            yield Issue(IssueKind.SHAPE, file, None, "id", MISSING, says, advice=BY_HAND)
        elif count > 1:
            yield Issue(
                IssueKind.DUPLICATE,
                file,
                id_,
                "id",
                count,
                f"is there {count} times",
                advice="nobody can tell which of them is meant: remove all but one by hand",
            )


def _counters(file: Path, registry: Json, as_it_will_be: Json) -> Iterator[Issue]:
    """Counters that differ from what they will count."""
    right = {drift.counter: drift.counted for drift in counter_drifts(as_it_will_be)}
    for counter, count in edits.count_tasks(as_it_will_be).items() if is_global(registry) else ():
        written = registry.get(counter)
        if not edits.is_count(written) or written != count:
            right[counter] = count
    for counter, count in right.items():
        found = registry.get(counter, MISSING)
        says = f"counts {count}, and says {_value(found)}"
        yield Issue(IssueKind.COUNTER, file, None, counter, found, says, count)


def _value(found: Any) -> str:
    return "nothing" if found is MISSING else json.dumps(found)[:80]


def pair_findings(task_file: Path, task: Json, global_file: Path, global_: Json) -> list[Issue]:
    """Where the global registry says something else than a task's.

    Args:
        task_file: The task's registry.
        task: Decoded.
        global_file: The global registry that follows it.
        global_: Decoded.
    """
    if _shape(task_file, task, is_global(task), "") or _global_shape(global_file, global_):
        return []
    task_id = task_id_of(task_file, task)
    ids = Counter(id_ for id_, _ in agent_entries(task))
    mine = {id_: entry for id_, entry in agent_entries(task) if id_ and ids[id_] == 1}
    listed_ids = Counter(id_ for id_, _ in agent_entries(global_))
    listed = {id_: entry for id_, entry in agent_entries(global_) if id_ and listed_ids[id_] == 1}
    found = list(_task_listed(task_id, task, global_file, global_))
    for id_, entry in mine.items():
        if listed_ids[id_] > 1:
            continue
        there = listed.get(id_)
        if there is None:
            found.append(_not_in_global(id_, entry, task_id, global_file, global_))
        elif there.get("task_id") != task_id:
            found.append(_of_another_task(id_, there, task_id, global_file))
        else:
            found += _status(id_, entry, there, global_file)
    for id_, entry in listed.items():
        if entry.get("task_id") == task_id and id_ not in ids:
            found.append(
                Issue(
                    IssueKind.NOT_IN_TASK,
                    global_file,
                    id_,
                    "agents",
                    entry.get("status", MISSING),
                    f"is listed as of task {shown_name(task_id)}, whose registry does not have it",
                    advice="whether it ever was cannot be known: remove the entry there by hand, "
                    f"or add it to {shown_name(task_file)}",
                )
            )
    return found


def _task_listed(task_id: str, task: Json, file: Path, global_: Json) -> Iterator[Issue]:
    tasks = global_.get("tasks")
    if isinstance(tasks, dict) and task_id in tasks:
        return
    fields = {"description": "task_description", "created_at": "created_at", "status": "status"}
    entry = {name: task[own] for name, own in fields.items() if own in task}
    advice = "" if tasks is None or isinstance(tasks, dict) else "tasks is no object: " + BY_HAND
    says = f"does not list task {shown_name(task_id)}"
    yield Issue(
        IssueKind.NOT_LISTED,
        file,
        None,
        f"tasks[{task_id}]",
        MISSING,
        says,
        {task_id: entry},
        advice,
    )


def _not_in_global(id_: str, entry: Json, task_id: str, file: Path, global_: Json) -> Issue:
    agents = global_.get("agents")
    advice = ""
    if isinstance(agents, dict) and id_ in agents:
        advice = "another agent's entry stands under its id: mend that by hand"
    fields = {name: entry[name] for name in _LISTED_FIELDS if name in entry}
    says = f"is in task {shown_name(task_id)}, and not in the global registry"
    fix = {"task_id": task_id, **fields}
    return Issue(IssueKind.NOT_IN_GLOBAL, file, id_, "agents", MISSING, says, fix, advice)


def _of_another_task(id_: str, there: Json, task_id: str, file: Path) -> Issue:
    other = there.get("task_id", MISSING)
    return Issue(
        IssueKind.NOT_IN_GLOBAL,
        file,
        id_,
        "task_id",
        other,
        f"is in task {shown_name(task_id)}; the agent of this id here is of task {_value(other)}",
        advice="an id can be here once only, and nobody can tell whose it is: mend it by hand",
    )


def _status(id_: str, entry: Json, there: Json, file: Path) -> Iterator[Issue]:
    own, listed = entry.get("status"), there.get("status")
    # An entry has no status until its first update, and counts as active so long.
    if not isinstance(own, str) or own == listed or (listed is None and not is_terminal(own)):
        return
    found = there.get("status", MISSING)
    says = f"is {_value(found)} here, and {_value(own)} in its task's registry"
    if listed is None:
        says = f"has no status here, as if at work, and is {_value(own)} in its task's registry"
    yield Issue(IssueKind.STATUS, file, id_, "status", found, says, own)


def _global_shape(file: Path, global_: Json) -> Issue | None:
    return _shape(file, global_, not is_global(global_), "has no field of a global registry")


def global_findings(
    file: Path,
    global_: Json,
    pairs: Sequence[tuple[Path, Json]] = (),
    known: Collection[str] | None = None,
    *,
    kept: bool = True,
) -> list[Issue]:
    """What is wrong within a global registry, once it says what the tasks' do.

    Args:
        file: Its path, to be named.
        global_: The decoded registry.
        pairs: The registries of its tasks: what they are the truth for is counted as
            it will be.
        known: Ids of all tasks that are there; None to look for no missing ones.
        kept: As in `task_findings`.
    """
    shape = _global_shape(file, global_)
    if shape is not None:
        return [shape]
    if not kept:
        return list(_agents_alone(file, global_))
    will_be = snapshot(global_)
    for task_file, task in pairs:
        mend(will_be, file, pair_findings(task_file, task, file, will_be))
    return [
        *_agents_alone(file, global_),
        *(_missing_tasks(file, global_, known) if known is not None else ()),
        *_counters(file, global_, will_be),
    ]


def _missing_tasks(file: Path, global_: Json, known: Collection[str]) -> Iterable[Issue]:
    tasks = global_.get("tasks")
    of_agents = Counter(
        task_id
        for _, entry in agent_entries(global_)
        if isinstance(task_id := entry.get("task_id"), str)
    )
    for task_id in dict.fromkeys((*(tasks if isinstance(tasks, dict) else ()), *of_agents)):
        if task_id not in known:
            yield Issue(
                IssueKind.TASK_MISSING,
                file,
                None,
                f"tasks[{task_id}]",
                of_agents[task_id],
                f"task {shown_name(task_id)} with {of_agents[task_id]} agents is here, and its "
                "registry is not there",
                advice="nobody can tell what became of it: put its registry back, or remove "
                "what is listed of it by hand",
            )
