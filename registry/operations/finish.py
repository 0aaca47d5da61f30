"""Gives agents a terminal status, in the task's registry and in the global registry."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from registry.audit.transaction import AuditContext, change_pair
from registry.dataclass import dataclass, replace
from registry.errors import WrongShapeError
from registry.schema import edits
from registry.schema.arguments import (
    RegistryPath,
    distinct_ids,
    further_fields,
    path_or_none,
    timestamp,
)
from registry.schema.records import Deployment, agent_entries, counts_as_active
from registry.schema.statuses import is_terminal, meaning_of
from registry.schema.zombies import ended_just_now
from registry.storage.codec import Json
from registry.storage.locked_file import DEFAULT_TIMEOUT
from registry.text import shown_name

if TYPE_CHECKING:
    from registry.agent_output.reported_end import ReportedEnd

_log = logging.getLogger(__name__)

Judged = Mapping[str, Collection[Deployment]]
"""Maps an agent's id to the deployments of this agent that may be changed.

There may be several deployments, because several entries may have the same id.
"""

END_FIELD = {
    "completed": "completed_at",
    "terminated": "terminated_at",
    "error": "failed_at",
    "failed": "failed_at",
}
"""Maps each terminal status to the name of the field with the time of the agent's end."""

END_FIELDS = (*dict.fromkeys(END_FIELD.values()), "termination_reason", "completion_reason")
"""The fields about an agent's end that are copied to the global registry."""

_SET_HERE = frozenset({"id", "status", *END_FIELDS})


@dataclass(frozen=True, slots=True)
class FinishReport:
    """The result of `finish_agents`.

    Attributes:
        changed: One change for each agent whose status was changed in at least one registry.
        untouched: Maps the id of each unchanged agent to the reason why it was not changed.
        written: The paths of the registries that were written.
        problems: The reasons why the global registry could not be written.
        ended: The ids of the agents in `untouched` whose status was terminal already.
    """

    changed: tuple[edits.StatusChange, ...]
    untouched: Mapping[str, str]
    written: tuple[Path, ...]
    problems: tuple[str, ...]
    ended: frozenset[str] = frozenset()


def end_fields(status: str, reason: str | None) -> dict[str, str]:
    """Returns the fields, besides `status`, that describe the end of an agent at the present time.

    Args:
        status: "completed" or "terminated".
        reason: The value for `completion_reason` or `termination_reason`; None to leave this
            field out.

    Raises:
        WrongShapeError: The status is neither ``completed`` nor ``terminated``.
    """
    if status not in ("completed", "terminated"):
        raise WrongShapeError("status", f"must be 'completed' or 'terminated', not {status!r}")
    word = "completion_reason" if status == "completed" else "termination_reason"
    return {END_FIELD[status]: timestamp()} | ({word: reason} if reason is not None else {})


def reported_end_fields(end: ReportedEnd) -> dict[str, str]:
    """Returns the fields, besides `status`, that describe an end that the agent itself reported.

    `terminated_at` is left out, because the orchestrator writes this field only after a kill:
    `completed_count` includes an agent without this field; see `counters.ended_by_itself`.

    Raises:
        WrongShapeError: The status of the end is not a terminal status.
    """
    if not is_terminal(end.status):
        raise WrongShapeError("status", f"must be a terminal status, not {end.status!r:.80}")
    meaning = meaning_of(end.status)
    fields = {} if meaning == "terminated" else {END_FIELD[meaning]: end.timestamp}
    word = "completion_reason" if meaning == "completed" else "termination_reason"
    return fields | ({word: end.message} if end.message else {})


def end_of(entry: Json) -> edits.End | None:
    """Returns the status and the fields in `END_FIELDS` of an agent's entry.

    The result is None if the status is not terminal.
    """
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
    fields: Mapping[str, Any] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_record: AuditContext | None = None,
    judged: Judged | None = None,
    owner: int | None = None,
    ends: Mapping[str, ReportedEnd] | None = None,
) -> FinishReport:
    """Completes or terminates agents in the task's registry and in the global registry.

    Only agents with an active status are changed. If an agent already has a terminal status in the
    task's registry, this status is copied to the global registry. An agent may be missing from one
    of the registries.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's global registry, or None.
        agent_ids: The ids of the agents.
        status: "completed" sets `completed_at`, and `completion_reason` if a reason is given;
            "terminated" sets `terminated_at` and `termination_reason`.
        reason: The reason in the operator's words.
        fields: Further fields of each agent's entry in the task's registry.
        timeout: How long to wait for the locks, in seconds.
        on_record: The context for the workspace's audit log; None to write no log entry.
        judged: Maps an agent's id to the deployments that may be changed. If an entry describes
            another deployment, the agent is not changed, and `FinishReport.untouched` has the
            reason. Agents that are not in `judged` are not checked.
        owner: The id of the user that owned the task's registry when the caller chose the agents;
            None to skip this check.
        ends: Maps the id of an agent that itself reported its end to this end. Such an agent gets
            the reported status instead of `status`, and its message instead of `reason`.

    Raises:
        UntrustedFileError: A registry does not belong to the user `owner`; nothing was written.
        WrongShapeError: The status is neither ``completed`` nor ``terminated``, or the status of a
            reported end is not terminal.
        TypeError, ValueError: `fields` contains a value that JSON cannot represent, or a field
            that this function sets itself.
        AuditError: The audit log cannot be written; nothing was written.
        RegistryError: The task's registry cannot be locked or read; nothing was written.
    """
    if status == "terminated":
        reason = reason or "terminated"
    end = _Ends(
        (status, end_fields(status, reason or None)),
        {id_: (end.status, reported_end_fields(end)) for id_, end in (ends or {}).items()},
    )
    extra = further_fields(fields, _SET_HERE, "finish_agents")
    task = Path(task_registry)
    global_ = path_or_none(global_registry)
    ids = distinct_ids(agent_ids)

    def finish(in_task: Json, in_global: Json | None) -> FinishReport:
        return _finish(task, in_task, in_global, ids, end, extra, judged or {})

    made = change_pair(task, global_, finish, timeout=timeout, on_record=on_record, owner=owner)
    report = made.result
    _log.info("Finished %d agents in %s", len(report.changed), task)
    return replace(report, written=made.written, problems=made.problems)


class SessionEnd(StrEnum):
    """The result of an attempt to kill an agent's session."""

    ENDED = "ended"
    """The session was killed."""
    GONE = "gone"
    """The session had already ended."""
    STILL_THERE = "still there"
    """The session could not be killed."""


def terminate_agents(
    task_registry: RegistryPath,
    global_registry: RegistryPath | None,
    sessions: Mapping[str, SessionEnd],
    *,
    reason: str,
    fields: Mapping[str, Any] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    judged: Judged | None = None,
) -> FinishReport:
    """Gives the status `terminated` to agents whose sessions have ended, in one commit.

    First kill the sessions without holding a lock, then call this function. An agent whose
    session still exists is not changed.

    Args:
        task_registry: The task's registry.
        global_registry: The workspace's global registry, or None.
        sessions: Maps each agent's id to the result of the attempt to kill the agent's session.
        reason: The value for `termination_reason`.
        fields: Further fields of each agent's entry in the task's registry.
        timeout: How long to wait for the locks, in seconds.
        judged: Maps an agent's id to the deployments of the killed sessions. An agent that was
            deployed again after the kill is not changed, as in `finish_agents`.

    Returns:
        The changed agents, and the reasons why the other agents were not changed.

    Raises:
        TypeError, ValueError: `sessions` is not a mapping of agent ids to `SessionEnd`, or
            `fields` contains a value that JSON cannot represent, or a field that this function
            sets itself.
        TimeoutError, FileNotFoundError, json.JSONDecodeError: See `LockedRegistryFile`.
    """
    if not isinstance(sessions, Mapping):
        raise TypeError("sessions must map each agent's id to a SessionEnd")
    ends = {agent_id: SessionEnd(end) for agent_id, end in sessions.items()}
    ended = [agent_id for agent_id, end in ends.items() if end is not SessionEnd.STILL_THERE]
    report = finish_agents(
        task_registry,
        global_registry,
        ended,
        status="terminated",
        reason=reason,
        fields=fields,
        timeout=timeout,
        judged=judged,
    )
    left = {id_: "its session still exists" for id_ in ends if id_ not in ended}
    return replace(report, untouched={**report.untouched, **left})


@dataclass(frozen=True, slots=True)
class _Ends:
    """The ends that agents get.

    Attributes:
        common: The end of each agent that is not in `reported`.
        reported: Maps the id of an agent that itself reported its end to this end.
    """

    common: edits.End
    reported: Mapping[str, edits.End]

    def of(self, agent_id: str | None) -> edits.End:
        """Returns the end of an agent."""
        return self.reported.get(agent_id or "", self.common)


def _finish(
    path: Path,
    task: Json,
    global_: Json | None,
    ids: tuple[str, ...],
    ends: _Ends,
    extra: Json,
    judged: Judged,
) -> FinishReport:
    wanted = frozenset(ids)

    def end_of_wanted(agent_id: str | None, entry: Json) -> edits.End | None:
        if agent_id not in wanted or not _is_judged(agent_id, entry, judged):
            return None
        status, fields = ends.of(agent_id)
        return status, {**extra, **fields}

    in_task = edits.finish_each(task, end_of_wanted, counts_as_active)
    ours = {change.agent_id for change in in_task}
    in_global = _follow(task, global_, wanted, ours, ends, judged) if global_ is not None else []
    entries = {id_: entry for id_, entry in agent_entries(task) if id_}
    changed = {change.agent_id: change for change in (*in_global, *in_task)}
    untouched = {
        id_: _why_untouched(entries[id_]) if id_ in entries else f"is not in {shown_name(path)}"
        for id_ in ids
        if id_ not in changed
    }
    ended = frozenset(
        id_ for id_ in untouched if id_ in entries and not counts_as_active({}, entries[id_])
    )
    return FinishReport(tuple(changed.values()), untouched, (), (), ended)


def _is_judged(agent_id: str | None, entry: Json, judged: Judged) -> bool:
    """Returns whether `judged` allows a change of an agent's entry.

    A change is allowed if `judged` does not contain the agent's id, or if the deployments for this
    id include the deployment that the entry describes.
    """
    deployments = judged.get(agent_id or "")
    return deployments is None or Deployment.of(entry) in deployments


def _why_untouched(entry: Json) -> str:
    status = entry.get("status")
    if counts_as_active({}, entry):
        return f"was deployed again meanwhile; its status stays {status!r}"
    return f"is already {status!r}"


def _follow(
    task: Json,
    global_: Json,
    wanted: Collection[str],
    ours: Collection[str],
    ends: _Ends,
    judged: Judged,
) -> list[edits.StatusChange]:
    """Copies terminal statuses from the task's registry to the global registry.

    An agent that has just reported its end (`ended_just_now`) is skipped: the process that wrote
    the end to the task's registry also updates the global registry.

    Args:
        task: The task's decoded registry, in which the agents are already finished.
        global_: The decoded global registry; changed in place.
        wanted: The ids of the agents to finish.
        ours: The ids of the agents that this operation has finished in the task's registry.
        ends: The status and fields for an agent that only the global registry lists.
        judged: Maps an agent's id to the deployments that may be changed.
    """
    now = time.time()
    in_task = {id_: entry for id_, entry in agent_entries(task) if id_ in wanted}
    task_id = task.get("task_id")

    def end_in_task(agent_id: str | None, listed: Json) -> edits.End | None:
        # Another task may have a different agent with the same id.
        if agent_id not in wanted or listed.get("task_id", task_id) != task_id:
            return None
        entry = in_task.get(agent_id)
        if entry is None:
            # The agent may not have been added to the task's registry yet.
            return ends.of(agent_id) if _is_judged(agent_id, listed, judged) else None
        return end_of(entry) if agent_id in ours or not ended_just_now(entry, now) else None

    return edits.finish_each(global_, end_in_task, counts_as_active)
