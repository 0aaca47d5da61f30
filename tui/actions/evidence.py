"""Gathering what the steps of a plan are checked against. Blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from registry.errors import BusyRegistryError, CorruptRegistryError, RegistryError
from registry.schema import tmux_name
from registry.snapshots import when_free
from registry.sources import TaskSource
from tui.actions.leftovers import find_leftovers
from tui.actions.plan import Plan, Step, Verb
from tui.actions.preconditions import ActionEvidence, TaskEvidence, session_now, takes_for_dead
from tui.host import process_tree
from tui.host.pane_origin import PaneOrigins
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.live.session_claims import Holder, claims_on
from tui.model.roll import AgentRow, RollCall, Verdict
from tui.model.suspects import find_mixed


def evidence_of_roll(
    roll: RollCall, sessions: Iterable[Session], *, alone: bool = False
) -> ActionEvidence:
    """What the roll itself tells of steps, without another look.

    Args:
        roll: The roll call.
        sessions: Those that may be ended.
        alone: The operator named one agent alone.
    """
    snapshot, sessions = roll.answer, tuple(sessions)
    holders: dict[str, list[AgentRow]] = {}
    for row in roll.agents():
        session = row.session or row.name_reused_by
        if session is not None:
            holders.setdefault(session.id, []).append(row)
    states = [task.state for task in roll.tasks()]
    return ActionEvidence(
        snapshot,
        snapshot.server,
        sessions=_sessions_now(sessions, snapshot),
        sharing=_sharing(snapshot),
        tasks={
            state.registry: TaskEvidence(
                state.record, state.error, state.owner, state.database, state.identity
            )
            for state in states
        },
        elsewhere=roll.evidence.elsewhere,
        holding_us=_holding_us(sessions),
        rows={task.state.registry: task.agents for task in roll.tasks()},
        holders=holders,
        alone=alone,
    )


def evidence_now(plan: Plan, snapshot: TmuxSnapshot) -> ActionEvidence:
    """What is true of the steps of a plan now.

    Args:
        plan: A confirmed plan.
        snapshot: What tmux said just now.
    """
    server = plan.server_pid, plan.server_started
    planned = [step.session for step in plan.steps if step.session is not None]
    sessions = _sessions_now(planned, snapshot) if snapshot.server == server else {}
    evidence = ActionEvidence(
        snapshot,
        server,
        sessions=sessions,
        sharing=_sharing(snapshot),
        elsewhere=_elsewhere(plan.steps, snapshot),
    )
    if plan.verb is Verb.KILL and snapshot.state is not TmuxState.UNKNOWN:
        ours = _holding_us([*planned, *sessions.values()])
        sources = {
            step.row.key.registry: step.source
            for step in plan.steps
            if step.row is not None and step.source is not None
        }
        tasks = {path: _task_now(source) for path, source in sources.items()}
        evidence = replace(evidence, tasks=tasks, holding_us=ours)
    return looked_at(plan, evidence)


def looked_at(plan: Plan, evidence: ActionEvidence) -> ActionEvidence:
    """The same evidence, with what this host has of the steps of a plan.

    It is the same look when the plan is made and before the act.
    """
    snapshot = evidence.snapshot
    held = {
        now: _holder(step, now, evidence)
        for step in plan.steps
        if (now := session_now(step, evidence))
    }
    leftovers = find_leftovers([step for step in plan.steps if not step.may_run], snapshot)
    evidence = replace(evidence, leftovers=leftovers)
    if plan.verb is not Verb.KILL or snapshot.state is TmuxState.UNKNOWN:
        return evidence
    nearby, sessions = plan.nearby or NearbyWorkspaces(), snapshot.sessions.values()
    return replace(
        evidence,
        mixed=find_mixed(sessions, PaneOrigins().moved(sessions)),
        claims={each.id: why for each, why in claims_on(nearby, held, snapshot).items()},
    )


def _holder(step: Step, session: Session, evidence: ActionEvidence) -> Holder | None:
    """Whose the session of a step is, and what registries may call it; None for an orphan."""
    row = step.row
    if row is None:
        return None
    planned = row.session.name if row.session is not None else ""
    names = {session.name, planned, tmux_name(row.record.tmux_session or "")}
    is_through = row.verdict is Verdict.LEAKED
    # A writer may have replaced the file since the plan.
    now = evidence.tasks.get(row.key.registry)
    known = (step.identity, None if now is None else now.identity)
    identities = frozenset(each for each in known if each is not None)
    return Holder(row.key.id, row.key.registry, frozenset(names - {""}), is_through, identities)


def _sessions_now(
    sessions: Iterable[Session], snapshot: TmuxSnapshot
) -> Mapping[Session, Session]:
    """Sessions as the same server lists them now, whatever they are called."""
    by_id = {(each.id, each.created): each for each in snapshot.sessions.values()}
    return {
        each: by_id[each.id, each.created] for each in sessions if (each.id, each.created) in by_id
    }


def _sharing(snapshot: TmuxSnapshot) -> Mapping[str, str]:
    """Sessions that show panes which another one shows too, with the name of one such."""
    showing: dict[str, list[Session]] = {}
    for session in {each.id: each for each in snapshot.sessions.values()}.values():
        for pane in session.panes:
            showing.setdefault(pane, []).append(session)
    found: dict[str, str] = {}
    for sessions in showing.values():
        for session in sessions if len(sessions) > 1 else ():
            other = next(each for each in sessions if each is not session)
            found.setdefault(session.id, other.name)
    return found


def _holding_us(sessions: Collection[Session]) -> frozenset[str]:
    if not process_tree.holds_us({pid for each in sessions for pid in each.pids}):
        return frozenset()
    return frozenset(each.id for each in sessions if process_tree.holds_us(each.pids))


def _elsewhere(steps: Iterable[Step], snapshot: TmuxSnapshot) -> Mapping[str, str]:
    """Why sessions that are gone may still be on another tmux server, by their names."""
    # Not at the top: the monitor opens its screen before it needs this.
    from tui.host.tmux_servers import look_elsewhere, owners_of

    if snapshot.state is TmuxState.UNKNOWN:
        return {}
    gone = [
        step
        for step in steps
        if takes_for_dead(step)
        and step.expected_session
        and step.expected_session not in snapshot.sessions
    ]
    names = {step.expected_session for step in gone if step.expected_session}
    owners = owners_of({step.row.key.registry for step in gone if step.row is not None})
    return look_elsewhere(names, snapshot, owners).whys


def _task_now(task: TaskSource) -> TaskEvidence:
    """What a registry says now; a writer that is at it is waited for, but not for long."""
    try:
        there = when_free(task.read)
    except (BusyRegistryError, CorruptRegistryError) as error:
        return TaskEvidence(None, str(error))
    except RegistryError as error:
        return TaskEvidence(None, str(error), is_elsewhere=True)
    signature = there.signature
    return TaskEvidence(there.record, owner=signature.owner, identity=signature.identity)
