"""Ending the sessions of a plan with all their processes, all of them together.

Each on record first, children before their parents. Only what tmux confirmed to be
the session of the plan is ended, and nothing is called dead before that was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.audit import Audit, EndedSession
from registry.text import shown_name
from tui.actions.evidence import evidence_now
from tui.actions.footprint import left_alone, origin_of_ended, owner_of, servers_going_on
from tui.actions.kill_record import KillRecord
from tui.actions.leftovers import find_survivors, why_not_recorded
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step
from tui.actions.preconditions import (
    ENDED,
    KILL,
    ActionEvidence,
    refusal,
    same_session,
    session_now,
)
from tui.host import process_kill, process_tree
from tui.host.process_tree import Held, Origin, Process
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.progress import ProgressCallback, untold
from tui.text.sanitize import some

if TYPE_CHECKING:
    from tui.host.tmux import Tmux


def end_sessions(
    plan: Plan, tmux: Tmux, audit: Audit, progress: ProgressCallback = untold
) -> tuple[dict[Step, StepOutcome], tuple[str, ...]]:
    """Ends what a plan to kill says. Blocks; all sessions share one grace.

    Args:
        plan: A confirmed plan.
        tmux: The server that the plan is about.
        audit: What puts it on record.
        progress: Told how far it is.

    Returns:
        What became of every step, and what could not be put on record.
    """
    record = KillRecord(plan, audit)
    answer = tmux.ask()
    evidence = evidence_now(plan, answer)
    outcomes, going = _sort(plan, evidence)
    try:
        known = process_tree.processes_of({step: each.origin for step, each in going.items()})
    except OSError as error:
        why = f"its processes cannot be listed: {error}"
        outcomes |= {step: StepOutcome(step.label, Result.FAILED, why) for step in going}
        known, going = {}, {}
    ended = _end_all(going, tmux, answer, record, outcomes, progress)
    left = process_kill.end(
        [each for step in ended for each in known[step].processes],
        [going[step].origin for step in ended],
    )
    going_on = servers_going_on(known[step] for step in ended)
    survivors: Mapping[Step, str] = {}
    if ended:
        survivors = find_survivors({step: going[step].ending for step in ended}, tmux.ask())
    for step in ended:
        checked = _checked(step, going[step], known, left)
        doubt = survivors.get(step, "")
        if not doubt and step.writes and process_kill.survivors(known[step].doubted):
            doubt = why_not_recorded(step, plan.socket)
        if doubt and checked.result is Result.DONE:
            checked = replace(checked, result=Result.FAILED, detail=f"{checked.detail}; {doubt}")
        said = going_on(known[step]) + left_alone(known[step])
        outcomes[step] = replace(checked, detail=checked.detail + said)
    for step, outcome in outcomes.items():
        record.end(step, outcome)
    if any(step.writes and outcomes[step].result is Result.DONE for step in plan.steps):
        _leave_who_is_back(outcomes, tmux.ask())
    return outcomes, tuple(record.problems)


@dataclass(frozen=True, slots=True)
class _Going:
    """What is about to be ended.

    Attributes:
        session: As tmux lists it now; None if it is gone, and only processes are left.
        origin: What tells its processes.
        ending: How it is put on record.
    """

    session: Session | None
    origin: Origin
    ending: EndedSession


def _sort(
    plan: Plan, evidence: ActionEvidence
) -> tuple[dict[Step, StepOutcome], dict[Step, _Going]]:
    """Whom nothing is to be done about any more, and what is about to be ended."""
    outcomes: dict[Step, StepOutcome] = {}
    going: dict[Step, _Going] = {}
    for step in plan.steps:
        if (refused := refusal(KILL, step, evidence)) is not None:
            outcomes[step] = refused
        elif (target := _target(plan, step, evidence)) is not None:
            going[step] = target
        else:
            outcomes[step] = StepOutcome(step.label, Result.DONE, "had no session")
    return outcomes, going


def _target(plan: Plan, step: Step, evidence: ActionEvidence) -> _Going | None:
    """What a step that may be carried out ends now; None if nothing."""
    snapshot, session = evidence.snapshot, step.session
    if session is None:
        if step.earlier is None:
            return None
        origin = origin_of_ended(step.earlier, snapshot, owner_of(plan, step))
        return _Going(None, origin, step.earlier)
    now = session_now(step, evidence)
    last = now or session
    ending = EndedSession(
        # The next kill of the agent finds by it what this one may leave.
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
        # What left the session may have outlived it.
        return _Going(None, origin_of_ended(ending, snapshot), ending)
    return _Going(now, process_tree.origin_of(now, snapshot), ending)


def _end_all(
    going: Mapping[Step, _Going],
    tmux: Tmux,
    answer: TmuxSnapshot,
    record: KillRecord,
    outcomes: dict[Step, StepOutcome],
    progress: ProgressCallback,
) -> list[Step]:
    """Ends sessions one after another; returns the steps whose session is gone."""
    refusals: dict[Step, str | None] = {}
    silent = None
    for number, (step, each) in enumerate(going.items()):
        progress("Ending sessions", number, len(going))
        if silent is not None:
            # It would only keep each of the others waiting.
            outcomes[step] = StepOutcome(step.label, Result.FAILED, f"not tried: {silent}")
            continue
        record.begin(step, each.ending)
        refusals[step] = tmux.kill_session(each.session, answer) if each.session else None
        if refusals[step] is not None and tmux.ask().state is TmuxState.UNKNOWN:
            silent = refusals[step]
    if not refusals:
        return []
    after = tmux.ask()
    gone = []
    for step, refused in refusals.items():
        session = going[step].session
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
    going: _Going,
    known: Mapping[Step, Held],
    left: Iterable[Process],
) -> StepOutcome:
    own = {each.identity for each in known[step].processes}
    others = {each.identity for held in known.values() for each in held.processes} - own
    # Who came only while they were being ended may be anybody's.
    still = [each for each in left if each.identity not in others]
    if still:
        names = ", ".join(f"{shown_name(each.name)} ({each.pid})" for each in still)
        return StepOutcome(step.label, Result.FAILED, f"still running: {names}")
    count = some(len(own), "process", "processes")
    if going.session is not None and step.writes and known[step].doubts:
        why = f"ended its session and {count}, but what may be its runs"
        return StepOutcome(step.label, Result.FAILED, why)
    if going.session is not None:
        return StepOutcome(step.label, Result.DONE, f"ended its session and {count}")
    said = "its session had gone already"
    return StepOutcome(step.label, Result.DONE, f"{said}; ended {count}" if own else said)


def _leave_who_is_back(outcomes: dict[Step, StepOutcome], snapshot: TmuxSnapshot) -> None:
    """Keeps agents from being written down as dead that are not, or of whom nobody knows."""
    evidence = ActionEvidence(snapshot, snapshot.server)
    for step, outcome in outcomes.items():
        if outcome.result is not Result.DONE or not step.writes:
            continue
        refused = refusal(ENDED, step, evidence)
        if refused is not None:
            why = f"{outcome.detail}; not recorded: {refused.detail}"
            outcomes[step] = replace(refused, detail=why)
