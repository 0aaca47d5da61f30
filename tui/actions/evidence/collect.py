"""Collects the data with which the preconditions of a plan's steps are checked. Blocks."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from registry.dataclass import replace
from registry.errors import BusyRegistryError, CorruptRegistryError, RegistryError
from registry.schema import is_active
from registry.snapshots import when_free
from registry.sources import TaskSource
from tui.actions.evidence.action_evidence import ActionEvidence, TaskEvidence
from tui.actions.evidence.leftovers import find_leftovers
from tui.actions.evidence.other_agents import why_others_would_end
from tui.actions.evidence.record_permission import denied_records
from tui.actions.evidence.reported_ends import ends_now
from tui.actions.evidence.running_processes import find_running
from tui.actions.plan import Plan, Step, Verb
from tui.actions.preconditions import session_now, takes_for_dead
from tui.host.process import process_tree
from tui.host.process.pane_origin import PaneOrigins, moved_among, unknown_among
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.live.session_claims import Holder, claims_on
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskState, Verdict
from tui.model.suspects import find_mixed
from tui.model.verdict import is_ending

_ENDS_WITHIN = 60.0
"""The time, in seconds, in which an agent writes its last output after the record of its end."""


def evidence_of_roll(
    roll: RollCall,
    sessions: Iterable[Session],
    rows: Iterable[AgentRow] = (),
    *,
    alone: bool = False,
) -> ActionEvidence:
    """Returns the evidence that a roll call contains, without a new query of tmux.

    Args:
        roll: The roll call.
        sessions: The sessions that may be ended.
        rows: The agents that may be ended.
        alone: Whether the operator named exactly one agent.
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
                state.record,
                state.error,
                state.owner,
                state.database,
                state.identity,
                has_locks=state.has_locks,
            )
            for state in states
        },
        elsewhere=roll.evidence.elsewhere,
        holding_us=_holding_us(sessions),
        rows={task.state.registry: task.agents for task in roll.tasks()},
        holders=holders,
        alone=alone,
        working=frozenset() if alone else _working(rows, states),
    )


def _working(rows: Iterable[AgentRow], states: Iterable[TaskState]) -> frozenset[AgentKey]:
    """Returns the leaked agents whose output grew for longer than an agent needs to end."""
    sources = {state.registry: state.source for state in states}
    working = set()
    for row in rows:
        recorded = row.record.recorded
        if row.verdict is Verdict.LEAKED and recorded is not None:
            facts = sources[row.key.registry].output_facts(row.key.id)
            last = max((fact.modified or 0.0 for fact in facts), default=0.0)
            if last > recorded + _ENDS_WITHIN:
                working.add(row.key)
    return frozenset(working)


def evidence_now(plan: Plan, snapshot: TmuxSnapshot) -> ActionEvidence:
    """Returns the present evidence for the steps of a plan. Reads the registries again.

    Args:
        plan: A confirmed plan.
        snapshot: A new snapshot of tmux.
    """
    server = plan.server_pid, plan.server_started
    planned = [step.session for step in plan.steps if step.session is not None]
    sessions = _sessions_now(planned, snapshot) if snapshot.server == server else {}
    evidence = ActionEvidence(
        snapshot,
        server,
        sessions=sessions,
        sharing=_sharing(snapshot),
        elsewhere=_elsewhere(plan, snapshot),
    )
    if plan.verb is Verb.KILL and snapshot.state is not TmuxState.UNKNOWN:
        holding_us = _holding_us([*planned, *sessions.values()])
        sources = {
            step.row.key.registry: step.source
            for step in plan.steps
            if step.row is not None and step.source is not None
        }
        tasks = {path: _task_now(source) for path, source in sources.items()}
        evidence = replace(evidence, tasks=tasks, holding_us=holding_us)
    return looked_at(plan, evidence)


def looked_at(plan: Plan, evidence: ActionEvidence) -> ActionEvidence:
    """Adds data of this host to evidence.

    These are `leftovers`, `processes`, `mixed`, `claims`, `others`, `ends`, `ending`, `unwritable`
    and `denied`.

    This function is called when the plan is made, and again before the plan is executed.
    """
    snapshot = evidence.snapshot
    held = {
        now: _holder(step, now, evidence)
        for step in plan.steps
        if (now := session_now(step, evidence))
    }
    asked = [step for step in plan.steps if not step.may_run]
    leftovers = find_leftovers(asked, snapshot, plan.spared)
    if plan.verb is Verb.COMPLETE:
        # A kill ends these processes anyway, and afterwards searches for further ones.
        of_steps = {step: now for step in asked if (now := session_now(step, evidence))}
        leftovers |= find_running(of_steps, snapshot, plan.spared)
    ends = {} if snapshot.state is TmuxState.UNKNOWN else ends_now(_gone(plan, evidence))
    at = time.time()
    ending = frozenset(step for step, end in ends.items() if end and is_ending(end, at))
    evidence = replace(
        evidence,
        leftovers=leftovers,
        ends=ends,
        ending=ending,
        unwritable=_unwritable(plan),
        denied=denied_records(plan),
    )
    if any(step.row is not None and step.row.record.cursor_pid for step in plan.steps):
        # Imported late, because most plans have no such agents.
        from tui.actions.evidence.agent_process import why_not_as_planned

        ended = plan.steps if plan.verb is Verb.KILL else _dead(plan.steps)
        evidence = replace(evidence, processes=why_not_as_planned(ended))
    if plan.verb is not Verb.KILL or snapshot.state is TmuxState.UNKNOWN:
        return evidence
    nearby, sessions = plan.nearby or NearbyWorkspaces(), snapshot.sessions.values()
    claims = claims_on(nearby, held, snapshot)
    of_steps = {step: now for step in plan.ending if (now := session_now(step, evidence))}
    return replace(
        evidence,
        mixed=_mixed(sessions),
        claims={session.id: why for session, why in claims.items()},
        others=why_others_would_end(plan, of_steps, snapshot, nearby),
    )


def _unwritable(plan: Plan) -> Mapping[Path, str]:
    """Maps the registries that a plan changes to the reasons why they cannot be written."""
    sources = {
        step.row.key.registry: step.source
        for step in plan.steps
        if step.row is not None and step.source is not None and step.writes
    }
    reasons = {path: source.why_unwritable() for path, source in sources.items()}
    return {path: why for path, why in reasons.items() if why is not None}


def _dead(steps: Iterable[Step]) -> Iterator[Step]:
    return (step for step in steps if step.row is not None and step.row.verdict is Verdict.ZOMBIE)


def _gone(plan: Plan, evidence: ActionEvidence) -> Iterator[Step]:
    """Yields the steps of active agents whose session or process is gone now."""
    for step in plan.steps:
        now = session_now(step, evidence)
        is_gone = step.process is None and (now is None or now.ended is not None)
        if step.row is not None and is_active(step.row.record.meaning) and is_gone:
            yield step


def _mixed(sessions: Collection[Session]) -> dict[str, str]:
    """Maps the ids of sessions with moved panes to the reasons; see `find_mixed`."""
    origins = PaneOrigins().read(sessions)
    unknown = unknown_among(origins, sessions, process_tree.begun)
    return dict(find_mixed(sessions, moved_among(origins, sessions), unknown))


def _holder(step: Step, session: Session, evidence: ActionEvidence) -> Holder | None:
    """Returns the agent of a step, with the possible names of the session; None for an orphan."""
    row = step.row
    if row is None:
        return None
    planned = row.session.name if row.session is not None else ""
    names = step.session_names | {session.name, planned}
    has_terminal_status = row.verdict is Verdict.LEAKED
    # A writer may have replaced the file after the plan was made.
    now = evidence.tasks.get(row.key.registry)
    known = (step.identity, None if now is None else now.identity)
    identities = frozenset(identity for identity in known if identity is not None)
    listing = () if step.source is None else step.source.listing
    return Holder(
        row.key.id, row.key.registry, names - {""}, has_terminal_status, identities, listing
    )


def _sessions_now(
    sessions: Iterable[Session], snapshot: TmuxSnapshot
) -> Mapping[Session, Session]:
    """Maps each session that still exists to its present data. A session may have a new name."""
    by_id = {(session.id, session.created): session for session in snapshot.sessions.values()}
    return {
        session: by_id[session.id, session.created]
        for session in sessions
        if (session.id, session.created) in by_id
    }


def _sharing(snapshot: TmuxSnapshot) -> Mapping[str, str]:
    """Maps the id of each session that shares a pane to the name of a session with this pane."""
    by_pane: dict[str, list[Session]] = {}
    for session in {session.id: session for session in snapshot.sessions.values()}.values():
        for pane in session.panes:
            by_pane.setdefault(pane, []).append(session)
    sharing: dict[str, str] = {}
    for sessions in by_pane.values():
        for session in sessions if len(sessions) > 1 else ():
            other = next(other for other in sessions if other is not session)
            sharing.setdefault(session.id, other.name)
    return sharing


def _holding_us(sessions: Collection[Session]) -> frozenset[str]:
    if not process_tree.holds_us({pid for session in sessions for pid in session.pids}):
        return frozenset()
    return frozenset(session.id for session in sessions if process_tree.holds_us(session.pids))


def _elsewhere(plan: Plan, snapshot: TmuxSnapshot) -> Mapping[str, str]:
    """Maps the name of a missing session to the reason why another tmux server may have it."""
    # Imported here, because the monitor opens its screen before it needs this.
    from tui.host.tmux_servers import look_elsewhere, owners_of

    if snapshot.state is TmuxState.UNKNOWN:
        return {}
    gone = [
        step
        for step in plan.steps
        if takes_for_dead(step) and step.session_names.isdisjoint(snapshot.sessions)
    ]
    names = {step.expected_session for step in gone if step.expected_session}
    registries = {step.row.key.registry for step in gone if step.row is not None}
    registries.update(path for step in gone if step.source for path in step.source.listing)
    owners = owners_of(registries)
    return look_elsewhere(names, snapshot, owners, plan.set_aside).whys


def _task_now(task: TaskSource) -> TaskEvidence:
    """Reads a task's registry; waits a short time if another process is writing the registry."""
    try:
        present = when_free(task.read)
    except (BusyRegistryError, CorruptRegistryError) as error:
        return TaskEvidence(None, str(error))
    except RegistryError as error:
        return TaskEvidence(None, str(error), is_elsewhere=True)
    signature = present.signature
    return TaskEvidence(
        present.record,
        owner=signature.owner,
        identity=signature.identity,
        has_locks=present.has_locks,
    )
