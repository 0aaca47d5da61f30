"""Finds issues in decoded registries, and determines the right values. Pure.

If the global registry and a task's registry differ, the task's registry is right. If the right
value cannot be known, `Issue.advice` has the reason.

If a database lists a task, the orchestrator does not update the task's JSON files. So only issues
that make a file unusable are reported there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from registry.audit.diff import MISSING, snapshot
from registry.checks.apply import apply_fixes
from registry.checks.hierarchy import hierarchy_findings
from registry.checks.issue import BY_HAND, Issue, IssueKind
from registry.dataclass import replace
from registry.errors import WrongShapeError
from registry.schema import counters, edits
from registry.schema.counters import counter_drifts
from registry.schema.records import agent_entries, is_global
from registry.schema.statuses import is_terminal
from registry.schema.zombies import ended_just_now
from registry.storage.codec import Json, kind_of
from registry.storage.files.interruption import hand_on
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
"""The fields of an agent's entry that are also written to the global registry."""


def task_id_of(file: Path, task: Json) -> str:
    """Returns the `task_id` in a task's registry, or else the name of the task's directory."""
    written = task.get("task_id")
    return written if isinstance(written, str) and written else file.parent.name


def is_usable(file: Path, registry: Json, *, as_global: bool) -> bool:
    """Returns whether a registry is of the expected kind, and its agents can be counted.

    Args:
        file: The path of the registry.
        registry: The decoded registry.
        as_global: Whether a global registry is expected; if not, a task's registry.
    """
    if as_global:
        return _global_shape(file, registry) is None
    return _shape(file, registry, is_global(registry), "") is None


def task_findings(
    file: Path, task: Json, *, kept: bool = True, lost: Sequence[Issue] = ()
) -> list[Issue]:
    """Returns the issues within one task's registry.

    Args:
        file: The path of the registry, for the issues.
        task: The decoded registry.
        kept: Whether the orchestrator updates the counters and lists of the registry; False if the
            workspace has a database.
        lost: The issues of lost agents, from `lost_findings`. The counters and the hierarchy are
            checked as if these agents were already added to the registry.
    """
    shape = _shape(file, task, is_global(task), "looks like a global registry")
    if shape is not None:
        return [shape]
    if not kept:
        return list(agents_alone(file, task))
    will_be = with_lost(file, task, lost)
    return [
        *agents_alone(file, task),
        *lost,
        *hierarchy_findings(file, will_be),
        *_counters(file, task, will_be),
    ]


def with_lost(file: Path, task: Json, lost: Sequence[Issue]) -> Json:
    """Returns a task's registry with its lost agents added.

    Args:
        file: The path of the registry.
        task: The decoded registry; not changed.
        lost: The issues of lost agents; issues that are not fixable are ignored.
    """
    if not any(issue.fixable for issue in lost):
        return task
    will_be = snapshot(task)
    apply_fixes(will_be, file, lost)
    return will_be


def _shape(file: Path, registry: Json, is_other: bool, what: str) -> Issue | None:
    """Returns the issue that makes a registry unusable, or None."""
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


def agents_alone(file: Path, registry: Json) -> Iterator[Issue]:
    """Yields issues for agents without a unique id.

    Args:
        file: The path of the registry, for the issues.
        registry: The decoded registry.
    """
    ids = Counter(id_ for id_, _ in agent_entries(registry))
    for id_, count in ids.items():
        if not id_:
            says = f"{count} agents have no id" if count > 1 else "an agent has no id"
            yield Issue(IssueKind.SHAPE, file, None, "id", MISSING, says, advice=BY_HAND)
        elif count > 1:
            yield Issue(
                IssueKind.DUPLICATE,
                file,
                id_,
                "id",
                count,
                f"is listed {count} times",
                advice="the right entry cannot be known: remove all entries but one by hand",
            )


def _counters(file: Path, registry: Json, as_it_will_be: Json) -> Iterator[Issue]:
    """Yields an issue for each counter that will be wrong after all other issues are repaired.

    Args:
        file: The path of the registry.
        registry: The decoded registry.
        as_it_will_be: The decoded registry after these repairs.
    """
    right = {drift.counter: drift.counted for drift in counter_drifts(as_it_will_be)}
    for counter, count in (
        counters.count_tasks(as_it_will_be).items() if is_global(registry) else ()
    ):
        written = registry.get(counter)
        if not counters.is_count(written) or written != count:
            right[counter] = count
    for counter, count in right.items():
        found = registry.get(counter, MISSING)
        says = f"is {_value(found)}, but should be {count}"
        yield Issue(IssueKind.COUNTER, file, None, counter, found, says, count)


def _value(found: Any) -> str:
    return "missing" if found is MISSING else json.dumps(found)[:80]


def pair_findings(
    task_file: Path,
    task: Json,
    global_file: Path,
    global_: Json,
    now: float,
    *,
    lost: Sequence[Issue] = (),
) -> list[Issue]:
    """Returns the differences between a task's registry and the global registry, as issues.

    The status of an agent that has just reported its end is not compared (`ended_just_now`).

    Args:
        task_file: The path of the task's registry.
        task: The task's registry, decoded.
        global_file: The path of the global registry that lists the task.
        global_: The global registry, decoded.
        now: The time of the check, in seconds since the epoch.
        lost: The issues of lost agents, from `lost_findings`. The registries are compared as if
            these agents were already added to the task's registry.
    """
    if _shape(task_file, task, is_global(task), "") or _global_shape(global_file, global_):
        return []
    task_id = task_id_of(task_file, task)
    task = with_lost(task_file, task, lost)
    put_back = {issue.agent for issue in lost}
    ids = Counter(id_ for id_, _ in agent_entries(task))
    own = {id_: entry for id_, entry in agent_entries(task) if id_ and ids[id_] == 1}
    listed_ids = Counter(id_ for id_, _ in agent_entries(global_))
    listed = {id_: entry for id_, entry in agent_entries(global_) if id_ and listed_ids[id_] == 1}
    issues = list(_task_listed(task_id, task, global_file, global_))
    for id_, entry in own.items():
        if listed_ids[id_] > 1:
            continue
        in_global = listed.get(id_)
        if in_global is None:
            issue = _not_in_global(id_, entry, task_id, global_file, global_)
            if id_ in put_back:
                says = f"will be in task {shown_name(task_id)}, but not in the global registry"
                issue = replace(issue, says=says)
            issues.append(issue)
        elif in_global.get("task_id") != task_id:
            issues.append(_of_another_task(id_, in_global, task_id, global_file))
        elif not ended_just_now(entry, now):
            issues += _status(id_, entry, in_global, global_file)
    for id_, entry in listed.items():
        if entry.get("task_id") == task_id and id_ not in ids:
            issues.append(
                Issue(
                    IssueKind.NOT_IN_TASK,
                    global_file,
                    id_,
                    "agents",
                    entry.get("status", MISSING),
                    f"is listed for task {shown_name(task_id)}, but the task's registry does not "
                    "list the agent",
                    advice="the right state cannot be known: remove the entry from the global "
                    f"registry by hand, or add the agent to {shown_name(task_file)}",
                )
            )
    return issues


def _task_listed(task_id: str, task: Json, file: Path, global_: Json) -> Iterator[Issue]:
    tasks = global_.get("tasks")
    if isinstance(tasks, dict) and task_id in tasks:
        return
    fields = {"description": "task_description", "created_at": "created_at", "status": "status"}
    entry = {name: task[own] for name, own in fields.items() if own in task}
    is_usable = tasks is None or isinstance(tasks, dict)
    advice = "" if is_usable else "tasks is not an object; " + BY_HAND
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
        advice = "another agent's entry has this agent's id as its key: correct that key by hand"
    fields = {name: entry[name] for name in _LISTED_FIELDS if name in entry}
    says = f"is in task {shown_name(task_id)}, but not in the global registry"
    fix = {"task_id": task_id, **fields}
    return Issue(IssueKind.NOT_IN_GLOBAL, file, id_, "agents", MISSING, says, fix, advice)


def _of_another_task(id_: str, in_global: Json, task_id: str, file: Path) -> Issue:
    other = in_global.get("task_id", MISSING)
    named = "no task" if other is MISSING else f"task {_value(other)}"
    return Issue(
        IssueKind.NOT_IN_GLOBAL,
        file,
        id_,
        "task_id",
        other,
        f"is in task {shown_name(task_id)}, but the entry with this agent's id in the global "
        f"registry names {named}",
        advice="an id must be unique, and the right task cannot be known: correct the entry by "
        "hand",
    )


def _status(id_: str, entry: Json, in_global: Json, file: Path) -> Iterator[Issue]:
    own, listed = entry.get("status"), in_global.get("status")
    # Until the agent's first update, the entry has no status, and the agent counts as active.
    if not isinstance(own, str) or own == listed or (listed is None and not is_terminal(own)):
        return
    found = in_global.get("status", MISSING)
    says = f"has the status {_value(found)} in this file, but {_value(own)} in the task's registry"
    if listed is None:
        says = "has no status in this file, so the agent counts as active; but the agent has the "
        says += f"status {_value(own)} in the task's registry"
    yield Issue(IssueKind.STATUS, file, id_, "status", found, says, own)


def _global_shape(file: Path, global_: Json) -> Issue | None:
    return _shape(file, global_, not is_global(global_), "has no field of a global registry")


def global_findings(
    file: Path,
    global_: Json,
    pairs: Sequence[tuple[Path, Json]] = (),
    known: Collection[str] | None = None,
    *,
    now: float,
    kept: bool = True,
) -> list[Issue]:
    """Returns the issues within a global registry.

    Args:
        file: The path of the registry, for the issues.
        global_: The decoded registry.
        pairs: The paths and decoded registries of the tasks. The counters are checked as if the
            differences between these registries and the global registry were already repaired.
        known: The ids of all existing tasks; None to not search for missing tasks.
        now: The time of the check, in seconds since the epoch.
        kept: Whether the orchestrator updates the counters and lists of the registry; False if the
            workspace has a database.
    """
    shape = _global_shape(file, global_)
    if shape is not None:
        return [shape]
    if not kept:
        return list(agents_alone(file, global_))
    will_be = snapshot(global_)
    for task_file, task in pairs:
        apply_fixes(will_be, file, pair_findings(task_file, task, file, will_be, now))
    return [
        *agents_alone(file, global_),
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
                f"task {shown_name(task_id)} with {of_agents[task_id]} agents is listed, but the "
                "task's registry does not exist",
                advice="the state of the task cannot be known: restore the task's registry, or "
                "remove the task and its agents from this file by hand",
            )
