"""The verdict on one agent: what its registry says against what tmux has. Pure."""

from __future__ import annotations

from typing import NamedTuple

from registry.schema import (
    AgentRecord,
    is_active,
    is_terminal,
    is_tmux_name_certain,
    tmux_name,
)
from registry.text import shown_name
from tui.host.tmux_types import Session, TmuxState
from tui.model.evidence import Evidence, is_proven_missing, proof_needed
from tui.model.policy import Policy
from tui.model.roll import Verdict
from tui.text.sanitize import age_in_words

JUST_STARTED = "just started; its session is not seen yet"
"""Why nobody can tell yet of an agent in the grace after its start."""


class Judgement(NamedTuple):
    """What is true of one agent.

    Attributes:
        session: Its session, if it is there.
        note: Why, where that needs saying.
        name_reused_by: The session that has the name of the agent's, but is another's.
    """

    verdict: Verdict
    session: Session | None = None
    note: str = ""
    name_reused_by: Session | None = None


def judge(
    record: AgentRecord,
    evidence: Evidence,
    policy: Policy,
    now: float,
    reported: float = 0.0,
) -> Judgement:
    """The verdict on one agent.

    Args:
        record: What its registry says.
        evidence: What tmux has, and what is known of missing sessions.
        policy: When a verdict is sure enough.
        now: Seconds since the epoch.
        reported: When a line was last written to its progress file, if that is known.
    """
    answer = evidence.snapshot
    name = tmux_name(record.tmux_session) if record.tmux_session else None
    certain = name is not None and is_tmux_name_certain(name)
    session = answer.sessions.get(name) if name and certain else None
    if session is not None and (why := why_not_its_own(record, session, policy, now)) is not None:
        # Never a zombie: the agent's clock or its zone may be another than ours.
        through = is_terminal(record.status)
        verdict = Verdict.FINISHED if through else Verdict.UNKNOWN
        return Judgement(verdict, None, why, session)
    if is_terminal(record.status):
        if session is not None:
            note = "the agent is through, its session is still there"
            return Judgement(Verdict.LEAKED, session, note)
        return Judgement(Verdict.FINISHED)
    if answer.state is TmuxState.UNKNOWN:
        return Judgement(Verdict.UNKNOWN, note=answer.why)
    if name is None:
        return Judgement(Verdict.UNKNOWN, note="the registry names no session for it")
    if not certain:
        note = "tmux changes such a session's name; nobody can tell"
        return Judgement(Verdict.UNKNOWN, note=note)
    if not is_active(record.status):
        note = f"{record.status!r} is no known status"
        if session is not None:
            return Judgement(Verdict.LIVE, session, note)
        return Judgement(Verdict.UNKNOWN, note=f"{note}; no session")
    if session is not None:
        silent = now - max(
            record.updated or 0.0,
            record.started or 0.0,
            session.activity,
            session.created,
            reported,
        )
        if silent > policy.stall_timeout:
            note = f"no report and no output for {_silence(silent)}"
            return Judgement(Verdict.STALLED, session, note)
        return Judgement(Verdict.LIVE, session, _renamed(session, name))
    return _missing(record, name, evidence, policy, now)


def _silence(seconds: float) -> str:
    """How long nothing was heard: in steps, for each of them is drawn."""
    if seconds >= 60:
        return age_in_words(seconds)
    tens = int(seconds) // 10 * 10
    return f"{tens} s" if tens else "less than 10 s"


def _missing(
    record: AgentRecord,
    name: str,
    evidence: Evidence,
    policy: Policy,
    now: float,
) -> Judgement:
    """The verdict on an active agent whose session is not in the answer."""
    if record.started is not None and 0 <= now - record.started < policy.start_grace:
        return Judgement(Verdict.UNKNOWN, note=JUST_STARTED)
    if not is_proven_missing(name, evidence, proof_needed(record, policy, now)):
        note = "its session is missing; asking again to be sure"
        return Judgement(Verdict.UNKNOWN, note=note)
    if (doubt := evidence.doubt(name)) is not None:
        return Judgement(Verdict.UNKNOWN, note=doubt)
    return Judgement(Verdict.ZOMBIE, note=f"no session {shown_name(record.tmux_session or '')}")


def why_not_its_own(
    record: AgentRecord, session: Session, policy: Policy, now: float
) -> str | None:
    """Why a session of the name of an agent's cannot be the agent's own, or None.

    It is the agent's if it was made within the agent's life; a report since it was
    made shows that the agent was taken up again in it. Times that are missing, or
    yet to come, tell nothing.

    Args:
        record: What the agent's registry says.
        session: The session that has the name.
        policy: What is plausible.
        now: Seconds since the epoch.
    """
    made = session.created
    reported = record.updated is not None and made <= record.updated <= now
    ended = record.ended if is_terminal(record.status) else None
    if ended is not None and ended < made and not reported:
        return f"its session's name was taken again {age_in_words(made - ended)} after it ended"
    started = record.started
    if started is None or started > now:
        return None
    if made > started + policy.session_late_limit and not reported:
        later = age_in_words(made - started)
        return f"its session's name was taken again {later} after it started"
    if made < started - policy.session_early_limit:
        earlier = age_in_words(started - made)
        return f"the session of its name was made {earlier} before it started: not its own"
    return None


def _renamed(session: Session, name: str) -> str:
    return "" if session.name == name else f"its session is called {shown_name(session.name)} now"
