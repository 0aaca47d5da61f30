"""The preconditions of actions on agents and sessions. Pure.

Each check returns the reason why a step of a plan must not be executed; None if the step passes.
The checks run when the plan is made. They run again, with a new snapshot of tmux, right before the
plan is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from registry.schema import AgentRecord, is_active, is_terminal
from registry.text import shown_name
from tui.actions.evidence.action_evidence import ActionEvidence, TaskEvidence
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.call import MAY_BE_STALE
from tui.model.roll import Verdict
from tui.model.verdict import ENDING

Check = Callable[[Step, ActionEvidence], str | None]


def first_reason(checks: Iterable[Check], step: Step, evidence: ActionEvidence) -> str | None:
    """Returns the reason of the first check that a step fails; None if the step passes all."""
    return next((why for check in checks if (why := check(step, evidence)) is not None), None)


def refusal(
    checks: Iterable[tuple[Check, Result]], step: Step, evidence: ActionEvidence
) -> StepOutcome | None:
    """Returns the outcome of a step that fails a check; None if the step passes all checks."""
    for check, result in checks:
        why = check(step, evidence)
        if why is not None:
            return StepOutcome(step.label, result, why)
    return None


def checked(plan: Plan, checks: Iterable[tuple[Check, Result]], evidence: ActionEvidence) -> Plan:
    """Returns the plan without the steps that fail a check, and lists these steps as refused."""
    checks = tuple(checks)
    refusals = {step: refusal(checks, step, evidence) for step in plan.steps}
    return plan.without(
        {step: refused.detail for step, refused in refusals.items() if refused is not None}
    )


def session_now(step: Step, evidence: ActionEvidence) -> Session | None:
    """Returns the present data of a step's session; None if the step has no existing session."""
    return evidence.sessions.get(step.session) if step.session is not None else None


def same_session(session: Session, snapshot: TmuxSnapshot) -> Session | None:
    """Returns a session's data in another snapshot of the same server. The name may differ."""
    for other in snapshot.sessions.values():
        if (other.id, other.created) == (session.id, session.created):
            return other
    return None


def takes_for_dead(step: Step) -> bool:
    """Returns whether a step assumes that the session is gone."""
    gone = step.row is None or step.row.verdict is Verdict.ZOMBIE or step.row.verdict.is_over
    return gone and step.session is None


# --- Checks of the roll call ----------------------------------------------------------


def registry_can_be_read(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the agent's registry could be read when the plan was made."""
    task = _task(step, evidence)
    if task is None or task.error is None:
        return None
    return f"cannot read its registry: {task.error}"


def registry_can_be_locked(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the file system accepts locks, if the agent's registry will be changed."""
    task = _task(step, evidence)
    if task is None or task.has_locks or not step.writes:
        return None
    return (
        "the file system refuses locks, so its registry cannot be changed; move the workspace to "
        "a local disk"
    )


def status_is_current(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the workspace has no database that may contradict the verdict on the agent.

    Exception: a zombie passes this check if the operator named no other agent.
    """
    task = _task(step, evidence)
    if step.row is None or task is None or task.database is None:
        return None
    if step.row.verdict is Verdict.LEAKED:
        return f"it may be active: {MAY_BE_STALE}"
    if step.row.verdict is Verdict.ZOMBIE and not evidence.alone:
        return (
            f"it may have a terminal status: {MAY_BE_STALE}; if you know how the "
            "agent ended, name only this agent"
        )
    return None


def works_no_longer(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that a leaked agent wrote no output long after its recorded end.

    An orchestrator may record the end of an agent that was silent for a while. Exception: an agent
    passes this check if the operator named no other agent.
    """
    if step.row is None or step.row.key not in evidence.working:
        return None
    return "it works after its recorded end; to end it, name only this agent"


def verdict_is_known(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the verdict on the agent is known."""
    if step.row is None or step.row.verdict is not Verdict.UNKNOWN:
        return None
    return ENDING if step.row.note == ENDING else f"its state is unknown: {step.row.note}"


def session_is_not_shared(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that no other agent in the roll call has, or may have, the agent's session."""
    row = step.row
    if row is None or row.session is None:
        return None
    has_terminal_status = is_terminal(row.record.meaning)
    for other in evidence.holders[row.session.id]:
        if other.key == row.key:
            continue
        if other.key.id != row.key.id and other.session is not None:
            name = shown_name(row.session.name)
            return f"shares the session {name} with {shown_name(other.key.id)}"
        # The other agent may be active in this session, even with the same id in this registry.
        same = other.key.registry == row.key.registry or other.session is None
        if not is_terminal(other.record.meaning) and (has_terminal_status or not same):
            agent = f"{shown_name(other.key.id)} in {shown_name(other.key.registry)}"
            return f"{agent} has the same session, and does not have a terminal status"
    return None


def process_is_not_shared(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that no other agent in the roll call has the agent's process."""
    for rows in evidence.rows.values() if step.process is not None else ():
        for other in rows:
            is_other = step.row is not None and other.key != step.row.key
            if is_other and other.process is not None and other.process == step.process:
                named = shown_name(other.key.id)
                return f"shares the process {other.process.pid} with {named}"
    return None


def is_listed_once(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the registry does not list the agent's id twice, with different sessions."""
    row = step.row
    for other in evidence.rows.get(row.key.registry, ()) if row is not None else ():
        if (
            row is not None
            and other.key.id == row.key.id
            and other.record.tmux_session != row.record.tmux_session
            and not other.verdict.is_over
        ):
            return "its id is in the registry twice, with different sessions"
    return None


# --- Checks of the plan, repeated before the action -----------------------------------------


def tmux_answers(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that tmux could be queried."""
    snapshot = evidence.snapshot
    return f"tmux: {snapshot.why}" if snapshot.state is TmuxState.UNKNOWN else None


def end_is_still_recorded(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the registry of an agent with a terminal status can still be read.

    An active agent passes this check even if the registry is busy or damaged. No agent passes if
    the registry's path no longer leads to a registry, because then the workspace was changed.
    """
    task = _task(step, evidence)
    if step.row is None or task is None or task.record is not None:
        return None
    if is_active(step.row.record.meaning) and not task.is_elsewhere:
        return None
    return f"cannot read its registry: {task.error}"


def registry_has_its_owner(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the owner of the registry has not changed after the plan was made."""
    task = _task(step, evidence)
    if task is None or task.record is None or step.owner in (None, task.owner):
        return None
    return "its registry belongs to another user now; check the registry, and repeat the action"


def deployment_is_same(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the agent was not deployed again after the plan was made.

    An agent that was removed from its registry passes this check, because the operator confirmed
    the end of its session.
    """
    entries = _entries(step, evidence)
    if not entries or any(_is_planned(entry, step) for entry in entries):
        return None
    return f"was deployed again after the plan was made; its status is {entries[-1].status!r} now"


def _is_planned(entry: AgentRecord, step: Step) -> bool:
    """Returns whether an entry describes the deployment, and the process, of a step."""
    is_same = step.process is None or step.process.pid == entry.pid
    return is_same and entry.deployment in step.judged


def is_not_at_work_again(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that an agent with a terminal status did not become active after the planning."""
    if step.row is None or is_active(step.row.record.meaning):
        return None
    own = (entry for entry in _entries(step, evidence) if entry.deployment in step.judged)
    return "is active again" if any(is_active(entry.meaning) for entry in own) else None


def session_is_not_elsewhere(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that a missing session is not on another tmux server."""
    if not takes_for_dead(step) or not step.expected_session:
        return None
    return evidence.elsewhere.get(step.expected_session)


def nothing_is_left_over(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that muster found no process that may belong to an agent whose session is gone."""
    left = None if step.may_run else evidence.leftovers.get(step)
    return left.why if left is not None else None


def process_is_as_planned(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the process of an agent without a session is certainly its own, or gone."""
    return evidence.processes.get(step)


def processes_can_be_seen(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the processes of a step are visible in this PID namespace.

    Exception: a step that ends no processes passes if the operator named no other agent.
    """
    ends = step.session is not None or step.earlier is not None
    if not evidence.snapshot.foreign_pids or not (ends or takes_for_dead(step)):
        return None
    if step.may_run and not ends:
        return None
    return (
        "cannot see the processes of this tmux server, because the server runs in another "
        "container (PID namespace); run muster in that container"
    )


def session_is_not_back(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that a session that was gone when the plan was made does not exist again."""
    if not takes_for_dead(step):
        return None
    return no_session_has_its_name(step, evidence) and "its session exists again"


def process_has_ended(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the process of a zombie was not started again in the zombie's session."""
    if step.row is None or step.row.verdict is not Verdict.ZOMBIE or step.session is None:
        return None
    now = session_now(step, evidence)
    if now is None:
        return no_session_has_its_name(step, evidence)
    return "its process runs again" if now.ended is None else None


def agent_is_not_ending(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the agent's registry is not about to follow an end that the agent reported."""
    return ENDING if step in evidence.ending else None


def report_is_the_planned_one(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the last report of the agent has not changed after the plan was made."""
    now = evidence.ends.get(step, step.end)
    if step.end is None or (now is not None and now == step.end):
        return None
    return "its last report has changed after the plan was made; repeat the action"


def session_is_the_planned_one(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the session is still the planned session, or is gone with all its panes."""
    session, snapshot = step.session, evidence.snapshot
    if session is None:
        return None
    now = session_now(step, evidence)
    named = [snapshot.sessions[name] for name in step.session_names & snapshot.sessions.keys()]
    if now is None and named:
        return "another session has this name now; check that session, and repeat the action"
    if now is None and snapshot.server == evidence.server:
        other = _shown_by(session, snapshot)
        if other is not None:
            name = shown_name(other.name)
            return f"its session is gone, but a pane of that session is in session {name}"
    if now is not None and now not in named and step.row is None:
        # The session was recognized as an orphan by its name.
        return f"its session has another name now: {shown_name(now.name)}"
    return None


def is_not_our_session(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that muster does not run in the session."""
    if step.session is None or step.session.id not in evidence.holding_us:
        return None
    return f"muster itself runs in {'this' if step.row is None else 'its'} session"


def panes_are_its_own(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that no other session shows the same panes.

    After ``new-session -t`` or ``link-window``, two sessions show the same panes.
    """
    now = session_now(step, evidence)
    if now is None or now.id not in evidence.sharing:
        return None
    name = shown_name(evidence.sharing[now.id])
    return f"session {name} shows the same panes; end that session in tmux first"


def panes_were_made_in_it(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that no pane was moved out of the session or into the session."""
    now = session_now(step, evidence)
    return evidence.mixed.get(now.id) if now is not None else None


def ends_no_other_agent(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that the step ends no agent without a session that the plan does not end."""
    return evidence.others.get(step)


def is_not_claimed(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that no registry near the session lists the session for another agent."""
    now = session_now(step, evidence)
    return evidence.claims.get(now.id) if now is not None else None


# --- Checks before registries are written ---------------------------------------------------


def may_be_recorded(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that this user may write the audit log, and the registry that the step changes."""
    return evidence.denied.get(step)


def no_session_has_its_name(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that no session has the name of the agent's session."""
    if not step.session_names.isdisjoint(evidence.snapshot.sessions):
        return "a session with the name of the agent's session exists"
    return None


def task_can_be_written(step: Step, evidence: ActionEvidence) -> str | None:
    """Requires that a database can be written, if the agent's status will be changed there."""
    if step.row is None or not step.writes:
        return None
    why = evidence.unwritable.get(step.row.key.registry)
    return None if why is None else f"its database cannot be written: {why}"


def database_was_known(step: Step, task: TaskEvidence) -> str | None:
    """Requires that no database (with a newer status) appeared after the plan was made."""
    if step.row is None or task.database is None or step.stale:
        return None
    if step.row.verdict is Verdict.ZOMBIE:
        return f"it may have a terminal status: {task.database}"
    return None


FROM_ROLL: tuple[Check, ...] = (
    registry_can_be_read,
    registry_can_be_locked,
    status_is_current,
    verdict_is_known,
    works_no_longer,
    is_not_our_session,
    session_is_not_shared,
    process_is_not_shared,
    is_listed_once,
    panes_are_its_own,
)
"""The checks of a plan to kill that need only the roll call."""

KILL: tuple[tuple[Check, Result], ...] = (
    (tmux_answers, Result.FAILED),
    (end_is_still_recorded, Result.LEFT),
    (registry_can_be_locked, Result.LEFT),
    (task_can_be_written, Result.LEFT),
    (may_be_recorded, Result.FAILED),
    (registry_has_its_owner, Result.LEFT),
    (deployment_is_same, Result.LEFT),
    (is_not_at_work_again, Result.LEFT),
    (session_is_not_elsewhere, Result.FAILED),
    (nothing_is_left_over, Result.FAILED),
    (processes_can_be_seen, Result.FAILED),
    (session_is_not_back, Result.LEFT),
    (agent_is_not_ending, Result.LEFT),
    (report_is_the_planned_one, Result.LEFT),
    (session_is_the_planned_one, Result.LEFT),
    (process_has_ended, Result.LEFT),
    (process_is_as_planned, Result.LEFT),
    (is_not_our_session, Result.LEFT),
    (panes_are_its_own, Result.LEFT),
    (panes_were_made_in_it, Result.LEFT),
    (ends_no_other_agent, Result.LEFT),
    (is_not_claimed, Result.LEFT),
)
"""The checks that run when a kill is planned, and again before its first session is ended."""

COMPLETE: tuple[tuple[Check, Result], ...] = (
    (tmux_answers, Result.FAILED),
    (task_can_be_written, Result.LEFT),
    (may_be_recorded, Result.FAILED),
    (session_is_not_elsewhere, Result.LEFT),
    (process_has_ended, Result.LEFT),
    (process_is_as_planned, Result.LEFT),
    (nothing_is_left_over, Result.LEFT),
    (processes_can_be_seen, Result.LEFT),
    (session_is_not_back, Result.LEFT),
    (agent_is_not_ending, Result.LEFT),
    (report_is_the_planned_one, Result.LEFT),
)
"""The checks before an agent gets a terminal status without a kill; all are also in `KILL`.

The agent's entry is checked later, while the registry is locked; see `registry.finish_agents`.
"""

ENDED: tuple[tuple[Check, Result], ...] = (
    (tmux_answers, Result.FAILED),
    (no_session_has_its_name, Result.LEFT),
)
"""The checks before an agent gets a terminal status after its session was ended."""


def _task(step: Step, evidence: ActionEvidence) -> TaskEvidence | None:
    return evidence.tasks.get(step.row.key.registry) if step.row is not None else None


def _entries(step: Step, evidence: ActionEvidence) -> list[AgentRecord]:
    """Returns all entries that the agent's registry has for the agent's id."""
    task = _task(step, evidence)
    agents = task.record.agents if task is not None and task.record is not None else ()
    return [agent for agent in agents if agent.id == step.label]


def _shown_by(session: Session, snapshot: TmuxSnapshot) -> Session | None:
    """Returns an existing session that has a pane of a session that is gone, or None."""
    panes = set(session.panes)
    return next(
        (other for other in snapshot.sessions.values() if not panes.isdisjoint(other.panes)), None
    )
