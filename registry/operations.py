"""The atomic operations: each one locked read-change-write of a file, or of two.

Every function takes a task's registry or the global one and tells them apart by
their fields. Nothing here asks tmux or waits for anything but the lock.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from registry import changes
from registry.codec import Json, plain
from registry.errors import RegistryError, WrongShapeError
from registry.locked_file import DEFAULT_TIMEOUT, Edit, editing, editing_both
from registry.records import agent_entries, is_terminal

_log = logging.getLogger(__name__)

RegistryPath = str | os.PathLike[str]

_END_FIELDS = ("completed_at", "terminated_at", "termination_reason", "completion_reason")


def timestamp() -> str:
    """Now as registries write it: local time, ISO 8601, no zone."""
    return datetime.now().isoformat()


def atomic_add_agent(
    registry_path: RegistryPath, agent_data: Mapping[str, Any], parent: str
) -> None:
    """Adds an agent and counts it, in one locked pass.

    Appends to `agents`, adds 1 to `total_spawned`, and to `active_count` if its
    status is active, and puts it under ``agent_hierarchy[parent]``. (In a global
    registry: `total_agents_spawned`, `active_agents`, no hierarchy.)

    Args:
        registry_path: The registry.
        agent_data: The agent's fields; `id` is required. Kept as given.
        parent: The id of the agent that started it, or "orchestrator".

    Raises:
        DuplicateAgentError: The id is there already; nothing was changed.
        WrongShapeError: No id, or the registry's fields cannot take an agent.
        TypeError, ValueError: JSON has no word for something in `agent_data`.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    path = Path(registry_path)
    agent = plain(agent_data)
    with editing(path) as edit:
        changes.add_agent(edit.registry, agent, parent)
        edit.changed = True
        total = edit.registry[changes.counter_names(edit.registry).total]
    _log.info("Atomically added agent %s to %s (%s in all)", agent["id"], path, total)


def atomic_update_agent_status(
    registry_path: RegistryPath, agent_id: str, status: str, **extra_fields: Any
) -> dict[str, Any]:
    """Sets an agent's status, `last_update` and further fields, in one locked pass.

    The counter of active agents falls when an active agent leaves the active
    statuses and rises when it comes back; `completed_count` follows `completed`.

    Args:
        registry_path: The registry.
        agent_id: Which agent.
        status: Its new status.
        **extra_fields: Further fields to set, for example ``progress=40``.

    Returns:
        `success` (True), `agent_id`, `previous_status`, `new_status`,
        `active_count`, `completed_count` (None in a global registry) and
        `total_spawned`, as they are after the change.

    Raises:
        ValueError: The registry has no such agent, or the status is no string.
        TypeError, ValueError: JSON has no word for one of the fields.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    path = Path(registry_path)
    fields = plain({"last_update": timestamp(), **extra_fields})
    with editing(path) as edit:
        change = changes.set_status(edit.registry, agent_id, status, fields)
        edit.changed = True
        names = changes.counter_names(edit.registry)
        result = {
            "success": True,
            "agent_id": agent_id,
            "previous_status": change.previous,
            "new_status": status,
            "active_count": edit.registry.get(names.active),
            "completed_count": edit.registry.get(names.completed) if names.completed else None,
            "total_spawned": edit.registry.get(names.total),
        }
    _log.info("Atomically updated agent %s: %s -> %s", agent_id, change.previous, status)
    return result


def atomic_increment_counts(registry_path: RegistryPath, active: int = 0, total: int = 0) -> None:
    """Adds to the counters of active and of all agents; never below 0.

    Raises:
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    with editing(Path(registry_path)) as edit:
        changes.shift_counters(edit.registry, active=active, total=total)
        edit.changed = bool(active or total)
    _log.info("Atomically added %+d active, %+d total in %s", active, total, registry_path)


def atomic_decrement_active_count(registry_path: RegistryPath, amount: int = 1) -> None:
    """Takes from the counter of active agents; never below 0.

    Raises:
        ValueError: The amount is no whole number, or below 0.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    if not changes.is_count(amount) or amount < 0:
        raise WrongShapeError("amount", "must be a whole number, not below 0")
    atomic_increment_counts(registry_path, active=-amount)


def atomic_mark_agents_completed(registry_path: RegistryPath, agent_ids: Iterable[str]) -> int:
    """Completes all the named agents that are active, in one locked pass.

    Sets `status` and `completed_at` and moves the counters. Agents that are
    not active, or not there, stay as they are: a second call returns 0.

    Returns:
        How many were changed.

    Raises:
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    path = Path(registry_path)
    ids = _ids(agent_ids)
    with editing(path) as edit:
        done = changes.finish(edit.registry, ids, "completed", {"completed_at": timestamp()})
        edit.changed = bool(done)
    _log.info("Atomically marked %d agents completed in %s", len(done), path)
    return len(done)


def _ids(agent_ids: Iterable[str]) -> tuple[str, ...]:
    """Ids to go through more than once; a lone string is no collection of ids."""
    if isinstance(agent_ids, str):
        raise TypeError(f"agent_ids must be a collection of ids, not the string {agent_ids!r}")
    return tuple(dict.fromkeys(agent_ids))


@dataclass(frozen=True, slots=True)
class FinishReport:
    """What `finish_agents` did, agent by agent.

    Attributes:
        changed: Agents whose status changed, in the task's registry or the global one.
        untouched: For every other agent that was asked for, why it stayed.
        written: The registries that were written.
        problems: Why the global registry could not be written, if so.
    """

    changed: tuple[changes.StatusChange, ...]
    untouched: Mapping[str, str]
    written: tuple[Path, ...]
    problems: tuple[str, ...]


def finish_agents(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_ids: Iterable[str],
    *,
    status: Literal["completed", "terminated"],
    reason: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> FinishReport:
    """Completes or terminates agents in the task's registry and in the global one.

    Only agents in an active status change. The global registry follows the
    task's, also where it had been left behind before; either may lack an agent.

    Args:
        task_registry: The task's registry; the truth where the two differ.
        global_registry: The workspace's, or None.
        agent_ids: Which agents.
        status: "completed" sets `completed_at`, and `completion_reason` if a
            reason is given; "terminated" sets `terminated_at` and
            `termination_reason`.
        reason: Why, in the operator's words.
        timeout: Seconds to wait for the locks.

    Raises:
        RegistryError: The task's registry could not be had; nothing was written.
    """
    now = timestamp()
    if status == "completed":
        fields = {"completed_at": now} | ({"completion_reason": reason} if reason else {})
    else:
        fields = {"terminated_at": now, "termination_reason": reason or "terminated"}
    task = Path(task_registry)
    global_ = Path(global_registry) if global_registry is not None else None
    ids = _ids(agent_ids)
    with _editing_pair(task, global_, timeout) as (task_edit, global_edit, problems):
        in_task = changes.finish(task_edit.registry, ids, status, fields)
        task_edit.changed = bool(in_task)
        in_global: list[changes.StatusChange] = []
        if global_edit is not None:
            in_global = _follow(task_edit.registry, global_edit.registry, ids, status, fields)
            global_edit.changed = bool(in_global)
        found = {id_ for id_, _ in agent_entries(task_edit.registry) if id_}
        statuses = {id_: e.get("status") for id_, e in agent_entries(task_edit.registry)}
    changed = {each.agent_id: each for each in in_global} | {
        each.agent_id: each for each in in_task
    }
    untouched = {
        id_: f"is {statuses[id_]!r} already" if id_ in found else f"is not in {task}"
        for id_ in ids
        if id_ not in changed
    }
    written = [edit.path for edit in (task_edit, global_edit) if edit and edit.changed]
    _log.info("Finished %d agents as %s in %s", len(changed), status, task)
    return FinishReport(tuple(changed.values()), untouched, tuple(written), tuple(problems))


def _follow(
    task: Json,
    global_: Json,
    agent_ids: Collection[str],
    status: str,
    fields: Mapping[str, Any],
) -> list[changes.StatusChange]:
    """Brings the global registry's entries to where the task's are."""
    wanted = frozenset(agent_ids)
    in_task = {id_: entry for id_, entry in agent_entries(task) if id_ in wanted}
    task_id = task.get("task_id")

    def end_of(agent_id: str | None, listed: Json) -> changes.End | None:
        # An id of this task may be another agent's in another task.
        if agent_id not in wanted or listed.get("task_id", task_id) != task_id:
            return None
        entry = in_task.get(agent_id)
        if entry is None:
            return status, fields
        if not is_terminal(entry.get("status")):
            return None
        return entry["status"], {name: entry[name] for name in _END_FIELDS if name in entry}

    return changes.finish_each(global_, end_of)


@contextmanager
def _editing_pair(
    task: Path, global_: Path | None, timeout: float
) -> Iterator[tuple[Edit, Edit | None, list[str]]]:
    """Both registries under their locks, or the task's alone where the global one fails.

    A death must be on record in the task's registry even while the global one
    is broken; what was left out is said in the list.
    """
    deadline = time.monotonic() + timeout
    problems: list[str] = []
    with ExitStack() as stack:
        task_edit: Edit
        global_edit: Edit | None = None
        try:
            if global_ is None:
                task_edit = stack.enter_context(editing(task, timeout))
            else:
                task_edit, global_edit = stack.enter_context(editing_both(task, global_, timeout))
        except RegistryError as error:
            if global_ is None or getattr(error, "path", None) != global_:
                raise
            if not isinstance(error, FileNotFoundError):
                problems.append(f"the global registry was not updated: {error}")
            left = max(1.0, deadline - time.monotonic())
            task_edit = stack.enter_context(editing(task, left))
        yield task_edit, global_edit, problems
