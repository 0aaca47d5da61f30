"""Ending the sessions of a plan with all their processes, all of them together.

Each on record first, children before their parents. Only what tmux confirmed to be
the session of the plan is ended, and nothing is called dead before that was seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audit.entries import EndedSession, Entry, State
from registry.audit.log import Audit, log_in, log_of
from registry.errors import BusyRegistryError, RegistryError
from registry.schema.records import TaskRecord, is_active
from registry.snapshots import Snapshot, read_task
from registry.text import shown_name
from tui.actions.footprint import (
    holder_of,
    left_alone,
    mixed_sessions,
    origin_of_ended,
    owner_of,
    servers_going_on,
)
from tui.actions.leftovers import find_leftovers, find_writers
from tui.actions.outcome import Result, StepOutcome
from tui.actions.plan import Plan, Step
from tui.actions.plan_kill import shared_panes
from tui.host import process_kill, process_tree
from tui.host.process_tree import Held, Origin, Process
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.nearby_workspaces import claimed_by, listed_since
from tui.progress import ProgressCallback, untold
from tui.text.sanitize import some

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

_BUSY_AT_MOST = 2.5
"""Seconds until a registry that somebody writes is given up."""

_BUSY_PAUSE = 0.05


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
    record = _Record(plan, audit)
    answer = tmux.ask()
    outcomes, going = _sort(plan, answer)
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
    writers = find_writers(ended, tmux.ask()) if ended else {}
    for step in ended:
        checked = _checked(step, going[step], known, left)
        if step in writers and checked.result is Result.DONE:
            why = f"{checked.detail}; {writers[step]}"
            checked = replace(checked, result=Result.FAILED, detail=why)
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


@dataclass(slots=True)
class _Record:
    """Puts on record which sessions end, and how that went.

    A session is ended even where that fails, and this is said: a full disk must not
    keep anybody from ending what fills it.
    """

    plan: Plan
    audit: Audit
    entries: dict[Step, tuple[Path, Entry]] = field(default_factory=dict)
    problems: dict[str, None] = field(default_factory=dict)

    def begin(self, step: Step, ending: EndedSession) -> None:
        log = log_in(self.plan.home) if self.plan.home is not None else None
        if step.row is not None:
            log = log_of(step.row.key.registry)
        if log is None:
            return
        try:
            self.entries[step] = (log, self.audit.begin(log, session=ending))
        except RegistryError as error:
            self.problems[f"not on record: {error}"] = None

    def end(self, step: Step, outcome: StepOutcome) -> None:
        if step not in self.entries:
            return
        log, entry = self.entries[step]
        try:
            self.audit.end(log, entry, _STATES[outcome.result], outcome.detail)
        except RegistryError as error:
            self.problems[f"how it ended is not on record: {error}"] = None


_STATES = {Result.DONE: State.DONE, Result.LEFT: State.VOID, Result.FAILED: State.FAILED}


def _sort(plan: Plan, answer: TmuxSnapshot) -> tuple[dict[Step, StepOutcome], dict[Step, _Going]]:
    """Whom nothing is to be done about any more, and what is about to be ended."""
    outcomes: dict[Step, StepOutcome] = {}
    going: dict[Step, _Going] = {}
    ending = frozenset(plan.ending)
    gone = [step for step in plan.steps if step.session is None]
    elsewhere = who_is_elsewhere(gone, answer)
    others = {} if answer.state is TmuxState.UNKNOWN else _who_is_another(plan.steps)
    mixed = mixed_sessions(answer)
    left = find_leftovers(plan.steps, answer)
    for step in plan.steps:
        if answer.state is TmuxState.UNKNOWN:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, f"tmux: {answer.why}")
        elif step in others:
            outcomes[step] = StepOutcome(step.label, Result.LEFT, others[step])
        elif step in elsewhere:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, elsewhere[step])
        elif step in left:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, left[step].why)
        elif step in ending and answer.foreign_pids:
            why = (
                "the processes of this tmux server cannot be seen from here: it runs in another "
                "container (PID namespace), so run muster in there"
            )
            outcomes[step] = StepOutcome(step.label, Result.FAILED, why)
        else:
            found = _now(plan, step, answer, mixed)
            if isinstance(found, StepOutcome):
                outcomes[step] = found
            else:
                going[step] = found
    orphans = {s: each.session for s, each in going.items() if s.row is None and each.session}
    listed = listed_since(set(orphans.values()), answer, plan.workspaces, plan.beside)
    agents = {s: each.session for s, each in going.items() if s.row and each.session}
    holders = {
        session: holder_of(step.row, session)
        for step, session in agents.items()
        if step.row is not None
    }
    listed |= claimed_by(holders, answer, plan.workspaces, plan.beside)
    for step, session in (orphans | agents).items():
        if session in listed:
            del going[step]
            outcomes[step] = StepOutcome(step.label, Result.LEFT, listed[session])
    return outcomes, going


def who_is_elsewhere(steps: Iterable[Step], answer: TmuxSnapshot) -> dict[Step, str]:
    """Why agents whose session is gone may still live on another tmux server.

    Args:
        steps: Those that take agents for dead.
        answer: What tmux said last.

    Returns:
        In words, for each that may; none where tmux cannot tell.
    """
    # Not at the top: the monitor opens its screen before it needs this.
    from tui.host.tmux_servers import look_elsewhere, owners_of

    if answer.state is TmuxState.UNKNOWN:
        return {}
    names = {
        step: step.expected_session
        for step in steps
        if step.expected_session and step.expected_session not in answer.sessions
    }
    owners = owners_of({step.row.key.registry for step in names if step.row is not None})
    found = look_elsewhere(set(names.values()), answer, owners).whys
    return {step: found[name] for step, name in names.items() if name in found}


def _who_is_another(steps: Iterable[Step]) -> dict[Step, str]:
    """Why agents are not as their registries had them when it was planned to end them.

    Whom a registry has no more is not among them: a session that was confirmed is ended
    also then. So it is where a registry cannot be read, unless that it is through was
    the reason to end it.

    Args:
        steps: What was planned; orphans are passed over.

    Returns:
        In words, for each that is.
    """
    agents: dict[Path, Snapshot[TaskRecord] | RegistryError] = {}
    found: dict[Step, str] = {}
    for step in steps:
        if step.row is None:
            continue
        path = step.row.key.registry
        if path not in agents:
            agents[path] = _agents_in(path)
        there = agents[path]
        if isinstance(there, RegistryError):
            if not is_active(step.row.record.status):
                found[step] = f"its registry cannot be read now: {there}"
            continue
        if step.owner not in (None, there.signature.owner):
            found[step] = "its registry belongs to another user now; look at it anew"
            continue
        own = [each for each in there.record.agents if each.id == step.label]
        same = [each for each in own if each.deployment in step.judged]
        if own and not same:
            found[step] = f"was deployed anew meanwhile; it is {own[-1].status!r} now"
        elif not is_active(step.row.record.status) and any(is_active(s.status) for s in same):
            found[step] = "is at work again"
    return found


def _agents_in(registry: Path) -> Snapshot[TaskRecord] | RegistryError:
    give_up_at = time.monotonic() + _BUSY_AT_MOST
    while True:
        try:
            return read_task(registry)
        except RegistryError as error:
            if not isinstance(error, BusyRegistryError) or time.monotonic() >= give_up_at:
                return error
        time.sleep(_BUSY_PAUSE)


def _now(
    plan: Plan, step: Step, answer: TmuxSnapshot, mixed: Mapping[str, str]
) -> StepOutcome | _Going:
    """What a step is about now, which may be no longer what it was planned for."""
    there = answer.sessions.get(step.expected_session) if step.expected_session else None
    session = step.session
    if session is None:
        if there is not None:
            return StepOutcome(step.label, Result.LEFT, "its session is back")
        if step.earlier is None:
            return StepOutcome(step.label, Result.DONE, "had no session")
        origin = origin_of_ended(step.earlier, answer, owner_of(plan, step))
        return _Going(None, origin, step.earlier)
    same_server = answer.server == (plan.server_pid, plan.server_started)
    same = _same(session, answer) if same_server else None
    if same is None and there is not None:
        why = "another session has its name now; look at it anew"
        return StepOutcome(step.label, Result.LEFT, why)
    if same is None and same_server and (elsewhere := _shown_by(session, answer)) is not None:
        why = f"its session is gone, but a pane of it is in session {shown_name(elsewhere.name)}"
        return StepOutcome(step.label, Result.LEFT, why)
    if same is not None and same is not there and step.row is None:
        # That it is an orphan was told by its name.
        why = f"its session has another name now: {shown_name(same.name)}"
        return StepOutcome(step.label, Result.LEFT, why)
    why_not = shared_panes(same, answer) or mixed.get(same.id) if same is not None else None
    if why_not is not None:
        return StepOutcome(step.label, Result.LEFT, why_not)
    last = same or session
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
    if same is None:
        # What left the session may have outlived it.
        return _Going(None, origin_of_ended(ending, answer), ending)
    return _Going(same, process_tree.origin_of(same, answer), ending)


def _shown_by(session: Session, answer: TmuxSnapshot) -> Session | None:
    """A session that has a pane now which one that is gone had."""
    for each in answer.sessions.values():
        if not set(each.panes).isdisjoint(session.panes):
            return each
    return None


def _same(session: Session, answer: TmuxSnapshot) -> Session | None:
    """The session as the same server lists it now, whatever it is called."""
    for each in answer.sessions.values():
        if (each.id, each.created) == (session.id, session.created):
            return each
    return None


def _end_all(
    going: Mapping[Step, _Going],
    tmux: Tmux,
    answer: TmuxSnapshot,
    record: _Record,
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
    for step, refusal in refusals.items():
        session = going[step].session
        if after.state is TmuxState.UNKNOWN:
            outcomes[step] = StepOutcome(step.label, Result.FAILED, f"tmux: {after.why}")
        elif (
            session is not None
            and after.server == answer.server
            and _same(session, after) is not None
        ):
            why = refusal or f"session {shown_name(session.name)} did not end"
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
    if going.session is not None:
        return StepOutcome(step.label, Result.DONE, f"ended its session and {count}")
    said = "its session had gone already"
    return StepOutcome(step.label, Result.DONE, f"{said}; ended {count}" if own else said)


def _leave_who_is_back(outcomes: dict[Step, StepOutcome], answer: TmuxSnapshot) -> None:
    """Keeps agents from being written down as dead that are not, or of whom nobody knows."""
    for step, outcome in outcomes.items():
        if outcome.result is not Result.DONE or not step.writes:
            continue
        if answer.state is TmuxState.UNKNOWN:
            why = f"{outcome.detail}; not recorded: tmux: {answer.why}"
            outcomes[step] = StepOutcome(step.label, Result.FAILED, why)
        elif step.expected_session in answer.sessions:
            why = f"{outcome.detail}; not recorded: a session of its name is there"
            outcomes[step] = StepOutcome(step.label, Result.LEFT, why)
