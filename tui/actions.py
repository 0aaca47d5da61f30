"""What an operator does to agents: plan, confirm, carry out, check.

The same for the screen and for the command line. A plan is pure and says all
that will be done; nothing is touched before it is confirmed. Registries are
changed only after tmux was asked again, and no lock is held while it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.errors import RegistryError
from registry.operations import FinishReport, finish_agents
from registry.records import is_active, kept_name
from tui.host import processes
from tui.host.sessions import Answer, Session, TmuxState
from tui.rollcall import AgentRow, RollCall, TaskRoll, Verdict
from tui.text import some

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

EndStatus = Literal["completed", "terminated"]

KILL_REASON = "killed by operator"
COMPLETE_REASON = "completed by operator"


class Verb(StrEnum):
    """What can be done."""

    KILL = "kill"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Step:
    """What will be done to one agent, or to one orphaned session.

    Attributes:
        label: The agent's id, or the orphan's session.
        session: The session to end, or None if there is none.
        expected_session: The name its session has, or would have.
        row: The agent; None for an orphan.
        writes: Whether registries will change.
        says: In words, for the plan.
    """

    label: str
    session: Session | None
    expected_session: str | None
    row: AgentRow | None
    global_registry: Path | None
    writes: bool
    says: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action will do, before it does it.

    Attributes:
        status: What agents become in the registries.
        refused: Who was asked for and will not be touched, with the reason.
        socket: The tmux socket that was asked.
        server_pid: The server that answered; only its sessions are ended.
    """

    verb: Verb
    status: EndStatus
    steps: tuple[Step, ...]
    refused: tuple[tuple[str, str], ...]
    socket: Path
    server_pid: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The registries that will change, each once."""
        found: dict[Path, None] = {}
        for step in self.steps:
            if step.writes and step.row is not None:
                found[step.row.key.registry] = None
                if step.global_registry is not None:
                    found[step.global_registry] = None
        return tuple(found)

    @property
    def sessions(self) -> int:
        """How many sessions will be ended."""
        return sum(step.session is not None for step in self.steps)

    def title(self) -> str:
        """In one line."""
        agents = some(sum(step.row is not None for step in self.steps), "agent")
        orphans = sum(step.row is None for step in self.steps)
        also = f" and {some(orphans, 'orphaned session')}" if orphans else ""
        if self.verb is Verb.COMPLETE:
            return f"Mark {agents} {self.status}"
        return f"Kill {agents}{also}"


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


def _task_of(roll: RollCall) -> dict[Path, TaskRoll]:
    return {task.state.registry: task for task in roll.tasks()}


def plan_kill(roll: RollCall, rows: Iterable[AgentRow], orphans: Iterable[Session] = ()) -> Plan:
    """Plans to end sessions with all their processes, and to record it.

    Live and stalled agents lose their session and become terminated, zombies
    only the latter, leaked agents and orphans only the former.
    """
    steps: list[Step] = []
    refused: list[tuple[str, str]] = []
    tasks = _task_of(roll)
    for row in rows:
        verdict = row.verdict
        if verdict is Verdict.FINISHED:
            refused.append((row.key.id, "is finished; there is nothing to kill"))
        elif verdict is Verdict.UNKNOWN:
            refused.append((row.key.id, f"cannot be judged: {row.note}"))
        elif (why := _shared(roll, row) or _twice(roll, row)) is not None:
            refused.append((row.key.id, why))
        elif row.session is not None and processes.holds_us(row.session.pids):
            refused.append((row.key.id, "muster itself runs in its session"))
        elif verdict is Verdict.LEAKED:
            steps.append(_step(row, tasks, False, "end its session; it is through already"))
        elif verdict is Verdict.ZOMBIE:
            steps.append(_step(row, tasks, True, "its session is gone; mark it terminated"))
        elif not is_active(row.record.status):
            says = f"end its session and processes; its status {row.record.status!r} stays"
            steps.append(_step(row, tasks, False, says))
        else:
            says = "end its session and processes; mark it terminated"
            steps.append(_step(row, tasks, True, says))
    for session in orphans:
        if processes.holds_us(session.pids):
            refused.append((session.name, "muster itself runs in it"))
            continue
        says = "end the session and its processes; no registry changes"
        steps.append(Step(session.name, session, session.name, None, None, False, says))
    answer = roll.answer
    return Plan(
        Verb.KILL, "terminated", tuple(steps), tuple(refused), answer.socket, answer.server_pid
    )


def plan_complete(
    roll: RollCall, rows: Iterable[AgentRow], status: EndStatus = "completed"
) -> Plan:
    """Plans to write active agents down as through, without touching any session."""
    steps: list[Step] = []
    refused: list[tuple[str, str]] = []
    tasks = _task_of(roll)
    for row in rows:
        if row.verdict in (Verdict.FINISHED, Verdict.LEAKED):
            refused.append((row.key.id, f"is {row.record.status!r} already"))
        elif row.verdict is Verdict.UNKNOWN:
            refused.append((row.key.id, f"cannot be judged: {row.note}"))
        elif not is_active(row.record.status):
            refused.append((row.key.id, f"{row.record.status!r} is no known status"))
        elif (why := _twice(roll, row)) is not None:
            refused.append((row.key.id, why))
        elif row.verdict is Verdict.ZOMBIE:
            steps.append(_step(row, tasks, True, f"its session is gone; mark it {status}"))
        else:
            says = f"mark it {status}; its session goes on, and will be called leaked"
            steps.append(_step(row, tasks, True, says))
    return Plan(Verb.COMPLETE, status, tuple(steps), tuple(refused), roll.answer.socket)


def _step(row: AgentRow, tasks: dict[Path, TaskRoll], writes: bool, says: str) -> Step:
    name = row.record.tmux_session
    return Step(
        label=row.key.id,
        session=row.session,
        expected_session=kept_name(name) if name else None,
        row=row,
        global_registry=tasks[row.key.registry].state.global_registry,
        writes=writes,
        says=says,
    )


def _shared(roll: RollCall, row: AgentRow) -> str | None:
    """Why a session cannot be said to be this agent's alone, or None."""
    if row.session is None:
        return None
    for other in roll.agents():
        if other.session is not None and other.session.id == row.session.id:
            if other.key == row.key or other.key.id == row.key.id:
                continue
            return f"shares the session {row.session.name} with {other.key.id}"
    return None


def _twice(roll: RollCall, row: AgentRow) -> str | None:
    """Why writing down this agent's end would end another of its id, or None."""
    for task in roll.tasks():
        if task.state.registry != row.key.registry:
            continue
        for other in task.agents:
            if (
                other.key.id == row.key.id
                and other.record.tmux_session != row.record.tmux_session
                and other.verdict is not Verdict.FINISHED
            ):
                return "its id is in the registry twice, with different sessions"
    return None


Progress = Callable[[int, int], None]
"""Told how many steps of how many are done."""


def carry_out(
    plan: Plan, tmux: Tmux, reason: str, progress: Progress = lambda done, of: None
) -> Outcome:
    """Does what a plan says, and checks that it is done. Blocks.

    Args:
        plan: A confirmed plan.
        tmux: The server that the plan is about.
        reason: Why, in the operator's words; empty for a default.
        progress: Told after each step.
    """
    if plan.verb is Verb.KILL:
        return _kill(plan, tmux, reason or KILL_REASON, progress)
    return _complete(plan, tmux, reason, progress)


def _kill(plan: Plan, tmux: Tmux, reason: str, progress: Progress) -> Outcome:
    ended: dict[Step, str] = {}
    outcomes: dict[Step, StepOutcome] = {}
    for number, step in enumerate(plan.steps, 1):
        outcome = _end_session(step, plan.server_pid, tmux)
        if outcome.result is Result.DONE and step.writes:
            ended[step] = outcome.detail
        outcomes[step] = outcome
        progress(number, len(plan.steps))
    written, problems = _record(ended, plan.status, reason, outcomes)
    return Outcome(plan.verb, tuple(outcomes[step] for step in plan.steps), written, problems)


def _end_session(step: Step, server_pid: int | None, tmux: Tmux) -> StepOutcome:
    """Ends one session with all its processes, and looks that it is gone."""
    answer = tmux.ask()
    if answer.state is TmuxState.UNKNOWN:
        return StepOutcome(step.label, Result.FAILED, f"tmux: {answer.detail}")
    there = answer.sessions.get(step.expected_session) if step.expected_session else None
    session = step.session
    if session is None:
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
    for step in plan.steps:
        was_gone = step.row is not None and step.row.verdict is Verdict.ZOMBIE
        if answer.state is TmuxState.UNKNOWN:
            outcome = StepOutcome(step.label, Result.FAILED, f"tmux: {answer.detail}")
        elif was_gone and step.expected_session in answer.sessions:
            outcome = StepOutcome(step.label, Result.LEFT, "its session is back")
        else:
            outcome = StepOutcome(step.label, Result.DONE, "")
            ready[step] = ""
        outcomes[step] = outcome
    written, problems = _record(ready, plan.status, reason, outcomes, progress)
    return Outcome(plan.verb, tuple(outcomes[step] for step in plan.steps), written, problems)


def _record(
    steps: dict[Step, str],
    status: EndStatus,
    reason: str,
    outcomes: dict[Step, StepOutcome],
    progress: Progress = lambda done, of: None,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Writes the registries, one locked pass a task, and corrects the outcomes."""
    by_task: dict[tuple[Path, Path | None], list[Step]] = {}
    for step in steps:
        if step.row is not None:
            place = (step.row.key.registry, step.global_registry)
            by_task.setdefault(place, []).append(step)
    written: dict[Path, None] = {}
    problems: list[str] = []
    done = 0
    for (task, global_), group in by_task.items():
        ids = [step.label for step in group]
        try:
            report = finish_agents(task, global_, ids, status=status, reason=reason or None)
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


def rows_of(roll: RollCall, ids: Sequence[str]) -> tuple[list[AgentRow], list[str]]:
    """The agents of exactly these ids, and what is wrong with the ids.

    Returns:
        The rows, and a sentence for each id that names nobody or more than one.
    """
    by_id: dict[str, list[AgentRow]] = {}
    for row in roll.agents():
        by_id.setdefault(row.key.id, []).append(row)
    rows: list[AgentRow] = []
    problems: list[str] = []
    for each in dict.fromkeys(ids):
        found = by_id.get(each, [])
        places = {row.key.registry for row in found}
        if not found:
            problems.append(f"no agent {each!r} on the roll")
        elif len(places) > 1:
            listed = ", ".join(str(place) for place in sorted(places))
            problems.append(f"{each!r} is in more than one task: name one of {listed}")
        else:
            rows.append(found[0])
    return rows, problems
