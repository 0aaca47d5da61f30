"""Carrying out what an operator confirmed, and checking that it is done.

The same for the screen and for the command line. Registries are changed only
after tmux was asked again, and no lock is held while it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from registry.audit import Audit, log_in, log_of
from registry.audit_records import EndedSession, State
from registry.durability import durable_commits
from registry.errors import RegistryError
from registry.finishing import FinishReport, finish_agents
from registry.recorded import OnRecord
from registry.undo import KILLED
from tui.host import processes
from tui.host.sessions import Answer, Session, TmuxState
from tui.planning import EndStatus, Plan, Step, Verb
from tui.roll import Verdict
from tui.text import some

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

KILL_REASON = "killed by operator"


class Result(StrEnum):
    """How a step ended."""

    DONE = "done"
    LEFT = "left alone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of one step.

    Attributes:
        detail: What was done, or why not.
    """

    label: str
    result: Result
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan.

    Attributes:
        written: Registries that were changed.
        problems: What went wrong beside the single agents.
    """

    verb: Verb
    steps: tuple[StepOutcome, ...]
    written: tuple[Path, ...]
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything was done."""
        return not self.problems and all(each.result is Result.DONE for each in self.steps)


Progress = Callable[[int, int], None]
"""Told how many steps of how many are done."""


def carry_out(
    plan: Plan, tmux: Tmux, reason: str, progress: Progress = lambda done, of: None
) -> Outcome:
    """Does what a plan says, on record first, and checks that it is done. Blocks.

    A session is ended even where that cannot be put on record, and this is said:
    a full disk must not keep anybody from ending what fills it. A registry is not
    changed then.

    Args:
        plan: A confirmed plan.
        tmux: The server that the plan is about.
        reason: Why, in the operator's words; empty for a default.
        progress: Told after each step.
    """
    with durable_commits():
        if plan.verb is Verb.KILL:
            return _kill(plan, tmux, reason, progress)
        return _complete(plan, tmux, reason, progress)


def _kill(plan: Plan, tmux: Tmux, reason: str, progress: Progress) -> Outcome:
    ended: dict[Step, str] = {}
    outcomes: dict[Step, StepOutcome] = {}
    audit = Audit(plan.verb.value, reason)
    unrecorded: dict[str, None] = {}
    for number, step in enumerate(plan.steps, 1):
        log = _log_of(plan, step)
        entry = None
        try:
            if step.session is not None and log is not None:
                session = _ended_session(step, step.session, plan.socket)
                entry = audit.begin(log, session=session)
        except RegistryError as error:
            unrecorded[f"not on record: {error}"] = None
        outcome = _end_session(step, plan.server_pid, tmux)
        try:
            if entry is not None and log is not None:
                audit.end(log, entry, _STATES[outcome.result], outcome.detail)
        except RegistryError as error:
            unrecorded[f"how it ended is not on record: {error}"] = None
        if outcome.result is Result.DONE and step.writes:
            ended[step] = outcome.detail
        outcomes[step] = outcome
        progress(number, len(plan.steps))
    written, problems = _record(ended, plan.status, reason or KILL_REASON, outcomes, audit)
    said = (*unrecorded, *problems)
    return Outcome(plan.verb, tuple(outcomes[step] for step in plan.steps), written, said)


_STATES = {Result.DONE: State.DONE, Result.LEFT: State.VOID, Result.FAILED: State.FAILED}


def _log_of(plan: Plan, step: Step) -> Path | None:
    if step.row is not None:
        return log_of(step.row.key.registry)
    return log_in(plan.home) if plan.home is not None else None


def _ended_session(step: Step, session: Session, socket: Path) -> EndedSession:
    agent = step.label if step.row is not None else None
    return EndedSession(session.name, session.id, session.created, str(socket), agent)


def _end_session(step: Step, server_pid: int | None, tmux: Tmux) -> StepOutcome:
    """Ends one session with all its processes, and looks that it is gone."""
    answer = tmux.ask()
    if answer.state is TmuxState.UNKNOWN:
        return StepOutcome(step.label, Result.FAILED, f"tmux: {answer.detail}")
    there = answer.sessions.get(step.expected_session) if step.expected_session else None
    session = step.session
    if session is None:
        if there is None and (why := _elsewhere([step], answer).get(step)) is not None:
            return StepOutcome(step.label, Result.FAILED, why)
        if there is None:
            return StepOutcome(step.label, Result.DONE, "had no session")
        return StepOutcome(step.label, Result.LEFT, "its session is back")
    same_server = answer.server_pid == server_pid
    if there is None:
        if same_server and (renamed := _same(session, answer)) is not None:
            return StepOutcome(
                step.label, Result.LEFT, f"its session has another name now: {renamed.name}"
            )
        # What left the session may have outlived it.
        known = processes.session_processes((), session.panes, answer.socket, server_pid)
        return _end_processes(
            step, session, known, answer.socket, server_pid, "its session had gone already"
        )
    if not same_server or _same(session, answer) is not there:
        return StepOutcome(
            step.label, Result.LEFT, "another session has its name now; look at it anew"
        )
    return _end(step, there, answer, tmux)


def _elsewhere(steps: Iterable[Step], answer: Answer) -> dict[Step, str]:
    """Why agents whose session is gone may still live on another tmux server."""
    # Not at the top: the monitor opens its screen before it needs this.
    from tui.host.elsewhere import look_elsewhere, owners_of

    names = {
        step: step.expected_session
        for step in steps
        if step.expected_session and step.expected_session not in answer.sessions
    }
    owners = owners_of({step.row.key.registry for step in names if step.row is not None})
    found = look_elsewhere(set(names.values()), answer, owners)
    return {step: found[name] for step, name in names.items() if name in found}


def _same(session: Session, answer: Answer) -> Session | None:
    """The session as the same server lists it now, whatever it is called."""
    for each in answer.sessions.values():
        if (each.id, each.created) == (session.id, session.created):
            return each
    return None


def _end(step: Step, session: Session, answer: Answer, tmux: Tmux) -> StepOutcome:
    known = processes.session_processes(
        session.pids, session.panes, answer.socket, answer.server_pid
    )
    problem = tmux.kill_session(session, answer)
    after = tmux.ask()
    if after.state is TmuxState.UNKNOWN:
        return StepOutcome(step.label, Result.FAILED, f"tmux: {after.detail}")
    if after.server_pid == answer.server_pid and _same(session, after) is not None:
        return StepOutcome(
            step.label, Result.FAILED, problem or f"session {session.name} did not end"
        )
    said = f"ended its session and {some(len(known), 'process', 'processes')}"
    return _end_processes(step, session, known, answer.socket, answer.server_pid, said)


def _end_processes(
    step: Step,
    session: Session,
    known: Sequence[processes.Process],
    socket: Path,
    server_pid: int | None,
    said: str,
) -> StepOutcome:
    survivors = processes.end(known, session.panes, socket, server_pid)
    if survivors:
        names = ", ".join(f"{each.name} ({each.pid})" for each in survivors)
        return StepOutcome(step.label, Result.FAILED, f"still running: {names}")
    return StepOutcome(step.label, Result.DONE, said)


def _complete(plan: Plan, tmux: Tmux, reason: str, progress: Progress) -> Outcome:
    """Writes agents down as through, but none that is back from the dead."""
    answer = tmux.ask()
    outcomes: dict[Step, StepOutcome] = {}
    ready: dict[Step, str] = {}
    gone = [step for step in plan.steps if step.row and step.row.verdict is Verdict.ZOMBIE]
    elsewhere = _elsewhere(gone, answer) if answer.state is not TmuxState.UNKNOWN else {}
    for step in plan.steps:
        was_gone = step in gone
        if answer.state is TmuxState.UNKNOWN:
            outcome = StepOutcome(step.label, Result.FAILED, f"tmux: {answer.why}")
        elif step in elsewhere:
            outcome = StepOutcome(step.label, Result.LEFT, elsewhere[step])
        elif was_gone and step.expected_session in answer.sessions:
            outcome = StepOutcome(step.label, Result.LEFT, "its session is back")
        else:
            outcome = StepOutcome(step.label, Result.DONE, "")
            ready[step] = ""
        outcomes[step] = outcome
    audit = Audit(plan.verb.value, reason)
    written, problems = _record(ready, plan.status, reason, outcomes, audit, progress)
    return Outcome(plan.verb, tuple(outcomes[step] for step in plan.steps), written, problems)


def _record(
    steps: dict[Step, str],
    status: EndStatus,
    reason: str,
    outcomes: dict[Step, StepOutcome],
    audit: Audit,
    progress: Progress = lambda done, of: None,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Writes the registries, one locked pass a task, and corrects the outcomes.

    Those whose sessions were ended have a pass of their own: it cannot be undone.
    """
    by_task: dict[tuple[Path, Path | None, bool], list[Step]] = {}
    for step in steps:
        if step.row is not None:
            killed = audit.action == Verb.KILL and step.session is not None
            place = (step.row.key.registry, step.global_registry, killed)
            by_task.setdefault(place, []).append(step)
    written: dict[Path, None] = {}
    problems: list[str] = []
    done = 0
    for (task, global_, killed), group in by_task.items():
        ids = [step.label for step in group]
        on_record = OnRecord(audit, final=KILLED if killed else None)
        try:
            report = finish_agents(
                task, global_, ids, status=status, reason=reason or None, on_record=on_record
            )
        except (RegistryError, OSError) as error:
            for step in group:
                said = f"{steps[step]}; " if steps[step] else ""
                outcomes[step] = StepOutcome(
                    step.label, Result.FAILED, f"{said}not recorded: {error}"
                )
            continue
        finally:
            done += len(group)
            progress(done, len(steps))
        written |= dict.fromkeys(report.written)
        problems += report.problems
        for step in group:
            outcomes[step] = _recorded(step, status, steps[step], report)
    return tuple(written), tuple(problems)


def _recorded(step: Step, status: EndStatus, said: str, report: FinishReport) -> StepOutcome:
    prefix = f"{said}; " if said else ""
    change = {each.agent_id: each for each in report.changed}.get(step.label)
    if change is not None and change.status == status:
        before = change.previous or "no status"
        return StepOutcome(step.label, Result.DONE, f"{prefix}{before} -> {status}")
    if change is not None:
        why = f"is {change.status!r} already"
    else:
        why = report.untouched.get(step.label, "is as it was")
    # Somebody else was quicker: what was wanted is so, or the agent is gone.
    return StepOutcome(step.label, Result.LEFT, f"{prefix}{why}")
