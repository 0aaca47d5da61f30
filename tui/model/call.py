"""Calling the roll of one task: a verdict on each of its agents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tui.model.evidence import Evidence
from tui.model.hierarchy import Place, places_of
from tui.model.policy import Policy
from tui.model.roll import AgentRow, TaskRoll, TaskState, Verdict
from tui.model.verdict import Judgement, judge

# What may become another verdict by the next look at files, or the next answer.
_JUDGED_ANEW = frozenset({Verdict.STALLED, Verdict.UNKNOWN})


MAY_BE_STALE = "its status may be stale: a database of its workspace may say otherwise"
"""The note on an agent that JSON lists in a workspace with a database."""


# What a status contradicts that may have changed in a database only.
_DOUBTED = frozenset({Verdict.ZOMBIE, Verdict.LEAKED})


def call_task(
    state: TaskState,
    evidence: Evidence,
    policy: Policy,
    now: float,
    reported: Mapping[str, float] = MappingProxyType({}),
    before: TaskRoll | None = None,
) -> TaskRoll:
    """Calls the roll of one task.

    Args:
        state: What is known of its registry.
        evidence: What tmux has, and what is known of missing sessions.
        policy: When a verdict is sure enough.
        now: Seconds since the epoch.
        reported: By agent, when its progress file was last written. Needed only of
            those that would be called stalled without.
        before: The same task as it was called a moment ago, when tmux said the same of its
            sessions. An agent that did not change keeps its row, unless it was stalled or
            unknown.
    """
    rows: list[AgentRow] = []
    counts = dict.fromkeys(Verdict, 0)
    for place, row in places_of(state, before):
        if row is None or row.verdict in _JUDGED_ANEW or row.record != place.record:
            last_activity = reported.get(place.record.id, 0.0)
            judgement = judge(place.record, evidence, policy, now, last_activity)
            row = _row(place, judgement, last_activity, state)
        rows.append(row)
        counts[row.verdict] += 1
    completed = sum(row.record.status == "completed" for row in rows)
    return TaskRoll(state, tuple(rows), counts, completed, _mean_progress(rows))


def _row(place: Place, judgement: Judgement, reported: float, state: TaskState) -> AgentRow:
    verdict, session, note, name_reused_by = judgement
    if verdict is Verdict.ZOMBIE and state.error is not None:
        # The file may have changed since it could last be read.
        verdict, note = Verdict.UNKNOWN, "its registry cannot be read now"
    if verdict in _DOUBTED and state.database is not None:
        note = f"{note}; {MAY_BE_STALE}"
    key, agent, level, children = place
    last_activity = agent.updated
    if verdict in (Verdict.LIVE, Verdict.STALLED):
        last_activity = max(agent.updated or agent.started or 0.0, reported) or None
    return AgentRow(
        key, agent, verdict, session, note, last_activity, level, children, name_reused_by
    )


def _mean_progress(rows: Sequence[AgentRow]) -> float | None:
    """The mean progress; an agent without a number has not begun, or has completed."""
    if not rows:
        return None
    total = 0.0
    for row in rows:
        done = row.record.status == "completed"
        total += 100.0 if done else min(max(row.record.progress or 0.0, 0.0), 100.0)
    return total / len(rows)
