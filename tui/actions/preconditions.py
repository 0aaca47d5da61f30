"""What must be true before anything is done about an agent or a session. Pure.

Each check tells why a step of a plan must not be carried out, or None. The same checks are
run when the plan is made, and again right before the act, on a new snapshot of tmux.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.schema import AgentRecord, TaskRecord, UnreadDatabase, is_active, is_terminal
from registry.text import shown_name
from tui.actions.leftovers import Leftover
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.call import MAY_BE_STALE
from tui.model.roll import AgentRow, Verdict


@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """What is known of one task's registry.

    Attributes:
        record: What it says; None if that is not known.
        error: Why it cannot be read now, or None.
        owner: Whose file it is, by the user's number, if that is known.
        database: What may have a newer status of its agents, or None.
        identity: Device and inode of the file that was read, or None.
        is_elsewhere: Whether it cannot be read since its path leads to no registry any more.
    """

    record: TaskRecord | None
    error: str | None = None
    owner: int | None = None
    database: UnreadDatabase | None = None
    identity: tuple[int, int] | None = None
    is_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class ActionEvidence:
    """What steps are checked against, as it is at one moment.

    Attributes:
        snapshot: What tmux says.
        server: The server that the plan is about; see `TmuxSnapshot.server`.
        sessions: Those of the plan as that server lists them now, whatever they are called.
        sharing: The names of other sessions that show the same panes, by id.
        tasks: By registry. Of those that are not in it nothing is known.
        elsewhere: Why sessions that are missing may be on another tmux server, by their names.
        leftovers: What may still run of agents whose session is gone.
        mixed: Why sessions cannot be ended with all their own panes and no others, by id.
        claims: Why sessions may be another agent's, or any agent's, by id.
        holding_us: The ids of sessions that muster itself runs in.
        rows: The agents on the roll, by registry.
        holders: Whose each session is or may be on the roll, by id.
        alone: The operator named one agent alone.
    """

    snapshot: TmuxSnapshot
    server: tuple[int | None, int]
    sessions: Mapping[Session, Session] = field(default_factory=dict)
    sharing: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[Path, TaskEvidence] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    leftovers: Mapping[Step, Leftover] = field(default_factory=dict)
    mixed: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    holding_us: frozenset[str] = frozenset()
    rows: Mapping[Path, Sequence[AgentRow]] = field(default_factory=dict)
    holders: Mapping[str, Sequence[AgentRow]] = field(default_factory=dict)
    alone: bool = False


Check = Callable[[Step, ActionEvidence], str | None]


def first_reason(checks: Iterable[Check], step: Step, evidence: ActionEvidence) -> str | None:
    """Why a step must not be carried out, by the first check that says so, or None."""
    return next((why for check in checks if (why := check(step, evidence)) is not None), None)


def refusal(
    checks: Iterable[tuple[Check, Result]], step: Step, evidence: ActionEvidence
) -> StepOutcome | None:
    """What becomes of a step that must not be carried out; None if it may be."""
    for check, result in checks:
        why = check(step, evidence)
        if why is not None:
            return StepOutcome(step.label, result, why)
    return None


def checked(plan: Plan, checks: Iterable[tuple[Check, Result]], evidence: ActionEvidence) -> Plan:
    """A plan without the steps that must not be carried out, each refused with the reason."""
    checks = tuple(checks)
    refused = {step: refusal(checks, step, evidence) for step in plan.steps}
    return plan.without({step: each.detail for step, each in refused.items() if each is not None})


def session_now(step: Step, evidence: ActionEvidence) -> Session | None:
    """The session of a step as it is now; None if there is none, or it is gone."""
    return evidence.sessions.get(step.session) if step.session is not None else None


def same_session(session: Session, snapshot: TmuxSnapshot) -> Session | None:
    """A session as the same server lists it in another snapshot, whatever it is called."""
    for each in snapshot.sessions.values():
        if (each.id, each.created) == (session.id, session.created):
            return each
    return None


def takes_for_dead(step: Step) -> bool:
    """Whether a step rests on it that a session is gone."""
    gone = step.row is None or step.row.verdict in (Verdict.ZOMBIE, Verdict.FINISHED)
    return gone and step.session is None


# --- what only the roll tells ---------------------------------------------------------


def registry_can_be_read(step: Step, evidence: ActionEvidence) -> str | None:
    """The registry that the plan was made of could be read."""
    task = _task(step, evidence)
    if task is None or task.error is None:
        return None
    return f"its registry cannot be read now: {task.error}"


def status_is_current(step: Step, evidence: ActionEvidence) -> str | None:
    """No database of its workspace may contradict the verdict.

    An agent that the operator named alone may be written down as dead all the same.
    """
    task = _task(step, evidence)
    if step.row is None or task is None or task.database is None:
        return None
    if step.row.verdict is Verdict.LEAKED:
        return f"it may be at work: {MAY_BE_STALE}"
    if step.row.verdict is Verdict.ZOMBIE and not evidence.alone:
        return f"it may be through: {MAY_BE_STALE}; if you know how it ended, name it alone"
    return None


def verdict_is_known(step: Step, evidence: ActionEvidence) -> str | None:
    """The roll could tell what is true of the agent."""
    if step.row is None or step.row.verdict is not Verdict.UNKNOWN:
        return None
    return f"cannot be judged: {step.row.note}"


def session_is_not_shared(step: Step, evidence: ActionEvidence) -> str | None:
    """No other agent on the roll has, or may have, its session."""
    row = step.row
    if row is None or row.session is None:
        return None
    through = is_terminal(row.record.status)
    for other in evidence.holders[row.session.id]:
        if other.key == row.key:
            continue
        if other.key.id != row.key.id and other.session is not None:
            name = shown_name(row.session.name)
            return f"shares the session {name} with {shown_name(other.key.id)}"
        # It may be at work in there: of one that is in its registry twice, too.
        same = other.key.registry == row.key.registry or other.session is None
        if not is_terminal(other.record.status) and (through or not same):
            whose = f"{shown_name(other.key.id)} in {shown_name(other.key.registry)}"
            return f"{whose} has its session as well, and is not through"
    return None


def is_listed_once(step: Step, evidence: ActionEvidence) -> str | None:
    """Writing down the agent's end would not end another one of its id."""
    row = step.row
    for other in evidence.rows.get(row.key.registry, ()) if row is not None else ():
        if (
            row is not None
            and other.key.id == row.key.id
            and other.record.tmux_session != row.record.tmux_session
            and other.verdict is not Verdict.FINISHED
        ):
            return "its id is in the registry twice, with different sessions"
    return None


# --- what is checked when the plan is made and before the act ------------------------------


def tmux_answers(step: Step, evidence: ActionEvidence) -> str | None:
    """Tmux can tell what is there."""
    snapshot = evidence.snapshot
    return f"tmux: {snapshot.why}" if snapshot.state is TmuxState.UNKNOWN else None


def end_is_still_recorded(step: Step, evidence: ActionEvidence) -> str | None:
    """That an agent is through, where this is the reason to end its session, can be read.

    The session of an agent at work is ended also where its registry is busy or broken now,
    but not where its path leads to no registry any more: somebody changed that.
    """
    task = _task(step, evidence)
    if step.row is None or task is None or task.record is not None:
        return None
    if is_active(step.row.record.status) and not task.is_elsewhere:
        return None
    return f"its registry cannot be read now: {task.error}"


def registry_has_its_owner(step: Step, evidence: ActionEvidence) -> str | None:
    """The registry belongs to the user that it belonged to."""
    task = _task(step, evidence)
    if task is None or task.record is None or step.owner in (None, task.owner):
        return None
    return "its registry belongs to another user now; look at it anew"


def deployment_is_same(step: Step, evidence: ActionEvidence) -> str | None:
    """The agent was not deployed anew.

    An agent that its registry does not list any more passes: its session was confirmed.
    """
    own = _entries(step, evidence)
    if not own or any(each.deployment in step.judged for each in own):
        return None
    return f"was deployed again meanwhile; it is {own[-1].status!r} now"


def is_not_at_work_again(step: Step, evidence: ActionEvidence) -> str | None:
    """An agent that was through is so still."""
    if step.row is None or is_active(step.row.record.status):
        return None
    own = (each for each in _entries(step, evidence) if each.deployment in step.judged)
    return "is at work again" if any(is_active(each.status) for each in own) else None


def session_is_not_elsewhere(step: Step, evidence: ActionEvidence) -> str | None:
    """A session that is gone is on no other tmux server."""
    if not takes_for_dead(step) or not step.expected_session:
        return None
    return evidence.elsewhere.get(step.expected_session)


def nothing_is_left_over(step: Step, evidence: ActionEvidence) -> str | None:
    """No process runs that may be an agent's whose session is gone."""
    left = None if step.may_run else evidence.leftovers.get(step)
    return left.why if left is not None else None


def processes_can_be_seen(step: Step, evidence: ActionEvidence) -> str | None:
    """The processes that a step ends can be told from others."""
    if not evidence.snapshot.foreign_pids or (step.session is None and step.earlier is None):
        return None
    return (
        "the processes of this tmux server cannot be seen from here: it runs in another "
        "container (PID namespace), so run muster in there"
    )


def session_is_not_back(step: Step, evidence: ActionEvidence) -> str | None:
    """A session that was gone is so still."""
    if not takes_for_dead(step):
        return None
    return no_session_has_its_name(step, evidence) and "its session is back"


def session_is_the_planned_one(step: Step, evidence: ActionEvidence) -> str | None:
    """The session is there as it was, or is gone with all its panes."""
    session, snapshot = step.session, evidence.snapshot
    if session is None:
        return None
    now = session_now(step, evidence)
    there = snapshot.sessions.get(step.expected_session) if step.expected_session else None
    if now is None and there is not None:
        return "another session has its name now; look at it anew"
    if now is None and snapshot.server == evidence.server:
        other = _shown_by(session, snapshot)
        if other is not None:
            return f"its session is gone, but a pane of it is in session {shown_name(other.name)}"
    if now is not None and now is not there and step.row is None:
        # That it is an orphan was told by its name.
        return f"its session has another name now: {shown_name(now.name)}"
    return None


def is_not_our_session(step: Step, evidence: ActionEvidence) -> str | None:
    """Muster does not run in the session."""
    if step.session is None or step.session.id not in evidence.holding_us:
        return None
    return f"muster itself runs in {'it' if step.row is None else 'its session'}"


def panes_are_its_own(step: Step, evidence: ActionEvidence) -> str | None:
    """No other session shows the same panes.

    A session that was made to look into another one (``new-session -t``), or a window
    that was linked, shows them too.
    """
    now = session_now(step, evidence)
    if now is None or now.id not in evidence.sharing:
        return None
    name = shown_name(evidence.sharing[now.id])
    return f"session {name} shows the same panes; end that one in tmux first"


def panes_were_made_in_it(step: Step, evidence: ActionEvidence) -> str | None:
    """No pane was moved from the session to another one, or from there."""
    now = session_now(step, evidence)
    return evidence.mixed.get(now.id) if now is not None else None


def nobody_else_claims_it(step: Step, evidence: ActionEvidence) -> str | None:
    """No registry around the session lists it as another agent's."""
    now = session_now(step, evidence)
    return evidence.claims.get(now.id) if now is not None else None


# --- what is checked once more before registries are written --------------------------------


def no_session_has_its_name(step: Step, evidence: ActionEvidence) -> str | None:
    """No session has the name of the agent's."""
    if step.expected_session in evidence.snapshot.sessions:
        return "a session of its name is there"
    return None


def database_was_known(step: Step, task: TaskEvidence) -> str | None:
    """No database came since the plan that may contradict what it was made of."""
    if step.row is None or task.database is None or step.stale:
        return None
    if step.row.verdict is Verdict.ZOMBIE:
        return f"it may be through: {task.database}"
    return None


FROM_ROLL: tuple[Check, ...] = (
    registry_can_be_read,
    status_is_current,
    verdict_is_known,
    is_not_our_session,
    session_is_not_shared,
    is_listed_once,
    panes_are_its_own,
)
"""What a plan to kill needs to be true of the roll alone."""

KILL: tuple[tuple[Check, Result], ...] = (
    (tmux_answers, Result.FAILED),
    (end_is_still_recorded, Result.LEFT),
    (registry_has_its_owner, Result.LEFT),
    (deployment_is_same, Result.LEFT),
    (is_not_at_work_again, Result.LEFT),
    (session_is_not_elsewhere, Result.FAILED),
    (nothing_is_left_over, Result.FAILED),
    (processes_can_be_seen, Result.FAILED),
    (session_is_not_back, Result.LEFT),
    (session_is_the_planned_one, Result.LEFT),
    (is_not_our_session, Result.LEFT),
    (panes_are_its_own, Result.LEFT),
    (panes_were_made_in_it, Result.LEFT),
    (nobody_else_claims_it, Result.LEFT),
)
"""What a kill needs, when it is planned and before the first session is ended."""

COMPLETE: tuple[tuple[Check, Result], ...] = (
    (tmux_answers, Result.FAILED),
    (session_is_not_elsewhere, Result.LEFT),
    (nothing_is_left_over, Result.LEFT),
    (session_is_not_back, Result.LEFT),
)
"""What writing an agent's end needs where no session is ended: some of `KILL`.

Whether its entry is as it was is checked with its registry locked; see
`registry.finish_agents`.
"""

ENDED: tuple[tuple[Check, Result], ...] = (
    (tmux_answers, Result.FAILED),
    (no_session_has_its_name, Result.LEFT),
)
"""What writing an agent's end needs after its session was ended."""


def _task(step: Step, evidence: ActionEvidence) -> TaskEvidence | None:
    return evidence.tasks.get(step.row.key.registry) if step.row is not None else None


def _entries(step: Step, evidence: ActionEvidence) -> list[AgentRecord]:
    """What the registry has of the agent's id."""
    task = _task(step, evidence)
    agents = task.record.agents if task is not None and task.record is not None else ()
    return [each for each in agents if each.id == step.label]


def _shown_by(session: Session, snapshot: TmuxSnapshot) -> Session | None:
    """A session that has a pane now which one that is gone had."""
    others = snapshot.sessions.values()
    return next((each for each in others if not set(each.panes).isdisjoint(session.panes)), None)
