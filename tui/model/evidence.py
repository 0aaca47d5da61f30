"""The evidence for verdicts: which sessions exist, are missing, or may still exist. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from registry.dataclass import dataclass, field, replace
from registry.schema import AgentRecord
from tui.host.tmux_types import CONSIDER_ALL, Session, SetAside, TmuxSnapshot, TmuxState
from tui.model.policy import Policy

if TYPE_CHECKING:
    from tui.host.process.agent_processes import AgentProcess
    from tui.model.clock_jumps import ClockJump
    from tui.model.roll import TaskState

MissingSince = Mapping[str, float]
"""Maps the name of each missing session to when it was first missing, in monotonic seconds."""


@dataclass(frozen=True, slots=True)
class ProcessEvidence:
    """The processes of agents without a session, at one moment.

    Attributes:
        seen: Maps the pids in the registries to the processes.
        gone_since: When each pid was first found without a process, in monotonic seconds.
        looked_at: When the processes were looked up, in monotonic seconds.
    """

    seen: Mapping[int, AgentProcess] = field(default_factory=dict)
    gone_since: Mapping[int, float] = field(default_factory=dict)
    looked_at: float = field(default=0.0, compare=False)

    def is_proven_gone(self, pid: int, proof: float) -> bool:
        """Returns whether no process had a pid in two looks, at least `proof` seconds apart."""
        since = self.gone_since.get(pid)
        return since is not None and self.looked_at - since >= proof


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data of one moment that verdicts need in addition to the registries.

    Attributes:
        snapshot: The answer of tmux.
        missing_since: When each missing session of an active agent was first missing.
        elsewhere: Maps the name of a missing session that another tmux server may have to the
            reason and a remedy.
        renamed: Maps the name of a missing session that may have another name now, on any server,
            to the reason and a remedy.
        others: The sessions of other servers, each with the socket of its server, from the last
            search for missing sessions.
        jumps: The known jumps of the system clock.
        unasked: The names in `elsewhere` that a server of another user may have. muster never
            queries such a server.
        set_aside: The servers that the last search could not query, and did not consider.
        processes: The processes of agents without a session.
    """

    snapshot: TmuxSnapshot
    missing_since: MissingSince = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    others: tuple[tuple[Path, Session], ...] = ()
    unasked: frozenset[str] = frozenset()
    jumps: tuple[ClockJump, ...] = ()
    set_aside: SetAside = CONSIDER_ALL
    processes: ProcessEvidence = ProcessEvidence()

    @property
    def doubts(self) -> Mapping[str, str]:
        """Maps the name of a missing session to the reason why the session may still exist."""
        return {**self.renamed, **self.elsewhere}

    def doubt(self, name: str) -> str | None:
        """Returns why a missing session may still exist; None if no reason is known."""
        return self.elsewhere.get(name, self.renamed.get(name))


def note_absences(
    before: MissingSince, answer: TmuxSnapshot, expected: Iterable[str]
) -> MissingSince:
    """Returns when each missing session was first missing, updated with a new answer of tmux.

    A session that exists again is left out. If the query failed, the result is `before`.

    Args:
        before: The previous result of this function.
        answer: The newest answer of tmux.
        expected: The names of the sessions of all active agents.
    """
    if answer.state is TmuxState.UNKNOWN:
        return before
    return {
        name: before.get(name, answer.asked_at) for name in expected if name not in answer.sessions
    }


def note_processes(
    before: ProcessEvidence, seen: Mapping[int, AgentProcess], looked_at: float
) -> ProcessEvidence:
    """Returns the evidence about processes, updated with a new look.

    Args:
        before: The previous result of this function.
        seen: Maps the pids in the registries to the processes.
        looked_at: When the processes were looked up, in monotonic seconds.
    """
    gone_since = {
        pid: before.gone_since.get(pid, looked_at)
        for pid, process in seen.items()
        if process.started is None and process.unseen is None
    }
    return ProcessEvidence(seen, gone_since, looked_at)


def is_proven_missing(name: str, evidence: Evidence, proof: float) -> bool:
    """Returns whether two answers of tmux, at least `proof` seconds apart, lack a session."""
    since = evidence.missing_since.get(name)
    return since is not None and evidence.snapshot.asked_at - since >= proof


def proof_needed(record: AgentRecord, policy: Policy, now: float) -> float:
    """Returns how many seconds an agent's session must be missing until it is proven gone.

    If the agent's start is not known, or is in the future (another clock or time zone), the agent
    may have just started. In this case, the time is at least `Policy.start_grace`.
    """
    known = record.started is not None and record.started <= now
    confirmation = policy.death_confirmation
    return confirmation if known else max(confirmation, policy.start_grace)


def follow_renamed(answer: TmuxSnapshot, seen: Mapping[str, Session]) -> TmuxSnapshot:
    """Returns an answer of tmux that lists a renamed session under its old name, too.

    Args:
        answer: The answer of tmux.
        seen: Maps the name of a session in a registry to this session in an earlier answer of the
            same server.
    """
    by_id = {(session.id, session.created): session for session in answer.sessions.values()}
    # If another session has the old name now, the id decides which one is the agent's.
    renamed = {
        name: session
        for name, before in seen.items()
        if (session := by_id.get((before.id, before.created))) is not None
        and answer.sessions.get(name) is not session
    }
    return replace(answer, sessions={**answer.sessions, **renamed}) if renamed else answer


def expected_sessions(
    states: Iterable[TaskState], policy: Policy, now: float
) -> Mapping[str, float]:
    """Returns how long the session of each active agent must be missing until it is proven gone.

    Returns:
        Maps the name of the session in the registry to this time in seconds.
    """
    needed: dict[str, float] = {}
    for state in states:
        for agent in state.record.expecting if state.record else ():
            name = agent.tmux_session or ""
            needed[name] = max(needed.get(name, 0.0), proof_needed(agent, policy, now))
    return needed


def expected_processes(
    states: Iterable[TaskState], policy: Policy, now: float
) -> Mapping[int, float]:
    """Returns how long each pid must be without a process until the process is proven gone.

    Returns:
        Maps each pid of an agent in the registries to this time in seconds.
    """
    needed: dict[int, float] = {}
    for state in states:
        for agent in state.record.with_pid if state.record else ():
            pid = agent.cursor_pid or 0
            needed[pid] = max(needed.get(pid, 0.0), proof_needed(agent, policy, now))
    return needed


def next_proof(
    evidence: Evidence,
    proofs: Mapping[str, float],
    of_processes: Mapping[int, float] = MappingProxyType({}),
) -> float | None:
    """Returns the earliest time at which the next session or process can be proven gone.

    Args:
        evidence: The evidence of the present moment.
        proofs: The result of `expected_sessions`.
        of_processes: The result of `expected_processes`.

    Returns:
        The time in monotonic seconds; None if nothing waits for this proof.
    """
    processes = evidence.processes
    of_pids = [
        since + of_processes[pid]
        for pid, since in processes.gone_since.items()
        if pid in of_processes and not processes.is_proven_gone(pid, of_processes[pid])
    ]
    waiting = [
        since + proofs[name]
        for name, since in evidence.missing_since.items()
        if name in proofs and not is_proven_missing(name, evidence, proofs[name])
    ]
    return min((*waiting, *of_pids), default=None)
