"""What agents are judged by: what tmux said, what is missing since when, and what is doubted.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.schema import AgentRecord, tmux_name
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.policy import Policy

if TYPE_CHECKING:
    from tui.model.roll import TaskState

MissingSince = Mapping[str, float]
"""Since when each expected session has been missing: monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an agent is judged by beside its record, at one moment.

    Attributes:
        snapshot: What tmux said.
        missing_since: Which of the sessions that agents should have are missing.
        elsewhere: Sessions that are missing here but may be on another server, by their
            names, with why and what to try.
        renamed: Sessions that are missing but may be there, or on another server, by
            another name, likewise.
        others: What sessions other servers had when they were asked for missing ones, with
            their sockets.
        unasked: Those of `elsewhere` that another user's server may have: it is never asked.
    """

    snapshot: TmuxSnapshot
    missing_since: MissingSince = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    others: tuple[tuple[Path, Session], ...] = ()
    unasked: frozenset[str] = frozenset()

    @property
    def doubts(self) -> Mapping[str, str]:
        """Why sessions that are missing are not proven gone, by their names."""
        return {**self.renamed, **self.elsewhere}

    def doubt(self, name: str) -> str | None:
        """Why one session that is missing is not proven gone, or None: it is."""
        return self.elsewhere.get(name, self.renamed.get(name))


def note_absences(
    before: MissingSince, answer: TmuxSnapshot, expected: Iterable[str]
) -> MissingSince:
    """Keeps the time at which each expected session was first found missing.

    A session that is seen again starts anew; an answer that is none proves
    nothing either way.

    Args:
        before: What this function returned last time.
        answer: tmux's newest answer.
        expected: The names of the sessions of all active agents.
    """
    if answer.state is TmuxState.UNKNOWN:
        return before
    return {
        name: before.get(name, answer.asked_at) for name in expected if name not in answer.sessions
    }


def is_proven_missing(name: str, evidence: Evidence, proof: float) -> bool:
    """Whether a session was missing from two answers so many seconds apart."""
    since = evidence.missing_since.get(name)
    return since is not None and evidence.snapshot.asked_at - since >= proof


def proof_needed(record: AgentRecord, policy: Policy, now: float) -> float:
    """For how many seconds the session of an agent must have been missing.

    An agent that says no start, or one that is yet to come (another clock, another
    zone), may be just starting: its session has to be missing for all of the grace.
    """
    known = record.started is not None and record.started <= now
    confirmation = policy.death_confirmation
    return confirmation if known else max(confirmation, policy.start_grace)


def follow_renamed(answer: TmuxSnapshot, seen: Mapping[str, Session]) -> TmuxSnapshot:
    """The same answer, in which a session that was renamed is also there by its old name.

    Args:
        answer: What tmux said.
        seen: Sessions of earlier answers of the same server, by the names of agents'.
    """
    by_id = {(each.id, each.created): each for each in answer.sessions.values()}
    # Also where another session has the old name by now: the id tells whose it is.
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
    """The sessions that active agents should have, by the names tmux gives them.

    Returns:
        For each, how many seconds it must be missing until it is proven gone.
    """
    found: dict[str, float] = {}
    for state in states:
        for agent in state.record.expecting if state.record else ():
            name = tmux_name(agent.tmux_session or "")
            found[name] = max(found.get(name, 0.0), proof_needed(agent, policy, now))
    return found
