"""Gives a verdict on each agent of a task. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from registry.schema import END_DELAY
from registry.sources import Dialect
from tui.model.evidence import Evidence
from tui.model.hierarchy import Place, places_of
from tui.model.policy import Policy
from tui.model.roll import AgentRow, TaskRoll, TaskState, Verdict
from tui.model.verdict import Judgement, is_doubted, judge

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd

# These verdicts may change although neither the registry nor the sessions of tmux changed.
_JUDGED_ANEW = frozenset({Verdict.STALLED, Verdict.UNKNOWN})


MAY_BE_STALE = "its status may be stale: a database of the workspace may have a newer status"
"""The note on an agent of a JSON registry in a workspace that also has a database."""


# Verdicts that may be wrong if only a database has the current status.
_DOUBTED = frozenset({Verdict.ZOMBIE, Verdict.LEAKED})


def call_task(
    state: TaskState,
    evidence: Evidence,
    policy: Policy,
    now: float,
    reported: Mapping[str, float] = MappingProxyType({}),
    before: TaskRoll | None = None,
    ends: Mapping[str, ReportedEnd] = MappingProxyType({}),
) -> TaskRoll:
    """Gives a verdict on each agent of a task.

    Args:
        state: The content of the task's registry.
        evidence: The sessions of tmux, and when each missing session was first missing.
        policy: The times that a verdict needs.
        now: Seconds since the epoch.
        reported: Maps an agent's id to the last change of its progress file, in seconds since the
            epoch. Only agents that would otherwise be stalled need an entry.
        before: The previous roll of the task; None if a session of the task has changed after
            that roll. An unchanged agent keeps its row, unless it was stalled or unknown.
        ends: Maps an agent's id to the end that the agent itself reported. Only the agents of
            `starts_of_missing` need an entry.
    """
    rows: list[AgentRow] = []
    may_linger = state.source.dialect is Dialect.SQLITE
    counts = dict.fromkeys(Verdict, 0)
    for place, row in places_of(state, before):
        end = ends.get(place.record.id)
        if end or row is None or row.verdict in _JUDGED_ANEW or row.record != place.record:
            last_activity = reported.get(place.record.id, 0.0)
            judgement = judge(
                place.record, evidence, policy, now, last_activity, end, may_linger=may_linger
            )
            row = _row(place, judgement, last_activity, state)
        rows.append(row)
        counts[row.verdict] += 1
    completed = sum(row.record.meaning == "completed" for row in rows)
    last = max((row.last_activity for row in rows if row.last_activity), default=None)
    return TaskRoll(state, tuple(rows), counts, completed, _mean_progress(rows), last)


def _row(place: Place, judgement: Judgement, reported: float, state: TaskState) -> AgentRow:
    verdict, session, note, name_reused_by, process = judgement
    if verdict is Verdict.ZOMBIE and state.error is not None:
        # The status may have changed after the last successful reading.
        verdict, note = Verdict.UNKNOWN, "its registry cannot be read now"
    if verdict in _DOUBTED and state.database is not None:
        note = f"{note}; {MAY_BE_STALE}"
    key, agent, level, children = place
    last_activity = agent.updated
    if verdict in (Verdict.LIVE, Verdict.BLOCKED, Verdict.STALLED):
        last_activity = max(agent.updated or agent.started or 0.0, reported) or None
    return AgentRow(
        key,
        agent,
        verdict,
        session,
        note,
        last_activity,
        level,
        children,
        name_reused_by,
        process,
    )


def starts_of_missing(roll: TaskRoll, evidence: Evidence) -> dict[str, float]:
    """Maps the agents that may be ending now to their start, in seconds since the epoch.

    These are the zombies, and the agents whose session was first missing less than `END_DELAY`
    before, and may still exist under another name or on another server.

    An agent is left out if its start is not known, or if entries with the same id have different
    starts: then a report with this id may be the report of the other entry.
    """
    missing = {row.key.id for row in roll.agents if _may_be_ending(row, evidence)}
    starts: dict[str, set[float | None]] = {}
    for row in roll.agents:
        if row.key.id in missing:
            starts.setdefault(row.key.id, set()).add(row.record.started)
    return {
        agent_id: start
        for agent_id, of_agent in starts.items()
        if len(of_agent) == 1 and (start := next(iter(of_agent))) is not None
    }


def _may_be_ending(row: AgentRow, evidence: Evidence) -> bool:
    if row.verdict is Verdict.ZOMBIE:
        return True
    if row.verdict is not Verdict.UNKNOWN or not is_doubted(row.record, row.note, evidence):
        return False
    # The orchestrator ends the session after the report.
    since = evidence.missing_since.get(row.record.tmux_session or "")
    return since is not None and evidence.snapshot.asked_at - since < END_DELAY


def _mean_progress(rows: Sequence[AgentRow]) -> float | None:
    """Returns the mean progress in percent; None without agents.

    A completed agent counts as 100, and an agent without progress as 0.
    """
    if not rows:
        return None
    total = 0.0
    for row in rows:
        completed = row.record.meaning == "completed"
        total += 100.0 if completed else min(max(row.record.progress or 0.0, 0.0), 100.0)
    return total / len(rows)
