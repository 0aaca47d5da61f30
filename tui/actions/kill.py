"""Ends the sessions of a plan together, with all their processes.

A session is logged before muster ends it. Sessions of child agents are ended before the sessions
of their parents. A session is ended only if tmux confirms that it is the session of the plan. An
agent gets the status terminated only if its session and its processes are gone after the kill.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from registry.audit import EndedSession
from registry.dataclass import dataclass, replace
from registry.text import shown_name
from tui.actions.evidence.action_evidence import ActionEvidence
from tui.actions.evidence.agent_process import why_not_gone
from tui.actions.evidence.collect import evidence_now
from tui.actions.evidence.leftovers import find_survivors, why_not_recorded
from tui.actions.evidence.origins import origin_of_ended, owner_of
from tui.actions.evidence.other_agents import why_others_would_end
from tui.actions.footprint import describe_servers, left_alone
from tui.actions.kill_record import KillRecord
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step
from tui.actions.preconditions import (
    ENDED,
    KILL,
    refusal,
    same_session,
    session_now,
)
from tui.host.process import process_kill, process_tree
from tui.host.process.process_tree import Held, Identity, Origin, Process
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.progress import ProgressCallback, no_progress
from tui.text.sanitize import some

if TYPE_CHECKING:
    from tui.host.tmux import Tmux


def end_sessions(
    plan: Plan, tmux: Tmux, record: KillRecord, progress: ProgressCallback = no_progress
) -> dict[Step, StepOutcome]:
    """Ends the sessions of a plan to kill, and then all their processes together. Blocks.

    Args:
        plan: A confirmed plan.
        tmux: The tmux server of the plan.
        record: Logs the kills.
        progress: Called with the progress.

    Returns:
        The outcome of every step.
    """
    answer = tmux.ask()
    evidence = evidence_now(plan, answer)
    outcomes, targets = _sort(plan, evidence)
    targets = _begun(plan, targets, answer, record, outcomes)
    # A step that is not carried out ends no agent, so the agent's process is spared, too.
    spared = replace(plan, steps=tuple(targets)).spared
    targets = {
        step: replace(target, origin=target.origin and replace(target.origin, spared=spared))
        for step, target in targets.items()
    }
    try:
        known = _processes_of(targets, spared)
    except OSError as error:
        why = f"cannot list its processes: {error}"
        outcomes |= {step: StepOutcome(step.label, Result.FAILED, why) for step in targets}
        known, targets = {}, {}
    ended = _end_all(targets, tmux, answer, record, outcomes, progress)
    left = process_kill.end(
        [process for step in ended for process in known[step].processes],
        [targets[step].origin or process_tree.sparing(spared) for step in ended],
    )
    other_servers = describe_servers(known[step] for step in ended)
    survivors: Mapping[Step, str] = {}
    if ended:
        endings = {step: targets[step].ending for step in ended}
        survivors = find_survivors(endings, tmux.ask(), spared)
    for step in ended:
        checked = _checked(step, targets[step], known, left)
        doubt = survivors.get(step, "")
        if not doubt and step.writes and process_kill.survivors(known[step].doubted):
            doubt = why_not_recorded(step, plan.socket)
        if not doubt and step.process is None:
            why_running = why_not_gone(step)
            doubt = "" if why_running is None else f"not recorded, because {why_running}"
        if doubt and checked.result is Result.DONE:
            checked = replace(checked, result=Result.FAILED, detail=f"{checked.detail}; {doubt}")
        more = other_servers(known[step]) + left_alone(known[step])
        outcomes[step] = replace(checked, detail=checked.detail + more)
    for step, outcome in outcomes.items():
        record.end(step, outcome)
    if any(step.writes and outcomes[step].result is Result.DONE for step in plan.steps):
        _check_not_back(outcomes, tmux.ask(), record)
    return outcomes


@dataclass(frozen=True, slots=True)
class _Target:
    """A session or a process to end, or the remaining processes of a former session.

    Attributes:
        session: The session as tmux lists it now; None if only processes are ended.
        origin: The features by which the session's processes are found; None for the process of
            an agent without a session.
        ending: The session or process as the audit log describes it.
    """

    session: Session | None
    origin: Origin | None
    ending: EndedSession


def _processes_of(
    targets: Mapping[Step, _Target], spared: Collection[Identity]
) -> dict[Step, Held]:
    """Returns the processes of each target.

    Args:
        targets: The targets.
        spared: See `Plan.spared`.

    Raises:
        OSError: The processes cannot be listed.
    """
    origins = {step: target.origin for step, target in targets.items() if target.origin}
    roots = {
        step: identity
        for step in targets
        if step.process is not None and (identity := step.process.identity) is not None
    }
    known = process_tree.processes_of(origins) if origins else {}
    return known | (process_tree.processes_from(roots, spared) if roots else {})


def _sort(
    plan: Plan, evidence: ActionEvidence
) -> tuple[dict[Step, StepOutcome], dict[Step, _Target]]:
    """Returns the outcomes of the steps that end nothing, and the targets of the other steps."""
    outcomes: dict[Step, StepOutcome] = {}
    targets: dict[Step, _Target] = {}
    for step in plan.steps:
        if (refused := refusal(KILL, step, evidence)) is not None:
            outcomes[step] = refused
        elif (target := _target(plan, step, evidence)) is not None:
            targets[step] = target
        else:
            outcomes[step] = StepOutcome(step.label, Result.DONE, "had no session")
    return outcomes, targets


def _target(plan: Plan, step: Step, evidence: ActionEvidence) -> _Target | None:
    """Returns the target of an allowed step; None if the step ends nothing."""
    snapshot, session = evidence.snapshot, step.session
    if step.process is not None:
        return _Target(None, None, _ended_process(step, plan))
    if session is None:
        if step.earlier is None:
            return None
        origin = origin_of_ended(step.earlier, snapshot, owner_of(plan, step), plan.spared)
        return _Target(None, origin, step.earlier)
    now = session_now(step, evidence)
    last = now or session
    ending = EndedSession(
        # The next kill of the agent uses this name to find processes that this kill may leave.
        step.expected_session or last.name,
        last.id,
        last.created,
        str(plan.socket),
        step.label if step.row is not None else None,
        plan.server_pid,
        plan.server_started,
        last.panes,
    )
    if now is None:
        # Processes that detached from the session may still run.
        origin = origin_of_ended(ending, snapshot, spared=plan.spared)
        return _Target(None, origin, ending)
    origin = replace(process_tree.origin_of(now, snapshot), spared=plan.spared)
    return _Target(now, origin, ending)


def _ended_process(step: Step, plan: Plan) -> EndedSession:
    """Returns the record of the end of a process for the audit log."""
    process = step.process
    pid, began = (0, None) if process is None else (process.pid, process.began)
    return EndedSession(
        f"process {pid}", "", int(began or 0), str(plan.socket), step.label, pid=pid
    )


def _begun(
    plan: Plan,
    targets: Mapping[Step, _Target],
    answer: TmuxSnapshot,
    record: KillRecord,
    outcomes: dict[Step, StepOutcome],
) -> dict[Step, _Target]:
    """Logs that muster is about to end processes of agents without a session.

    Returns:
        The targets that may be ended. If one of these agents stays, other steps must not end it.
    """
    begun = {}
    for step, target in targets.items():
        if step.process is None or (why := record.begin(step, target.ending)) is None:
            begun[step] = target
        else:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, why)
    if any(step.process is not None and step not in begun for step in plan.steps):
        left = replace(plan, steps=tuple(begun))
        sessions = {step: each.session for step, each in begun.items() if each.session is not None}
        nearby = plan.nearby or NearbyWorkspaces()
        for step, why in why_others_would_end(left, sessions, answer, nearby).items():
            outcomes[step] = StepOutcome(step.label, Result.LEFT, why)
            del begun[step]
    return begun


def _end_all(
    targets: Mapping[Step, _Target],
    tmux: Tmux,
    answer: TmuxSnapshot,
    record: KillRecord,
    outcomes: dict[Step, StepOutcome],
    progress: ProgressCallback,
) -> list[Step]:
    """Ends sessions one after another; returns the steps whose session is gone."""
    refusals: dict[Step, str | None] = {}
    silent = None
    for number, (step, target) in enumerate(targets.items()):
        progress("Ending sessions", number, len(targets))
        if silent is not None:
            # tmux does not answer, so each further command would only wait until its timeout.
            outcomes[step] = StepOutcome(step.label, Result.FAILED, f"not tried: {silent}")
            continue
        why = record.begin(step, target.ending) if step.process is None else None
        if why is not None:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, why)
            continue
        refusals[step] = tmux.kill_session(target.session, answer) if target.session else None
        if refusals[step] is not None and tmux.ask().state is TmuxState.UNKNOWN:
            silent = refusals[step]
    if not refusals:
        return []
    after = tmux.ask()
    gone = []
    for step, refused in refusals.items():
        session = targets[step].session
        if after.state is TmuxState.UNKNOWN:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, f"tmux: {after.why}")
        elif (
            session is not None
            and after.server == answer.server
            and same_session(session, after) is not None
        ):
            why = refused or f"session {shown_name(session.name)} did not end"
            outcomes[step] = StepOutcome(step.label, Result.FAILED, why)
        else:
            gone.append(step)
    return gone


def _checked(
    step: Step,
    target: _Target,
    known: Mapping[Step, Held],
    left: Iterable[Process],
) -> StepOutcome:
    own = {process.identity for process in known[step].processes}
    others = {process.identity for held in known.values() for process in held.processes} - own
    # A process that started only during the kill may belong to any of the sessions.
    running = [process for process in left if process.identity not in others]
    if running:
        names = ", ".join(f"{shown_name(process.name)} ({process.pid})" for process in running)
        return StepOutcome(step.label, Result.FAILED, f"still running: {names}")
    count = some(len(own), "process", "processes")
    if target.session is not None and step.writes and known[step].doubts:
        why = f"ended its session and {count}; a process that may belong to the agent still runs"
        return StepOutcome(step.label, Result.FAILED, why)
    if target.session is not None:
        return StepOutcome(step.label, Result.DONE, f"ended its session and {count}", True)
    if step.process is not None:
        more = f" and {some(len(own) - 1, 'further process', 'further processes')}"
        text = f"ended its process {step.process.pid}" + (more if len(own) > 1 else "")
        gone = f"its process {step.process.pid} had already ended"
        return StepOutcome(step.label, Result.DONE, text if own else gone, bool(own))
    text = "its session was already gone"
    text += f"; ended {count}" if own else ""
    return StepOutcome(step.label, Result.DONE, text, bool(own))


def _check_not_back(
    outcomes: dict[Step, StepOutcome], snapshot: TmuxSnapshot, record: KillRecord
) -> None:
    """Refuses to give a terminal status to agents whose session may exist again."""
    evidence = ActionEvidence(snapshot, snapshot.server)
    for step, outcome in outcomes.items():
        if outcome.result is not Result.DONE or not step.writes:
            continue
        refused = refusal(ENDED, step, evidence)
        if refused is not None:
            why = f"{outcome.detail}; not recorded: {refused.detail}"
            outcomes[step] = replace(refused, detail=why)
            record.not_recorded(step, why)
