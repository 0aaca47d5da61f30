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

    Another process may have the pid now. The start times tell these processes apart, but never
    prove that the agent's process is gone: the agent's start may come from another clock or time
    zone, and setting the clock moves the start of each process. Only a missing process proves it.

    Args:
        record: The agent's entry in the registry; it has `AgentRecord.cursor_pid`.
        evidence: The processes.
        policy: The times that a verdict needs.
        now: Seconds since the epoch.
    """
    pid = record.cursor_pid or 0
    process = evidence.seen.get(pid)
    if process is None:
        return _unknown(f"muster has not looked up its process {pid} yet")
    if process.began is None:
        if process.unseen is not None:
            return _unknown(process.unseen)
        if not evidence.is_proven_gone(pid, proof_needed(record, policy, now)):
            return _unknown(f"its process {pid} is missing; muster looks again to be sure")
        return _gone(f"no process {pid}")
    if record.started is None or record.started > now:
        why = "is missing" if record.started is None else "is in the future"
        return _unknown(
            f"process {pid} may be another one: the agent's start {why}, so that it cannot be "
            "compared with the start of the process"
        )
    earliest, latest = record.possible_starts[0], record.possible_starts[-1]
    if process.began > latest + policy.session_late_limit:
        later = age_in_words(process.began - latest)
        is_named = record.id is not None and process.names(record.id)
        whose = (
            "but its command line names the agent; the clock may have been set"
            if is_named
            else "so it is another one, or the agent has another clock or time zone"
        )
        return _unknown(
            f"process {pid} began {later} after the agent, {whose}. If the agent has ended, "
            "complete this agent alone"
        )
    if process.began > latest + _CLOCKS:
        return _unknown(f"process {pid} may be another one: it began after the agent")
    if process.began < earliest - policy.session_early_limit:
        earlier = age_in_words(earliest - process.began)
        return _unknown(f"process {pid} is another one: it began {earlier} before the agent")
    return ProcessJudgement(ProcessState.RUNS, process=process)


def _gone(why: str) -> ProcessJudgement:
    return ProcessJudgement(ProcessState.GONE, why)


def _unknown(why: str) -> ProcessJudgement:
    return ProcessJudgement(ProcessState.UNKNOWN, why)
