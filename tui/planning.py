"""What an action will do, worked out before anything is done. Pure.

Nothing is touched by planning: a plan is shown and confirmed first, and carried
out by `tui.actions`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from registry.records import is_active, kept_name
from tui.host import processes
from tui.host.sessions import Session
from tui.notices import massacre
from tui.proposal import Proposal
from tui.roll import AgentRow, RollCall, TaskRoll, Verdict
from tui.text import some

EndStatus = Literal["completed", "terminated"]


_SEVERAL = 2
"""From so many agents on, an action is one in bulk."""


class Verb(StrEnum):
    """What can be done."""

    KILL = "kill"
    COMPLETE = "complete"
    UNDO = "undo"
    FIX = "fix"


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
        home: The workspace whose audit log takes what belongs to no task.
        second_question: What is asked once more, or None; see `Proposal`.
    """

    verb: Verb
    status: EndStatus
    steps: tuple[Step, ...]
    refused: tuple[tuple[str, str], ...]
    socket: Path
    server_pid: int | None = None
    home: Path | None = None
    second_question: str | None = None

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
        if self.verb is not Verb.KILL:
            return 0
        return sum(step.session is not None for step in self.steps)

    def title(self) -> str:
        """In one line."""
        orphans = sum(step.row is None for step in self.steps)
        agents = len(self.steps) - orphans
        if self.verb is Verb.COMPLETE:
            return f"Mark {some(agents, 'agent')} {self.status}"
        whom = [some(agents, "agent")] if agents or not orphans else []
        whom += [some(orphans, "orphaned session")] if orphans else []
        return f"Kill {' and '.join(whom)}"

    def proposal(self) -> Proposal:
        """In words, to be shown and asked."""
        note = f"tmux was asked at {self.socket}"
        note += "." if self.server_pid is not None else ", where no server runs."
        if self.sessions:
            note = f"Sessions are ended on {self.socket}. This cannot be undone."
        steps = tuple((step.label, step.says) for step in self.steps)
        return Proposal(
            self.title(),
            steps,
            self.refused,
            self.files,
            note,
            grave=bool(self.sessions),
            second_question=self.second_question,
        )


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
        elif (why := _unreadable(tasks, row)) is not None:
            refused.append((row.key.id, why))
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
            says += _children_go_on(tasks, row)
            steps.append(_step(row, tasks, False, says))
        else:
            says = "end its session and processes; mark it terminated"
            says += _children_go_on(tasks, row)
            steps.append(_step(row, tasks, True, says))
    for session in orphans:
        if processes.holds_us(session.pids):
            refused.append((session.name, "muster itself runs in it"))
            continue
        says = "end the session and its processes; no registry changes"
        steps.append(Step(session.name, session, session.name, None, None, False, says))
    answer = roll.answer
    home = roll.workspaces[0].path if roll.workspaces else None
    return Plan(
        Verb.KILL,
        "terminated",
        tuple(steps),
        tuple(refused),
        answer.socket,
        answer.server_pid,
        home,
        _second_question(roll, steps),
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
        elif (why := _unreadable(tasks, row)) is not None:
            refused.append((row.key.id, why))
        elif row.verdict is Verdict.UNKNOWN and row.taken_by is None:
            refused.append((row.key.id, f"cannot be judged: {row.note}"))
        elif not is_active(row.record.status):
            refused.append((row.key.id, f"{row.record.status!r} is no known status"))
        elif (why := _twice(roll, row)) is not None:
            refused.append((row.key.id, why))
        elif row.verdict is Verdict.ZOMBIE:
            steps.append(_step(row, tasks, True, f"its session is gone; mark it {status}"))
        elif row.taken_by is not None:
            says = f"mark it {status}; the session that has its name now is not touched"
            steps.append(_step(row, tasks, True, says))
        else:
            says = f"mark it {status}; its session goes on, and will be called leaked"
            steps.append(_step(row, tasks, True, says))
    answer = roll.answer
    return Plan(
        Verb.COMPLETE,
        status,
        tuple(steps),
        tuple(refused),
        answer.socket,
        answer.server_pid,
        second_question=_second_question(roll, steps),
    )


def _second_question(roll: RollCall, steps: Iterable[Step]) -> str | None:
    """What is asked once more when several of those that went at once are acted on."""
    death = roll.mass_death
    if death is None:
        return None
    among = sum(step.row is not None and step.row.key in death.agents for step in steps)
    if among < _SEVERAL:
        return None
    return f"{massacre(death, roll.answer.socket)} Is it the right socket, and are they dead?"


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


def _unreadable(tasks: dict[Path, TaskRoll], row: AgentRow) -> str | None:
    """Why nothing may be done about an agent whose registry cannot be read, or None."""
    error = tasks[row.key.registry].state.error
    return None if error is None else f"its registry cannot be read now: {error}"


def _children_go_on(tasks: dict[Path, TaskRoll], row: AgentRow) -> str:
    """What to say of the agents beneath one that is killed: they have sessions of their own."""
    agents = tasks[row.key.registry].agents
    start = agents.index(row) + 1
    beneath = itertools.takewhile(lambda each: each.level > row.level, agents[start:])
    going_on = sum(each.session is not None for each in beneath)
    return f"; {some(going_on, 'agent')} beneath it {_go(going_on)} on" if going_on else ""


def _go(count: int) -> str:
    return "goes" if count == 1 else "go"


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
            problems.append(f"{each!r} is in more than one task: choose with -w one of {listed}")
        else:
            at_work = [row for row in found if row.verdict is not Verdict.FINISHED]
            rows.append((at_work or found)[0])
    return rows, problems
