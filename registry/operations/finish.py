"""Writing agents down as through, in the task's registry and in the global one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from registry.audit.transaction import AuditContext, change_pair
from registry.errors import WrongShapeError
from registry.schema import edits
from registry.schema.arguments import RegistryPath, distinct_ids, path_or_none, timestamp
from registry.schema.records import Deployment, agent_entries, is_active, is_terminal
from registry.storage.codec import Json
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.text import shown_name

_log = logging.getLogger(__name__)

Judged = Mapping[str, Collection[Deployment]]
"""By agent, the deployments that its end is about (several where its id is there twice)."""

END_FIELD = {
    "completed": "completed_at",
    "terminated": "terminated_at",
    "error": "failed_at",
    "failed": "failed_at",
}
"""The field that holds the time at which an agent got a terminal status."""

END_FIELDS = (*dict.fromkeys(END_FIELD.values()), "termination_reason", "completion_reason")
"""What the global registry repeats of an agent that is through."""


@dataclass(frozen=True, slots=True)
class FinishReport:
    """What `finish_agents` did, agent by agent.

    Attributes:
        changed: Agents whose status changed, in the task's registry or the global one.
        untouched: For every other agent that was asked for, why it stayed.
        written: The registries that were written.
        problems: Why the global registry could not be written, if so.
    """

    changed: tuple[edits.StatusChange, ...]
    untouched: Mapping[str, str]
    written: tuple[Path, ...]
    problems: tuple[str, ...]


def end_fields(status: str, reason: str | None) -> dict[str, str]:
    """What an agent's entry is given, beside the status, when it is ended now.

    Args:
        status: "completed" or "terminated".
        reason: Why; None for no such field.

    Raises:
        WrongShapeError: The status is neither of the two.
    """
    if status not in ("completed", "terminated"):
        raise WrongShapeError("status", f"must be 'completed' or 'terminated', not {status!r}")
    word = "completion_reason" if status == "completed" else "termination_reason"
    return {END_FIELD[status]: timestamp()} | ({word: reason} if reason is not None else {})


def end_of(entry: Json) -> edits.End | None:
    """The end that an agent's entry tells of, or None while it is not through."""
    if not is_terminal(entry.get("status")):
        return None
    return entry["status"], {name: entry[name] for name in END_FIELDS if name in entry}


def finish_agents(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    agent_ids: Iterable[str],
    *,
    status: Literal["completed", "terminated"],
    reason: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_record: AuditContext | None = None,
    judged: Judged | None = None,
    owner: int | None = None,
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
        on_record: How to write it to the workspace's audit log first; None does not.
        judged: By agent, the deployments that were found to be through. An entry that is
            about another one under the lock was deployed anew meanwhile: it stays, and
            `FinishReport.untouched` says so. Whom this does not name is not compared.
        owner: The user whose the task's registry was when that was found, by its number.
            None does not compare it.

    Raises:
        UntrustedFileError: A registry of another user lies there now; nothing was written.
        WrongShapeError: The status is neither of the two; nothing was written.
        AuditError: It could not be put on record; nothing was written.
        RegistryError: The task's registry could not be had; nothing was written.
    """
    if status == "terminated":
        reason = reason or "terminated"
    fields = end_fields(status, reason or None)
    task = Path(task_registry)
    global_ = path_or_none(global_registry)
    ids = distinct_ids(agent_ids)

    def finish(in_task: Json, in_global: Json | None) -> FinishReport:
        return _finish(task, in_task, in_global, ids, (status, fields), judged or {})

    made = change_pair(task, global_, finish, timeout=timeout, on_record=on_record, owner=owner)
    report = made.result
    _log.info("Finished %d agents as %s in %s", len(report.changed), status, task)
    return FinishReport(report.changed, report.untouched, made.written, made.problems)


class SessionEnd(StrEnum):
    """What became of an agent's session when it was to be ended."""

    ENDED = "ended"
    GONE = "gone"  # It was not there any more.
    STILL_THERE = "still there"


def terminate_agents(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    sessions: Mapping[str, SessionEnd],
    *,
    reason: str,
    timeout: float = DEFAULT_TIMEOUT,
    judged: Judged | None = None,
) -> FinishReport:
    """Writes down as terminated whose sessions were ended, in both registries as one change.

    To be called after the sessions were ended, and with no lock held meanwhile.
    Whose session is still there stays as it is: it may be at work.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's, or None.
        sessions: By agent, what became of its session.
        reason: Why, as `termination_reason`.
        timeout: Seconds to wait for the locks.
        judged: By agent, the deployments whose sessions these were, as for
            `finish_agents`: who was deployed anew since stays as it is.

    Returns:
        Who was changed, and why the others were not.

    Raises:
        TypeError, ValueError: `sessions` is no mapping of ids to ends.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: As `LockedRegistryFile`.
    """
    if not isinstance(sessions, Mapping):
        raise TypeError("sessions must say of each agent what became of its session")
    ends = {agent_id: SessionEnd(end) for agent_id, end in sessions.items()}
    ended = [agent_id for agent_id, end in ends.items() if end is not SessionEnd.STILL_THERE]
    report = finish_agents(
        task_registry,
        global_registry,
        ended,
        status="terminated",
        reason=reason,
        timeout=timeout,
        judged=judged,
    )
    left = {id_: "its session is still there" for id_ in ends if id_ not in ended}
    return replace(report, untouched={**report.untouched, **left})


def _finish(
    path: Path,
    task: Json,
    global_: Json | None,
    ids: tuple[str, ...],
    end: edits.End,
    judged: Judged,
) -> FinishReport:
    wanted = frozenset(ids)
    in_task = edits.finish_each(
        task,
        lambda id_, entry: end if id_ in wanted and _is_judged(id_, entry, judged) else None,
    )
    in_global = _follow(task, global_, wanted, end, judged) if global_ is not None else []
    entries = {id_: entry for id_, entry in agent_entries(task) if id_}
    changed = {each.agent_id: each for each in (*in_global, *in_task)}
    untouched = {
        id_: _why_untouched(entries[id_]) if id_ in entries else f"is not in {shown_name(path)}"
        for id_ in ids
        if id_ not in changed
    }
    return FinishReport(tuple(changed.values()), untouched, (), ())


def _is_judged(agent_id: str | None, entry: Json, judged: Judged) -> bool:
    """Whether an entry is about a deployment that was judged."""
    deployments = judged.get(agent_id or "")
    return deployments is None or Deployment.of(entry) in deployments


def _why_untouched(entry: Json) -> str:
    status = entry.get("status")
    if is_active(status):
        return f"was deployed anew meanwhile; it stays {status!r}"
    return f"is {status!r} already"


def _follow(
    task: Json, global_: Json, wanted: Collection[str], end: edits.End, judged: Judged
) -> list[edits.StatusChange]:
    """Brings the global registry's entries to where the task's are."""
    in_task = {id_: entry for id_, entry in agent_entries(task) if id_ in wanted}
    task_id = task.get("task_id")

    def end_in_task(agent_id: str | None, listed: Json) -> edits.End | None:
        # An id of this task may be another agent's in another task.
        if agent_id not in wanted or listed.get("task_id", task_id) != task_id:
            return None
        entry = in_task.get(agent_id)
        if entry is None:
            # It may be on its way into the task's registry.
            return end if _is_judged(agent_id, listed, judged) else None
        return end_of(entry)

    return edits.finish_each(global_, end_in_task)
