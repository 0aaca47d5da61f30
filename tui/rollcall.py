"""Calling the roll: registries against sessions, giving a verdict on every agent.

Pure: what the registries say and what tmux has come in as frozen records, with
the time; what comes out is frozen too. A task whose inputs did not change keeps
its very object, so that only what changed is worked out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from registry.records import (
    SESSION_PREFIX,
    AgentRecord,
    TaskRecord,
    is_active,
    is_kept_certain,
    is_terminal,
    kept_name,
)
from tui.host.sessions import Answer, Session, TmuxState


class Verdict(StrEnum):
    """What is true of an agent, in the order of its urgency."""

    ZOMBIE = "zombie"
    STALLED = "stalled"
    LEAKED = "leaked"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"
    LIVE = "live"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Policy:
    """When a verdict is sure enough to be given; all in seconds.

    Attributes:
        proof: A session must be missing from two answers that far apart.
        start_grace: An agent younger than this is not called a zombie.
        orphan_grace: A session younger than this is not called an orphan: it
            is made about two seconds before its agent is written down.
        stall_after: So long without a sign of life makes an agent stalled.
    """

    proof: float = 0.75
    start_grace: float = 5.0
    orphan_grace: float = 10.0
    stall_after: float = 900.0


@dataclass(frozen=True, slots=True)
class AgentKey:
    """Which agent: stays the same whatever moves.

    Attributes:
        ordinal: Tells apart entries of the same id in one registry; 0 for the first.
    """

    registry: Path
    id: str
    ordinal: int = 0


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of one task's registry.

    Attributes:
        workspace: The workspace it is shown under.
        registry: Its file.
        global_registry: The global registry that follows it, or None.
        record: Its last good content, or None if there never was one.
        read_at: When that was read; seconds since the epoch.
        error: Why it cannot be read now, or None.
        listed_description: What the global registry says of it.
    """

    workspace: Path
    registry: Path
    global_registry: Path | None
    record: TaskRecord | None
    read_at: float
    error: str | None
    listed_description: str = ""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent on the roll.

    Attributes:
        record: What its registry says.
        session: What tmux has under its session's name, or None.
        note: Why the verdict is what it is, where that needs saying.
        heard: Last sign of life, in seconds since the epoch, or None.
        level: 0 for an agent of the orchestrator, 1 for its children, ...
        children: How many agents it started.
    """

    key: AgentKey
    record: AgentRecord
    verdict: Verdict
    session: Session | None
    note: str
    heard: float | None
    level: int
    children: int


@dataclass(frozen=True, slots=True)
class TaskRoll:
    """One task with its agents, parents before children.

    Attributes:
        counts: How many agents have each verdict.
    """

    state: TaskState
    agents: tuple[AgentRow, ...]
    counts: Mapping[Verdict, int]

    @property
    def task_id(self) -> str:
        """As the registry has it, or else the name of its directory."""
        record = self.state.record
        return (record.task_id if record else None) or self.state.registry.parent.name


@dataclass(frozen=True, slots=True)
class WorkspaceRoll:
    """One workspace with its tasks.

    Attributes:
        error: Why its directory or its global registry cannot be read, or None.
    """

    path: Path
    tasks: tuple[TaskRoll, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class RollCall:
    """Everything that is shown, at one moment.

    Attributes:
        answer: What tmux said.
        orphans: Sessions named like an agent's that no registry accounts for.
        counts: How many agents, and orphans, have each verdict.
    """

    host: str
    answer: Answer
    workspaces: tuple[WorkspaceRoll, ...]
    orphans: tuple[Session, ...]
    counts: Mapping[Verdict, int]

    def agents(self) -> Iterable[AgentRow]:
        """All agents of all tasks, in the order of the roll."""
        for workspace in self.workspaces:
            for task in workspace.tasks:
                yield from task.agents

    def tasks(self) -> Iterable[TaskRoll]:
        """All tasks of all workspaces."""
        for workspace in self.workspaces:
            yield from workspace.tasks


Absences = Mapping[str, float]
"""Since when each expected session has been missing: monotonic seconds."""


def note_absences(before: Absences, answer: Answer, expected: Iterable[str]) -> Absences:
    """Keeps the time at which each expected session was first found missing.

    A session that is seen again starts anew; an answer that is none proves
    nothing either way.

    Args:
        before: What this function returned last time.
        answer: tmux's newest answer.
        expected: The names of the sessions of all active agents.
    """
    if answer.state is TmuxState.UNKNOWN:
        return before
    return {
        name: before.get(name, answer.asked_at) for name in expected if name not in answer.sessions
    }


def is_proven_missing(name: str, absences: Absences, answer: Answer, policy: Policy) -> bool:
    """Whether a session was missing from two answers far enough apart."""
    since = absences.get(name)
    return since is not None and answer.asked_at - since >= policy.proof


def judge(
    record: AgentRecord, answer: Answer, absences: Absences, policy: Policy, now: float
) -> tuple[Verdict, Session | None, str]:
    """The verdict on one agent.

    Args:
        record: What its registry says.
        answer: What tmux said last.
        absences: Since when sessions have been missing.
        policy: When a verdict is sure enough.
        now: Seconds since the epoch.

    Returns:
        The verdict, its session if it is there, and the reason if it needs one.
    """
    name = kept_name(record.tmux_session) if record.tmux_session else None
    certain = name is not None and is_kept_certain(name)
    session = answer.sessions.get(name) if name and certain else None
    if is_terminal(record.status):
        if session is not None:
            return Verdict.LEAKED, session, "the agent is through, its session is still there"
        return Verdict.FINISHED, None, ""
    if answer.state is TmuxState.UNKNOWN:
        return Verdict.UNKNOWN, None, answer.detail
    if name is None:
        return Verdict.UNKNOWN, None, "the registry names no session for it"
    if not certain:
        return Verdict.UNKNOWN, None, "tmux changes such a session's name; nobody can tell"
    if not is_active(record.status):
        if session is not None:
            return Verdict.LIVE, session, f"{record.status!r} is no known status"
        return Verdict.UNKNOWN, None, f"{record.status!r} is no known status; no session"
    if session is not None:
        silent = now - max(
            record.updated or 0.0, record.started or 0.0, session.activity, session.created
        )
        if silent > policy.stall_after:
            return Verdict.STALLED, session, "no report and no output for a while"
        return Verdict.LIVE, session, ""
    if record.started is not None and abs(now - record.started) < policy.start_grace:
        return Verdict.UNKNOWN, None, "just started; its session is not seen yet"
    if not is_proven_missing(name, absences, answer, policy):
        return Verdict.UNKNOWN, None, "its session is missing; asking again to be sure"
    return Verdict.ZOMBIE, None, f"no session {record.tmux_session}"


def _tree_order(record: TaskRecord) -> list[tuple[int, int, int]]:
    """Entries as (index, level, number of children), parents before their children.

    An agent's own `parent` decides; where that leads nowhere `agent_hierarchy`
    does. Whoever hangs on nobody stands at the top; a loop is cut before its first.
    """
    first: dict[str, int] = {}
    for index, agent in enumerate(record.agents):
        first.setdefault(agent.id, index)
    listed = {
        child: first[parent]
        for parent, children in record.hierarchy.items()
        if parent in first
        for child in children
    }
    parents: list[int | None] = []
    for index, agent in enumerate(record.agents):
        parent = first.get(agent.parent) if agent.parent else None
        if parent is None:
            parent = listed.get(agent.id)
        parents.append(None if parent == index else parent)
    children: dict[int | None, list[int]] = {}
    for index, parent in enumerate(parents):
        children.setdefault(parent, []).append(index)
    ordered: list[tuple[int, int, int]] = []
    placed: set[int] = set()

    def place(root: int) -> None:
        todo = [(root, 0)]
        while todo:
            index, level = todo.pop()
            if index in placed:
                continue
            placed.add(index)
            below = [each for each in children.get(index, ()) if each not in placed]
            ordered.append((index, level, len(below)))
            todo.extend((each, level + 1) for each in reversed(below))

    for root in children.get(None, ()):
        place(root)
    for index in range(len(record.agents)):
        if index not in placed:
            place(_first_of_loop(index, parents))
    return ordered


def _first_of_loop(start: int, parents: Sequence[int | None]) -> int:
    """The first entry, in file order, of the loop that the parents of one lead into."""
    seen: dict[int, None] = {}
    index: int | None = start
    while index is not None and index not in seen:
        seen[index] = None
        index = parents[index]
    path = list(seen)
    return min(path[path.index(index) :]) if index is not None else start


def call_task(
    state: TaskState, answer: Answer, absences: Absences, policy: Policy, now: float
) -> TaskRoll:
    """Calls the roll of one task."""
    rows = []
    counts = dict.fromkeys(Verdict, 0)
    seen: dict[str, int] = {}
    record = state.record
    if record is not None:
        ordinals = []
        for agent in record.agents:
            ordinals.append(seen.get(agent.id, 0))
            seen[agent.id] = ordinals[-1] + 1
        for index, level, children in _tree_order(record):
            agent = record.agents[index]
            verdict, session, note = judge(agent, answer, absences, policy, now)
            if state.error is not None and verdict is Verdict.ZOMBIE:
                # The file may have changed since it could last be read.
                verdict, note = Verdict.UNKNOWN, "its registry cannot be read now"
            if verdict in (Verdict.LIVE, Verdict.STALLED):
                heard = agent.updated or agent.started
            else:
                heard = agent.updated
            key = AgentKey(state.registry, agent.id, ordinals[index])
            rows.append(AgentRow(key, agent, verdict, session, note, heard, level, children))
            counts[verdict] += 1
    return TaskRoll(state, tuple(rows), counts)


def expected_sessions(states: Iterable[TaskState]) -> frozenset[str]:
    """The sessions that active agents should have, by the names tmux gives them."""
    return frozenset(
        kept_name(agent.tmux_session)
        for state in states
        if state.record is not None
        for agent in state.record.agents
        if agent.tmux_session and is_active(agent.status) and is_kept_certain(agent.tmux_session)
    )


def find_orphans(
    states: Iterable[TaskState],
    listed: Iterable[str],
    answer: Answer,
    policy: Policy,
    now: float,
) -> tuple[Session, ...]:
    """Sessions named like an agent's that no registry accounts for, by name.

    Args:
        states: All tasks that muster sees; with one unreadable among them that
            was never read, or with an agent whose session's name tmux changes,
            nobody can tell and nothing is called an orphan.
        listed: Session names that global registries have.
        answer: What tmux said.
        policy: When a verdict is sure enough.
        now: Seconds since the epoch.
    """
    known = {kept_name(name) for name in listed}
    for state in states:
        if state.record is None:
            return ()
        known.update(
            kept_name(agent.tmux_session or SESSION_PREFIX + agent.id)
            for agent in state.record.agents
        )
    if not all(map(is_kept_certain, known)):
        return ()
    return tuple(
        session
        for name, session in sorted(answer.sessions.items())
        if name.startswith(SESSION_PREFIX)
        and name not in known
        and now - session.created >= policy.orphan_grace
    )
