"""The state of an agent that is judged by its process, because it has no tmux session. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from registry.schema import AgentRecord
from tui.model.evidence import ProcessEvidence, proof_needed
from tui.model.policy import Policy
from tui.text.sanitize import age_in_words

if TYPE_CHECKING:
    from tui.host.process.agent_processes import AgentProcess

_CLOCKS = 5.0
"""The largest time, in seconds, by which an agent's process may seem to begin after the agent.

The orchestrator starts the process, waits two seconds, and then writes `started_at`. The clock may
have been corrected between these two times.
"""

_ZONES, _FARTHEST = 900.0, 26 * 3600.0
"""The differences between time zones are multiples of 15 minutes, and at most 26 hours."""

_BEFORE = 15.0
"""An agent's process begins at most this many seconds before the agent's recorded start."""

_BOOTED = "the host was booted after the agent started, so its process {pid} is gone"


class ProcessState(Enum):
    """Whether the process of an agent runs."""

    RUNS = "runs"
    GONE = "gone"
    UNKNOWN = "unknown"


class ProcessJudgement(NamedTuple):
    """The state of an agent's process, with the reason.

    Attributes:
        state: The state.
        why: The reason; empty if the process runs.
        process: The agent's process, if it runs; otherwise None.
    """

    state: ProcessState
    why: str = ""
    process: AgentProcess | None = None


def judge_process(
    record: AgentRecord, evidence: ProcessEvidence, policy: Policy, now: float
) -> ProcessJudgement:
    """Returns whether the process of an agent without a session runs.

    Another process may have the pid now. The start times tell these processes apart.

    Args:
        record: The agent's entry in the registry; it has `AgentRecord.pid`.
        evidence: The processes.
        policy: The times that a verdict needs.
        now: Seconds since the epoch.
    """
    pid = record.pid or 0
    process = evidence.seen.get(pid)
    if process is None:
        return _unknown(f"muster has not looked up its process {pid} yet")
    is_comparable = record.started is not None and record.started <= now
    is_named = record.id is not None and process.names(record.id)
    zone = _zone_between(record, process.began) if is_comparable else None
    may_be_its_own = is_named or zone is not None or process.unseen is not None
    if is_comparable and not may_be_its_own and _is_before_boot(record, evidence, policy):
        return _gone(_BOOTED.format(pid=pid))
    if process.began is None:
        if process.unseen is not None:
            # The agent's start may be in another time zone.
            if is_comparable and _is_before_boot(record, evidence, policy, _FARTHEST):
                return _gone(_BOOTED.format(pid=pid))
            return _unknown(process.unseen)
        if not evidence.is_proven_gone(pid, proof_needed(record, policy, now)):
            return _unknown(f"its process {pid} is missing; muster looks again to be sure")
        return _gone(f"no process {pid}")
    if not is_comparable:
        why = "is missing" if record.started is None else "is in the future"
        return _unknown(
            f"process {pid} may be another one: the agent's start {why}, so that it cannot be "
            "compared with the start of the process"
        )
    earliest, latest = record.possible_starts[0], record.possible_starts[-1]
    if process.began > latest + policy.session_late_limit:
        later = age_in_words(process.began - latest)
        if is_named:
            return _unknown(
                f"process {pid} began {later} after the agent, but its command line names the "
                "agent; the clock may have been set. If the agent has ended, complete this agent "
                "alone"
            )
        if zone is not None:
            return _unknown(
                f"process {pid} began {later} after the agent, or the agent's start is in another "
                "time zone; if the agent has ended, complete this agent alone"
            )
        return _gone(f"another process got the pid {pid} {later} after the agent started")
    if process.began > latest + _CLOCKS:
        return _unknown(f"process {pid} may be another one: it began after the agent")
    if process.began < earliest - policy.session_early_limit:
        earlier = age_in_words(earliest - process.began)
        return _unknown(f"process {pid} is another one: it began {earlier} before the agent")
    return ProcessJudgement(ProcessState.RUNS, process=process)


def _is_before_boot(
    record: AgentRecord, evidence: ProcessEvidence, policy: Policy, more: float = 0.0
) -> bool:
    return record.possible_starts[-1] + policy.session_late_limit + more < evidence.booted


def _zone_between(record: AgentRecord, began: float | None) -> float | None:
    """Returns the difference of time zones by which a process may have begun with an agent.

    A recorded start without a time zone is local time, perhaps in the orchestrator's own zone.

    Returns:
        The difference in seconds; None if the process did not begin with the agent in any zone.
    """
    if began is None:
        return None
    for start in record.possible_starts:
        zone = round((began - start) / _ZONES) * _ZONES
        if 0 < zone <= _FARTHEST and -_BEFORE <= began - start - zone <= _CLOCKS:
            return zone
    return None


def _gone(why: str) -> ProcessJudgement:
    return ProcessJudgement(ProcessState.GONE, why)


def _unknown(why: str) -> ProcessJudgement:
    return ProcessJudgement(ProcessState.UNKNOWN, why)
