"""Records progress reports of agents in both registries and in the agents' progress files."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from registry.dataclass import dataclass
from registry.errors import AgentNotFoundError, WrongShapeError
from registry.operations.finish import END_FIELD
from registry.operations.progress_file import append_progress
from registry.operations.register import is_of_task
from registry.pair import edited_pair
from registry.schema import edits
from registry.schema.arguments import RegistryPath, further_fields, path_or_none, timestamp
from registry.schema.records import agent_entries
from registry.schema.statuses import ACTIVE_STATUSES, TERMINAL_STATUSES
from registry.storage.codec import Json
from registry.storage.files.interruption import hand_on
from registry.storage.files.safe_open import is_safe_name
from registry.storage.locked_file import DEFAULT_TIMEOUT, Edit
from registry.text import quoted_name, shown_name

_log = logging.getLogger(__name__)

_SET_HERE = frozenset({"id", "status", "progress", "last_update", *END_FIELD.values()})


@dataclass(frozen=True, slots=True)
class Reported:
    """The result of a progress report.

    Attributes:
        agent_id: The agent's id.
        previous: The status before the report; None if the agent's entry had no status.
        status: The status after the report.
        problems: The reasons why the global registry or the progress file could not be written.
    """

    agent_id: str
    previous: str | None
    status: str
    problems: tuple[str, ...]


def report_progress(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_id: str,
    *,
    status: str | None = None,
    progress: float | None = None,
    message: str = "",
    fields: Mapping[str, Any] | None = None,
    clamp: bool = False,
    any_status: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> Reported:
    """Records the progress of an agent in both registries and in the agent's progress file.

    Sets `status`, `progress` and `last_update`, and adapts the counters. A terminal status also
    sets the time of the end (`completed_at`, `terminated_at` or `failed_at`). If an agent with a
    terminal status reports an active status, the agent is active again.

    The registries are changed in one commit. Then one line is appended, without a lock, to
    ``progress/<agent id>_progress.jsonl`` in the task's directory.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's global registry, or None. It may be missing.
        agent_id: The id of the agent.
        status: An active or terminal status; None to keep the present status.
        progress: The progress in percent, 0 to 100; None to keep the present value.
        message: A message for the user.
        fields: Further fields of the agent's entry in the task's registry.
        clamp: Whether to replace a progress below 0 by 0, and a progress above 100 by 100. If
            False, such a progress is an error.
        any_status: Whether to accept a status that this library does not know. An agent with such
            a status counts neither as active nor as ended.
        timeout: How long to wait for the locks, in seconds.

    Raises:
        AgentNotFoundError: The task's registry does not list the agent; nothing was written.
        WrongShapeError: The progress is not a number from 0 to 100, the status is unknown, or
            the id cannot be part of a file name; nothing was written.
        TypeError, ValueError: `fields` contains a value that JSON cannot represent, or a field
            that this function sets itself.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    if clamp and _is_number(progress) and not math.isnan(progress):
        progress = min(max(progress, 0), 100)
    check_report(agent_id, status, progress, message, any_status=any_status)
    extra = further_fields(fields, _SET_HERE, "report_progress")
    task = Path(task_registry)
    global_ = path_or_none(global_registry)

    def report(
        in_task: Edit, in_global: Edit | None, problems: list[str]
    ) -> tuple[str, Json, edits.StatusChange, list[str]]:
        # The time is taken under the locks, because a clean-up compares it with the time at which
        # the clean-up read the registry.
        now = timestamp()
        entry = _entry(in_task.registry, agent_id)
        wanted, new_fields = _reported(entry, status, progress, now)
        change = edits.set_status(in_task.registry, agent_id, wanted, {**extra, **new_fields})
        in_task.changed = True
        if in_global is not None:
            shown = ("last_update", END_FIELD.get(change.status))
            fields = {name: entry[name] for name in shown if name in entry}
            is_meant = is_of_task(in_task.registry.get("task_id"))
            try:
                edits.set_status(in_global.registry, agent_id, change.status, fields, is_meant)
                in_global.changed = True
            except AgentNotFoundError as error:
                hand_on(error)
                problems.append(
                    f"{shown_name(in_global.path)} does not list agent {quoted_name(agent_id)}; "
                    "only the task's registry was written (`muster doctor --fix` lists the agent)"
                )
        return now, entry, change, problems

    now, entry, change, problems = edited_pair(task, global_, report, timeout)
    line = {
        "timestamp": now,
        "agent_id": agent_id,
        "status": change.status,
        "message": message,
        "progress": progress if progress is not None else entry.get("progress"),
    }
    problem = append_progress(task.parent, line)
    if problem is not None:
        problems.append(f"the registry has the report, but {problem}")
    _log.info("Agent %s reported %s (%s %%)", agent_id, change.status, line["progress"])
    return Reported(agent_id, change.previous, change.status, tuple(problems))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_report(
    agent_id: str,
    status: str | None,
    progress: float | None,
    message: str,
    *,
    any_status: bool = False,
    accepted: Collection[str] = ACTIVE_STATUSES | TERMINAL_STATUSES,
) -> None:
    """Requires valid arguments of a report; see `report_progress`.

    Args:
        agent_id: The id of the agent.
        status: The status, or None.
        progress: The progress in percent, or None.
        message: The message.
        any_status: Whether every status is accepted.
        accepted: The accepted statuses otherwise.

    Raises:
        WrongShapeError: An argument has a wrong value.
    """
    if not isinstance(agent_id, str) or not is_safe_name(agent_id):
        raise WrongShapeError(
            "id", f"is {quoted_name(agent_id, 80)}, which cannot be part of a file's name"
        )
    if not isinstance(message, str):
        raise WrongShapeError("message", "must be a string")
    if any_status and (not isinstance(status, str | None) or status == ""):
        raise WrongShapeError("status", "must be a non-empty string")
    refused = not isinstance(status, str) or status not in accepted
    if status is not None and not any_status and refused:
        known = ", ".join(sorted(accepted))
        raise WrongShapeError("status", f"is {quoted_name(status, 80)}, not one of {known}")
    if progress is None:
        return
    # The comparison also refuses NaN.
    if not _is_number(progress) or not 0 <= progress <= 100:
        raise WrongShapeError("progress", "must be a number from 0 to 100")


def _entry(task: Json, agent_id: str) -> Json:
    for id_, entry in agent_entries(task):
        if id_ == agent_id:
            return entry
    raise AgentNotFoundError(agent_id)


def _reported(
    entry: Json, status: str | None, progress: float | None, now: str
) -> tuple[str, Json]:
    """Returns the status of an entry after a report, and the other fields that the report sets."""
    kept = entry.get("status")
    wanted = status if status is not None else kept if isinstance(kept, str) else "working"
    fields: Json = {"last_update": now}
    if progress is not None:
        fields["progress"] = progress
    stamp = END_FIELD.get(wanted)
    if stamp is not None and (wanted != kept or stamp not in entry):
        fields[stamp] = now
    return wanted, fields
