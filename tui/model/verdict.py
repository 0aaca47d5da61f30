"""Calling the roll: registries against sessions, giving a verdict on every agent.

Pure: what the registries say and what tmux has come in as frozen records, with
the time; what comes out is frozen too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from registry.schema.records import (
    SESSION_PREFIX,
    AgentRecord,
    TaskRecord,
    is_active,
    is_terminal,
    is_tmux_name_certain,
    tmux_name,
)
from registry.text import shown_name
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.missing_since import MissingSince, is_proven_missing, proof_needed
from tui.model.policy import Policy
from tui.model.roll import AgentKey, AgentRow, MassDeath, TaskRoll, TaskState, Verdict
from tui.text.sanitize import age_in_words

_MANY = 3
"""So many deaths at once are looked at twice."""

# What may become another verdict by the next look at files, or the next answer.
_JUDGED_ANEW = frozenset({Verdict.STALLED, Verdict.UNKNOWN})

MAY_BE_STALE = "its status may be stale: a database of its workspace may say otherwise"
"""What is said of whom JSON has in a workspace with a database."""

# What a status contradicts that may have changed in a database only.
_DOUBTED = frozenset({Verdict.ZOMBIE, Verdict.LEAKED})

JUST_STARTED = "just started; its session is not seen yet"
"""Why nobody can tell yet of an agent in the grace after its start."""


class Judgement(NamedTuple):
    """What is true of one agent.

    Attributes:
        session: Its session, if it is there.
        note: Why, where that needs saying.
        name_reused_by: The session that has the name of the agent's, but is another's.
    """

    verdict: Verdict
    session: Session | None = None
    note: str = ""
    name_reused_by: Session | None = None


def judge(
    record: AgentRecord,
    answer: TmuxSnapshot,
    missing_since: MissingSince,
    policy: Policy,
    now: float,
    reported: float = 0.0,
) -> Judgement:
    """The verdict on one agent.

    Args:
        record: What its registry says.
        answer: What tmux said last.
        missing_since: Since when sessions have been missing.
        policy: When a verdict is sure enough.
        now: Seconds since the epoch.
        reported: When a line was last written to its progress file, if that is known.
    """
    name = tmux_name(record.tmux_session) if record.tmux_session else None
    certain = name is not None and is_tmux_name_certain(name)
    session = answer.sessions.get(name) if name and certain else None
    if session is not None and (why := why_not_its_own(record, session, policy, now)) is not None:
        # Never a zombie: the agent's clock or its zone may be another than ours.
        through = is_terminal(record.status)
        verdict = Verdict.FINISHED if through else Verdict.UNKNOWN
        return Judgement(verdict, None, why, session)
    if is_terminal(record.status):
        if session is not None:
            note = "the agent is through, its session is still there"
            return Judgement(Verdict.LEAKED, session, note)
        return Judgement(Verdict.FINISHED)
    if answer.state is TmuxState.UNKNOWN:
        return Judgement(Verdict.UNKNOWN, note=answer.why)
    if name is None:
        return Judgement(Verdict.UNKNOWN, note="the registry names no session for it")
    if not certain:
        note = "tmux changes such a session's name; nobody can tell"
        return Judgement(Verdict.UNKNOWN, note=note)
    if not is_active(record.status):
        note = f"{record.status!r} is no known status"
        if session is not None:
            return Judgement(Verdict.LIVE, session, note)
        return Judgement(Verdict.UNKNOWN, note=f"{note}; no session")
    if session is not None:
        silent = now - max(
            record.updated or 0.0,
            record.started or 0.0,
            session.activity,
            session.created,
            reported,
        )
        if silent > policy.stall_timeout:
            note = f"no report and no output for {_silence(silent)}"
            return Judgement(Verdict.STALLED, session, note)
        return Judgement(Verdict.LIVE, session, _renamed(session, name))
    return _missing(record, name, answer, missing_since, policy, now)


def _silence(seconds: float) -> str:
    """How long nothing was heard: in steps, for each of them is drawn."""
    if seconds >= 60:
        return age_in_words(seconds)
    tens = int(seconds) // 10 * 10
    return f"{tens} s" if tens else "less than 10 s"


def _missing(
    record: AgentRecord,
    name: str,
    answer: TmuxSnapshot,
    missing_since: MissingSince,
    policy: Policy,
    now: float,
) -> Judgement:
    """The verdict on an active agent whose session is not in the answer."""
    if record.started is not None and 0 <= now - record.started < policy.start_grace:
        return Judgement(Verdict.UNKNOWN, note=JUST_STARTED)
    if not is_proven_missing(name, missing_since, answer, proof_needed(record, policy, now)):
        note = "its session is missing; asking again to be sure"
        return Judgement(Verdict.UNKNOWN, note=note)
    if (doubt := answer.doubt(name)) is not None:
        return Judgement(Verdict.UNKNOWN, note=doubt)
    return Judgement(Verdict.ZOMBIE, note=f"no session {shown_name(record.tmux_session or '')}")


def why_not_its_own(
    record: AgentRecord, session: Session, policy: Policy, now: float
) -> str | None:
    """Why a session of the name of an agent's cannot be the agent's own, or None.

    It is the agent's if it was made within the agent's life; a report since it was
    made shows that the agent was taken up again in it. Times that are missing, or
    yet to come, tell nothing.

    Args:
        record: What the agent's registry says.
        session: The session that has the name.
        policy: What is plausible.
        now: Seconds since the epoch.
    """
    made = session.created
    reported = record.updated is not None and made <= record.updated <= now
    ended = record.ended if is_terminal(record.status) else None
    if ended is not None and ended < made and not reported:
        return f"its session's name was taken again {age_in_words(made - ended)} after it ended"
    started = record.started
    if started is None or started > now:
        return None
    if made > started + policy.session_late_limit and not reported:
        later = age_in_words(made - started)
        return f"its session's name was taken again {later} after it started"
    if made < started - policy.session_early_limit:
        earlier = age_in_words(started - made)
        return f"the session of its name was made {earlier} before it started: not its own"
    return None


def _renamed(session: Session, name: str) -> str:
    return "" if session.name == name else f"its session is called {shown_name(session.name)} now"


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


class _Place(NamedTuple):
    """Where an agent stands among those of its task."""

    key: AgentKey
    record: AgentRecord
    level: int
    children: int


def _places(state: TaskState, before: TaskRoll | None) -> list[tuple[_Place, AgentRow | None]]:
    """All agents of a task, parents before children, with their rows of before."""
    record = state.record
    if record is None:
        return []
    if before is not None and (before.state.error, before.state.database) == (
        state.error,
        state.database,
    ):
        kept = _same_places(record, before)
        if kept is not None:
            return list(zip(kept, before.agents, strict=True))
    seen: dict[str, int] = {}
    keys = []
    for agent in record.agents:
        ordinal = seen.get(agent.id, 0)
        seen[agent.id] = ordinal + 1
        keys.append(AgentKey(state.registry, agent.id, ordinal))
    return [
        (_Place(keys[index], record.agents[index], level, children), None)
        for index, level, children in _tree_order(record)
    ]


def _same_places(record: TaskRecord, before: TaskRoll) -> list[_Place] | None:
    """The places of before; None if somebody came, went, or stands elsewhere by now."""
    was = before.state.record
    by_id = {agent.id: agent for agent in record.agents}
    if (
        was is None
        or was.hierarchy != record.hierarchy
        or len(by_id) < len(record.agents)
        or [each.id for each in was.agents] != [each.id for each in record.agents]
    ):
        return None
    places = [_Place(row.key, by_id[row.key.id], row.level, row.children) for row in before.agents]
    moved = any(
        place.record.parent != row.record.parent
        for place, row in zip(places, before.agents, strict=True)
    )
    return None if moved else places


def call_task(
    state: TaskState,
    answer: TmuxSnapshot,
    missing_since: MissingSince,
    policy: Policy,
    now: float,
    reported: Mapping[str, float] = MappingProxyType({}),
    before: TaskRoll | None = None,
) -> TaskRoll:
    """Calls the roll of one task.

    Args:
        state: What is known of its registry.
        answer: What tmux said last.
        missing_since: Since when sessions have been missing.
        policy: When a verdict is sure enough.
        now: Seconds since the epoch.
        reported: By agent, when its progress file was last written. Needed only of
            those that would be called stalled without.
        before: The same task as it was called a moment ago, when tmux said the same of its
            sessions: who did not change keeps its row, unless it was silent or nobody
            could tell.
    """
    rows: list[AgentRow] = []
    counts = dict.fromkeys(Verdict, 0)
    for place, row in _places(state, before):
        if row is None or row.verdict in _JUDGED_ANEW or row.record != place.record:
            last_activity = reported.get(place.record.id, 0.0)
            judgement = judge(place.record, answer, missing_since, policy, now, last_activity)
            row = _row(place, judgement, last_activity, state)
        rows.append(row)
        counts[row.verdict] += 1
    completed = sum(row.record.status == "completed" for row in rows)
    return TaskRoll(state, tuple(rows), counts, completed, _mean_progress(rows))


def _row(place: _Place, judgement: Judgement, reported: float, state: TaskState) -> AgentRow:
    verdict, session, note, name_reused_by = judgement
    if verdict is Verdict.ZOMBIE and state.error is not None:
        # The file may have changed since it could last be read.
        verdict, note = Verdict.UNKNOWN, "its registry cannot be read now"
    if verdict in _DOUBTED and state.database is not None:
        note = f"{note}; {MAY_BE_STALE}"
    key, agent, level, children = place
    last_activity = agent.updated
    if verdict in (Verdict.LIVE, Verdict.STALLED):
        last_activity = max(agent.updated or agent.started or 0.0, reported) or None
    return AgentRow(
        key, agent, verdict, session, note, last_activity, level, children, name_reused_by
    )


def _mean_progress(rows: Sequence[AgentRow]) -> float | None:
    """How far agents are in the mean; who says nothing has not begun, or is at the end."""
    if not rows:
        return None
    total = 0.0
    for row in rows:
        done = row.record.status == "completed"
        total += 100.0 if done else min(max(row.record.progress or 0.0, 0.0), 100.0)
    return total / len(rows)


def find_mass_death(
    tasks: Iterable[TaskRoll], missing_since: MissingSince, policy: Policy
) -> MassDeath | None:
    """Whether so many agents went at once that a wrong socket is the likelier reason.

    Args:
        tasks: All tasks that muster sees.
        missing_since: Since when sessions have been missing. What is missing from the
            first answer of all went at once, as far as anybody knows.
        policy: How close together "at once" is.

    Returns:
        All such groups together, each of three or more and over half of the active agents
        that were there until then; None if there is none.
    """
    tasks = tuple(tasks)
    if sum(task.counts[Verdict.ZOMBIE] for task in tasks) < _MANY:
        return None
    there = 0
    gone: list[tuple[float, AgentKey]] = []
    waiting: list[float] = []
    for row in (row for task in tasks for row in task.agents):
        name = row.record.tmux_session
        if not name or not is_active(row.record.status) or not is_tmux_name_certain(name):
            continue
        since = missing_since.get(tmux_name(name))
        if since is None:
            there += 1
        elif row.verdict is Verdict.ZOMBIE:
            gone.append((since, row.key))
        else:
            waiting.append(since)
    agents: set[AgentKey] = set()
    of = 0
    for first in sorted({since for since, _ in gone}):
        group = [key for since, key in gone if first <= since <= first + policy.mass_death_window]
        until_then = there + sum(
            since >= first for since in (*waiting, *(since for since, _ in gone))
        )
        if len(group) >= _MANY and 2 * len(group) > until_then:
            agents.update(group)
            of = of or until_then
    return MassDeath(len(agents), of, frozenset(agents)) if agents else None


def find_orphans(
    states: Iterable[TaskState],
    listed: Iterable[frozenset[str] | None],
    answer: TmuxSnapshot,
    policy: Policy,
    as_of: float,
) -> tuple[Session, ...] | None:
    """Sessions named like an agent's that no registry accounts for, by name.

    Args:
        states: All tasks that muster sees.
        listed: What tmux calls the sessions that each global registry has; None where that
            is not certain.
        answer: What tmux said.
        policy: When a verdict is sure enough.
        as_of: Until when the registries are known; seconds since the epoch. A session
            made later, or shortly before, may be in one that was not read since.

    Returns:
        None if nobody can tell: a registry was never read, or names a session
        that tmux calls otherwise.
    """
    unaccounted = frozenset(answer.sessions)
    in_tasks = (state.record.tmux_sessions if state.record else None for state in states)
    for names in (*listed, *in_tasks):
        if names is None:
            return None
        unaccounted -= names
    owned = {each.id for name, each in answer.sessions.items() if name not in unaccounted}
    return tuple(
        session
        for name, session in sorted(answer.sessions.items())
        if name.startswith(SESSION_PREFIX)
        and session.id not in owned
        and as_of - session.created >= policy.orphan_grace
    )
