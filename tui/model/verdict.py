"""The verdict on one agent, from its registry entry and tmux's sessions. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from registry.schema import (
    END_DELAY,
    FAILED_STATUSES,
    AgentRecord,
    is_active,
    is_terminal,
    is_tmux_name_certain,
    replaced_spelling,
    spellings,
)
from registry.text import shown_name
from tui.host.tmux_types import DeadPane, Session, TmuxState
from tui.model.clock_jumps import ClockJump, seconds_between
from tui.model.evidence import Evidence, is_proven_missing, proof_needed
from tui.model.policy import Policy
from tui.model.process_verdict import ProcessState, judge_process
from tui.model.roll import Verdict
from tui.model.spellings import why_shared
from tui.text.sanitize import age_in_words

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd
    from tui.host.process.agent_processes import AgentProcess

# A session is created about two seconds before the recorded start of its agent.
_BEFORE = 15.0

_NAME_REUSED = "another session got the name of this agent's session"

JUST_STARTED = "just started; its session does not exist yet"
"""The note on an agent that has no session yet, during `Policy.start_grace` after its start."""

ENDING = "the agent reported its end; within seconds, the registry will say so, too"
"""The note on an agent that reported its end less than `END_DELAY` before."""


JUST_ENDED = "the agent has just ended; its session or process may end by itself"
"""The note on an agent that ended less than `Policy.leak_grace` before."""

NO_STATUS = "the registry has no status for this agent"
"""The note on an agent without a status."""


class Judgement(NamedTuple):
    """The verdict on one agent, with the reason.

    Attributes:
        verdict: The verdict.
        session: The agent's session, or None.
        note: The reason for the verdict; empty if the verdict needs no reason.
        name_reused_by: A session of another agent that now has this agent's session name, or
            None.
        process: The running process of an agent without a session, or None.
    """

    verdict: Verdict
    session: Session | None = None
    note: str = ""
    name_reused_by: Session | None = None
    process: AgentProcess | None = None


def judge(
    record: AgentRecord,
    evidence: Evidence,
    policy: Policy,
    now: float,
    reported: float = 0.0,
    end: ReportedEnd | None = None,
    *,
    may_linger: bool = False,
) -> Judgement:
    """Returns the verdict on one agent.

    Args:
        record: The agent's entry in the registry.
        evidence: The sessions of tmux, and when each missing session was first missing.
        policy: The times that a verdict needs.
        now: Seconds since the epoch.
        reported: When the agent's progress file was last changed, in seconds since the epoch; 0 if
            unknown.
        end: The end that the agent itself reported. Only an agent without a session needs it; see
            `tui.model.call.starts_of_missing`.
        may_linger: Whether an agent's session normally exists for a moment after the agent has
            ended, as with the agents of a database.
    """
    judgement = _judge(record, evidence, policy, now, reported)
    if (
        judgement.verdict is Verdict.ZOMBIE
        and record.pid is None
        and record.cursor_pid is not None
    ):
        # An agent with a session and a process is dead only if both are gone.
        state, why, process = judge_process(record, evidence.processes, policy, now)
        if state is not ProcessState.GONE:
            why = why if process is None else f"its process {process.pid} runs"
            return Judgement(Verdict.UNKNOWN, note=f"its session is gone, but {why}")
    if may_linger and judgement.verdict is Verdict.LEAKED and _just_ended(record, policy, now):
        return judgement._replace(verdict=_end_of(record), note=JUST_ENDED)
    is_missing = judgement.verdict is Verdict.ZOMBIE or is_doubted(
        record, judgement.note, evidence
    )
    if is_missing and end is not None and is_ending(end, now, evidence.jumps):
        return Judgement(Verdict.UNKNOWN, judgement.session, ENDING)
    return judgement


def is_doubted(record: AgentRecord, note: str, evidence: Evidence) -> bool:
    """Returns whether an agent is unknown only because its missing session may still exist.

    Args:
        record: The agent's entry in the registry.
        note: The note on the agent.
        evidence: The evidence.
    """
    return bool(note) and note == evidence.doubt(record.tmux_session or "")


def _just_ended(record: AgentRecord, policy: Policy, now: float) -> bool:
    """Returns whether an agent ended less than `Policy.leak_grace` seconds ago."""
    times = (record.ended, record.updated)
    ended = max((time for time in times if time is not None and time <= now), default=None)
    return ended is not None and now - ended < policy.leak_grace


def is_ending(end: ReportedEnd, now: float, jumps: Iterable[ClockJump] = ()) -> bool:
    """Returns whether an agent reported its end less than `END_DELAY` before `now`.

    Args:
        end: The end that the agent reported.
        now: Seconds since the epoch.
        jumps: The known jumps of the system clock.
    """
    return seconds_between(end.written, now, jumps) < END_DELAY


def _judge(
    record: AgentRecord, evidence: Evidence, policy: Policy, now: float, reported: float
) -> Judgement:
    """Returns the verdict on one agent, without the end that the agent itself reported."""
    if record.pid is not None:
        return _judge_by_process(record, evidence, policy, now, reported)
    answer = evidence.snapshot
    name = record.tmux_session
    certain = name is not None and is_tmux_name_certain(name)
    session = answer.sessions.get(name) if name and certain else None
    if session is not None and (why := why_not_its_own(record, session, policy, now)) is not None:
        # The agent is not called a zombie, because it may use another clock or time zone.
        verdict = _end_of(record) if is_terminal(record.meaning) else Verdict.UNKNOWN
        return Judgement(verdict, None, why, session)
    ended = session.ended if session is not None else None
    if is_terminal(record.meaning):
        if session is not None and ended is not None and not session.pids:
            return Judgement(_end_of(record), session)
        if session is not None:
            note = "the agent has a terminal status, but its session still exists"
            return Judgement(Verdict.LEAKED, session, note)
        return Judgement(_end_of(record))
    if answer.state is TmuxState.UNKNOWN:
        return Judgement(Verdict.UNKNOWN, note=answer.why)
    if name is None:
        return Judgement(Verdict.UNKNOWN, note="the registry names no session for this agent")
    if not certain:
        note = (
            "it is unknown which name the agent's session has in tmux, because tmux changes some "
            "characters of the name"
        )
        return Judgement(Verdict.UNKNOWN, note=note)
    if not is_active(record.meaning):
        status = record.status
        note = f"{status!r} is not a known status" if status else NO_STATUS
        if ended is not None:
            return Judgement(Verdict.UNKNOWN, session, f"{note}; {ended}")
        if session is not None:
            return Judgement(Verdict.LIVE, session, note)
        return Judgement(Verdict.UNKNOWN, note=f"{note}; no session")
    if session is not None and ended is not None:
        return _ended(record, session, ended, evidence, policy, now)
    if session is not None and _is_without_agent(record, session, now):
        note = (
            "the first pane of its session is gone, and the agent has not reported after another "
            "pane began; if the agent does not run in that pane, close the pane"
        )
        return Judgement(Verdict.UNKNOWN, session, note)
    if session is not None:
        last = max(
            record.updated or 0.0,
            record.started or 0.0,
            session.activity,
            session.created,
            reported,
        )
        silent = seconds_between(last, now, evidence.jumps)
        if silent > policy.stall_timeout:
            return Judgement(Verdict.STALLED, session, _why_stalled(record, silent))
        return Judgement(_at_work(record), session, _renamed(session, name))
    return _missing(record, name, evidence, policy, now)


def _judge_by_process(
    record: AgentRecord, evidence: Evidence, policy: Policy, now: float, reported: float
) -> Judgement:
    """Returns the verdict on an agent that has a pid and no session."""
    state, why, process = judge_process(record, evidence.processes, policy, now)
    if is_terminal(record.meaning):
        if process is None:
            return Judgement(_end_of(record))
        note = f"the agent has a terminal status, but its process {process.pid} still runs"
        return Judgement(Verdict.LEAKED, note=note, process=process)
    if state is ProcessState.UNKNOWN or not is_active(record.meaning):
        return Judgement(Verdict.UNKNOWN, note=why or NO_STATUS)
    if state is ProcessState.GONE:
        just_started = _just_started(record, evidence, policy, now)
        if just_started:
            return Judgement(Verdict.UNKNOWN, note=f"just started; {why}")
        return Judgement(Verdict.ZOMBIE, note=why)
    last = max(record.updated or 0.0, record.started or 0.0, reported)
    silent = seconds_between(last, now, evidence.jumps)
    if silent > policy.stall_timeout:
        return Judgement(Verdict.STALLED, note=_why_stalled(record, silent), process=process)
    return Judgement(_at_work(record), process=process)


def _at_work(record: AgentRecord) -> Verdict:
    """Returns the verdict on an active agent that has its session or process, and reports."""
    return Verdict.BLOCKED if record.meaning == "blocked" else Verdict.LIVE


def _end_of(record: AgentRecord) -> Verdict:
    """Returns the verdict on an agent with a terminal status and without a session."""
    return Verdict.FAILED if record.meaning in FAILED_STATUSES else Verdict.FINISHED


def _why_stalled(record: AgentRecord, silent: float) -> str:
    blocked = "blocked; " if record.meaning == "blocked" else ""
    return f"{blocked}no report and no output for {_silence(silent)}"


def _silence(seconds: float) -> str:
    """Returns the time without a report or output, as text.

    The time is rounded, because each new text redraws the agent's line.
    """
    if seconds >= 60:
        return age_in_words(seconds)
    tens = int(seconds) // 10 * 10
    return f"{tens} s" if tens else "less than 10 s"


def _ended(
    record: AgentRecord,
    session: Session,
    ended: DeadPane,
    evidence: Evidence,
    policy: Policy,
    now: float,
) -> Judgement:
    """Returns the verdict on an active agent if the first process of its session has ended."""
    if _just_started(record, evidence, policy, now):
        return Judgement(Verdict.UNKNOWN, session, f"{ended}, but the agent has just started")
    # tmux reports whole seconds.
    since = (ended.ended or session.created) + 1
    if session.pids and record.updated is not None and since < record.updated <= now:
        note = f"{ended}, but the agent reported later, and the session has another pane"
        return Judgement(Verdict.UNKNOWN, session, note)
    more = "; another pane of its session was opened later" if session.pids else ""
    return Judgement(Verdict.ZOMBIE, session, f"{ended}{more}")


def _is_without_agent(record: AgentRecord, session: Session, now: float) -> bool:
    """Returns whether the agent's pane may be gone, although other panes of its session exist."""
    if session.later is None:
        return False
    # An agent that started or reported after these panes began runs in one of them.
    since = session.later - _BEFORE
    starts = any(since <= start <= now for start in record.possible_starts)
    return not starts and not (record.updated and session.later < record.updated <= now)


def _just_started(record: AgentRecord, evidence: Evidence, policy: Policy, now: float) -> bool:
    started = record.started
    if started is None or started > now:
        return False
    return seconds_between(started, now, evidence.jumps) < policy.start_grace


def _missing(
    record: AgentRecord,
    name: str,
    evidence: Evidence,
    policy: Policy,
    now: float,
) -> Judgement:
    """Returns the verdict on an active agent whose session is missing from tmux's answer."""
    if _just_started(record, evidence, policy, now):
        return Judgement(Verdict.UNKNOWN, note=JUST_STARTED)
    if not is_proven_missing(name, evidence, proof_needed(record, policy, now)):
        note = "its session is missing; muster queries tmux again to be sure"
        return Judgement(Verdict.UNKNOWN, note=note)
    if (doubt := evidence.doubt(name)) is not None:
        return Judgement(Verdict.UNKNOWN, note=doubt)
    if replaced_spelling(name) in evidence.snapshot.sessions:
        return Judgement(Verdict.UNKNOWN, note=why_shared(replaced_spelling(name)))
    return Judgement(Verdict.ZOMBIE, note=f"no session {shown_name(record.tmux_session or '')}")


def why_not_its_own(
    record: AgentRecord, session: Session, policy: Policy, now: float
) -> str | None:
    """Returns why a session with the name of an agent's session belongs to another agent, or None.

    The session belongs to the agent if it was created during the agent's life. It also belongs to
    the agent if the agent reported after the session was created: then the agent was resumed in
    this session. A time that is missing or in the future is not used. If the clock was set back,
    a local start time may mean two times; both times are considered.

    Args:
        record: The agent's entry in the registry.
        session: The session with the name.
        policy: The limits for the time between the start and the session's creation.
        now: Seconds since the epoch.
    """
    created = session.created
    reported = record.updated is not None and created <= record.updated <= now
    ended = record.ended if is_terminal(record.meaning) else None
    if ended is not None and ended < created and not reported:
        later = age_in_words(created - ended)
        return f"{_NAME_REUSED} {later} after the agent ended"
    started = record.started
    if started is None or started > now:
        return None
    if created > started + policy.session_late_limit and not reported:
        later = age_in_words(created - started)
        return f"{_NAME_REUSED} {later} after the agent started"
    earliest = record.possible_starts[0]
    if created < earliest - policy.session_early_limit:
        earlier = age_in_words(earliest - created)
        whose = "the session with this name belongs to another agent"
        return f"{whose}: it was created {earlier} before this agent started"
    return None


def _renamed(session: Session, name: str) -> str:
    if session.name in spellings(name):
        return ""
    return f"its session is now named {shown_name(session.name)}"
