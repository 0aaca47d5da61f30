"""Working out what would be done to whom. Pure.

Plans are made of a roll call alone; carrying them out is `tui.actions.execute`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from registry.audit.entries import EndedSession
from registry.schema.records import SESSION_PREFIX, is_active, is_terminal, tmux_name
from registry.text import shown_name, whole_name
from tui.actions.plan import EndStatus, Plan, Step, Verb
from tui.actions.preview import Question
from tui.host import process_tree
from tui.host.claims import ROOT
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.model.call import MAY_BE_STALE
from tui.model.hierarchy import beneath
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict
from tui.model.warnings import massacre
from tui.text.sanitize import some

_SEVERAL = 2
"""From so many agents on, an action is one in bulk."""

_NAMED_AT_MOST = 10
"""Sessions or registries that are named in one question; the plan names all."""


def _task_of(roll: RollCall) -> dict[Path, TaskRoll]:
    return {task.state.registry: task for task in roll.tasks()}


def plan_kill(
    roll: RollCall,
    rows: Iterable[AgentRow],
    orphans: Iterable[Session] = (),
    *,
    whole: bool = False,
    unfinished: Collection[EndedSession] = (),
    ended_orphans: Iterable[EndedSession] = (),
    claimed: Mapping[AgentKey, str] = MappingProxyType({}),
    mixed: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Plans to end sessions with all their processes, and to record it.

    Live and stalled agents lose their session and become terminated, zombies
    only the latter, leaked agents and orphans only the former. Children come before
    their parents, who might start them anew.

    Args:
        roll: The roll call.
        rows: Which agents.
        orphans: Which orphaned sessions.
        whole: The agents are all of a tree or a task, so that those who are through are
            passed over, not refused, as long as anybody is left.
        unfinished: Sessions that earlier kills may not have ended with all processes.
        ended_orphans: Those of them that were orphans and are to be finished.
        claimed: Why the sessions of some agents must not be ended.
        mixed: Sessions that cannot be ended alone, by their ids, and why.
    """
    chosen = sorted({row.key: row for row in rows}.values(), key=lambda row: -row.level)
    keys = frozenset(row.key for row in chosen)
    alone = len(chosen) == 1 and not whole
    killing = _Killing(
        roll, _task_of(roll), keys, alone, tuple(unfinished), claimed, mixed, _holders(roll)
    )
    steps: dict[tuple[Path, str, str | None], Step] = {}
    refused: list[tuple[str, str]] = []
    through: list[tuple[str, str]] = []
    for row in chosen:
        planned = killing.of(row)
        if isinstance(planned, Step):
            # The same agent may be in its registry twice.
            steps.setdefault((row.key.registry, row.key.id, planned.expected_session), planned)
        elif row.verdict is Verdict.FINISHED and whole:
            through.append((row.key.id, planned))
        else:
            refused.append((row.key.id, planned))
    made = list(steps.values())
    own = tuple(workspace.path for workspace in roll.workspaces)
    read = ", ".join(shown_name(path) for path in (*own, *roll.beside))
    for session in orphans:
        why = "muster itself runs in it" if process_tree.holds_us(session.pids) else None
        why = why or shared_panes(session, roll.answer) or mixed.get(session.id)
        if why is not None:
            refused.append((session.name, why))
            continue
        says = (
            f"in none of the registries read: {read}; end the session and its processes "
            "(an agent of a workspace elsewhere looks the same)"
        )
        made.append(Step(session.name, session, session.name, None, None, False, says))
    made += [
        Step(ended.name, None, ended.name, None, None, False, _LEFT_OVER, ended)
        for ended in ended_orphans
    ]
    answer = roll.answer
    return Plan(
        Verb.KILL,
        "terminated",
        tuple(made),
        tuple(refused if made or refused else through),
        answer.socket,
        answer.server_pid,
        own[0] if own else None,
        (*_of_deaths(roll, made), *_of_names(made), *_of_owners(answer, made)),
        own,
        roll.beside,
        answer.server_started,
    )


_LEFT_OVER = "its session was ended before, but maybe not all of its processes; end them"


@dataclass(frozen=True, slots=True)
class _Killing:
    """What killing some agents of a roll means for each."""

    roll: RollCall
    tasks: dict[Path, TaskRoll]
    chosen: frozenset[AgentKey]
    alone: bool
    unfinished: tuple[EndedSession, ...]
    claimed: Mapping[AgentKey, str]
    mixed: Mapping[str, str]
    holders: Mapping[str, Sequence[AgentRow]]

    def of(self, row: AgentRow) -> Step | str:
        """What will be done to one, or why nothing."""
        tasks = self.tasks
        earlier = self._earlier(row)
        if row.verdict is Verdict.FINISHED and earlier is None:
            return "is finished; there is nothing to kill"
        why = _unreadable(tasks, row) or _stale(tasks, row, self.alone) or self._unclear(row)
        if why is not None:
            return why
        if earlier is not None:
            writes = row.verdict is Verdict.ZOMBIE
            says = f"{_LEFT_OVER}; mark it terminated" if writes else _LEFT_OVER
            return _step(row, tasks, writes, says, earlier)
        if row.verdict is Verdict.LEAKED:
            says = f"end its session{_called(row)}; it is through already"
            return _step(row, tasks, False, says)
        if row.verdict is Verdict.ZOMBIE:
            return _step(row, tasks, True, "its session is gone; mark it terminated")
        known = is_active(row.record.status)
        says = f"end its session{_called(row)} and processes; "
        says += "mark it terminated" if known else f"its status {row.record.status!r} stays"
        return _step(row, tasks, known, says + self._going_on(row))

    def _earlier(self, row: AgentRow) -> EndedSession | None:
        if row.verdict not in (Verdict.ZOMBIE, Verdict.FINISHED) or not row.record.tmux_session:
            return None
        name, socket = tmux_name(row.record.tmux_session), str(self.roll.answer.socket)
        for each in reversed(self.unfinished):
            if (each.agent, each.name, each.socket) == (row.key.id, name, socket):
                return each
        return None

    def _unclear(self, row: AgentRow) -> str | None:
        """Why it cannot be said exactly what would be ended, or None."""
        if row.verdict is Verdict.UNKNOWN:
            return f"cannot be judged: {row.note}"
        if row.session is not None and process_tree.holds_us(row.session.pids):
            return "muster itself runs in its session"
        return (
            _shared(self.holders, row)
            or self.claimed.get(row.key)
            or _twice(self.roll, row)
            or (row.session and shared_panes(row.session, self.roll.answer))
            or (row.session and self.mixed.get(row.session.id))
            or None
        )

    def _going_on(self, row: AgentRow) -> str:
        """What to say of the agents beneath one that is killed, who have their own sessions."""
        count = sum(
            each.session is not None and each.key not in self.chosen
            for each in beneath(self.tasks[row.key.registry], row)
        )
        if not count:
            return ""
        return f"; {some(count, 'agent')} beneath it {'goes' if count == 1 else 'go'} on"


def _called(row: AgentRow) -> str:
    """How to add what a session is called, where that is not as an agent's is."""
    if row.session is None or tmux_name(row.session.name) == _usual_name(row):
        return ""
    now = "" if row.session.name == tmux_name(row.record.tmux_session or "") else " now"
    return f" (called {shown_name(row.session.name)}{now}, not {shown_name(_usual_name(row))})"


def shared_panes(session: Session, answer: TmuxSnapshot) -> str | None:
    """Why a session's processes are not its alone, or None.

    A session that was made to look into another one (``new-session -t``), or a window
    that was linked, shows the same panes.
    """
    for other in answer.sessions.values():
        if other.id != session.id and not set(other.panes).isdisjoint(session.panes):
            name = shown_name(other.name)
            return f"session {name} shows the same panes; end that one in tmux first"
    return None


def plan_complete(
    roll: RollCall,
    rows: Iterable[AgentRow],
    status: EndStatus = "completed",
    *,
    by_verdict: bool = False,
) -> Plan:
    """Plans to write active agents down as through, without touching any session.

    Args:
        roll: The roll call.
        rows: Which agents.
        status: What they become.
        by_verdict: They were chosen for their verdict, and not named by the operator.
    """
    steps: list[Step] = []
    refused: list[tuple[str, str]] = []
    tasks = _task_of(roll)
    rows = tuple(rows)
    alone = len(rows) == 1 and not by_verdict
    for row in rows:
        doubt = roll.answer.renamed.get(tmux_name(row.record.tmux_session or ""))
        why = _unreadable(tasks, row) or _stale(tasks, row, alone)
        if row.verdict in (Verdict.FINISHED, Verdict.LEAKED):
            refused.append((row.key.id, f"is {row.record.status!r} already"))
        elif why is not None:
            refused.append((row.key.id, why))
        elif doubt is not None and len(rows) > 1:
            why = f"{row.note} If you know that it is not its own, complete this agent alone"
            refused.append((row.key.id, f"cannot be judged: {why}"))
        elif row.verdict is Verdict.UNKNOWN and row.name_reused_by is None and doubt is None:
            refused.append((row.key.id, f"cannot be judged: {row.note}"))
        elif not is_active(row.record.status):
            refused.append((row.key.id, f"{row.record.status!r} is no known status"))
        elif (why := _twice(roll, row)) is not None:
            refused.append((row.key.id, why))
        elif row.verdict is Verdict.ZOMBIE:
            steps.append(_step(row, tasks, True, f"its session is gone; mark it {status}"))
        elif doubt is not None:
            says = f"mark it {status}, though {doubt} No session is touched"
            steps.append(_step(row, tasks, True, says))
        elif row.name_reused_by is not None:
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
        questions=_of_deaths(roll, steps),
    )


def _of_deaths(roll: RollCall, steps: Iterable[Step]) -> tuple[Question, ...]:
    """What is asked apart when several of those that went at once are acted on."""
    death = roll.mass_death
    if death is None:
        return ()
    among = sum(step.row is not None and step.row.key in death.agents for step in steps)
    if among < _SEVERAL:
        return ()
    asks = f"{massacre(death, roll.answer.socket)} Is it the right socket, and are they dead?"
    return (Question(asks, "--mass-death"),)


def _of_owners(answer: TmuxSnapshot, steps: Iterable[Step]) -> tuple[Question, ...]:
    """What is asked apart when sessions are ended on the word of other users' registries.

    An id is no secret: whoever can have muster read a registry could list in it the
    session of an agent of anybody's, by its usual name.
    """
    trusted = {ROOT, *(() if answer.server_user is None else (answer.server_user,))}
    whose = {
        step.row.key.registry: step.owner
        for step in steps
        if step.session is not None and step.row is not None and step.owner is not None
    }
    foreign = [f"{whole_name(str(p))} (user {o})" for p, o in whose.items() if o not in trusted]
    if not foreign:
        return ()
    named = _named_first(foreign)
    it_is = "A registry belongs" if len(foreign) == 1 else f"{len(foreign)} registries belong"
    asks = (
        f"{it_is} neither to the tmux server's user nor to root: {named}. "
        f"Who wrote {'it' if len(foreign) == 1 else 'them'} can name any session. "
        "End the sessions all the same?"
    )
    return (Question(asks, "--foreign-registry"),)


def _named_first(said: Sequence[str]) -> str:
    more = len(said) - _NAMED_AT_MOST
    return ", ".join(said[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _of_names(steps: Iterable[Step]) -> tuple[Question, ...]:
    """What is asked apart when sessions are ended that are not called as an agent's is.

    Whatever writes a registry could name anybody's session there.
    """
    unusual = [said for step in steps if (said := _unusual(step)) is not None]
    if not unusual:
        return ()
    named = _named_first(unusual)
    count = some(len(unusual), "session is", "sessions are")
    asks = (
        f"{count} not called as the orchestrator calls an agent's, {SESSION_PREFIX} and its "
        f"id: {named}. End {'it' if len(unusual) == 1 else 'them'} all the same?"
    )
    return (Question(asks, "--unusual-names"),)


def _unusual(step: Step) -> str | None:
    """The session whose processes a step ends, and whose it is, where its name is unusual."""
    name = step.session.name if step.session else step.earlier.name if step.earlier else None
    if name is None:
        return None
    if step.row is None:
        return None if name.startswith(SESSION_PREFIX) else whole_name(name)
    if tmux_name(name) == _usual_name(step.row):
        return None
    return f"{whole_name(name)} (of {shown_name(step.label)})"


def _usual_name(row: AgentRow) -> str:
    """What tmux calls an agent's session where the orchestrator made it."""
    return tmux_name(SESSION_PREFIX + row.key.id)


def _step(
    row: AgentRow,
    tasks: dict[Path, TaskRoll],
    writes: bool,
    says: str,
    earlier: EndedSession | None = None,
) -> Step:
    name = row.record.tmux_session
    same = (
        each.record
        for each in tasks[row.key.registry].agents
        if each.key.id == row.key.id and each.record.tmux_session == name
    )
    stale = tasks[row.key.registry].state.database is not None
    if writes and stale:
        says += "; the database of its workspace stays as it is"
    return Step(
        label=row.key.id,
        session=row.session,
        expected_session=tmux_name(name) if name else None,
        row=row,
        global_registry=tasks[row.key.registry].state.global_registry,
        writes=writes,
        says=says,
        earlier=earlier,
        judged=frozenset(record.deployment for record in same),
        stale=stale,
        owner=tasks[row.key.registry].state.owner,
    )


def _unreadable(tasks: dict[Path, TaskRoll], row: AgentRow) -> str | None:
    """Why nothing may be done about an agent whose registry cannot be read, or None."""
    error = tasks[row.key.registry].state.error
    return None if error is None else f"its registry cannot be read now: {error}"


def _stale(tasks: dict[Path, TaskRoll], row: AgentRow, alone: bool) -> str | None:
    """Why a verdict that a database may contradict is not acted on, or None.

    Args:
        tasks: All tasks.
        row: The agent.
        alone: It is the only one, and the operator named it.
    """
    if tasks[row.key.registry].state.database is None:
        return None
    if row.verdict is Verdict.LEAKED:
        return f"it may be at work: {MAY_BE_STALE}"
    if row.verdict is Verdict.ZOMBIE and not alone:
        return f"it may be through: {MAY_BE_STALE}; if you know how it ended, name it alone"
    return None


def _holders(roll: RollCall) -> Mapping[str, Sequence[AgentRow]]:
    """Whose each session is or may be, by its id."""
    found: dict[str, list[AgentRow]] = {}
    for row in roll.agents():
        session = row.session or row.name_reused_by
        if session is not None:
            found.setdefault(session.id, []).append(row)
    return found


def _shared(holders: Mapping[str, Sequence[AgentRow]], row: AgentRow) -> str | None:
    """Why a session cannot be said to be this agent's alone, or None."""
    if row.session is None:
        return None
    through = is_terminal(row.record.status)
    for other in holders[row.session.id]:
        if other.key == row.key:
            continue
        if other.key.id != row.key.id and other.session is not None:
            name = shown_name(row.session.name)
            return f"shares the session {name} with {shown_name(other.key.id)}"
        # It may be at work in there: of one that is in its registry twice, too.
        same = other.key.registry == row.key.registry or other.session is None
        if not is_terminal(other.record.status) and (through or not same):
            whose = f"{shown_name(other.key.id)} in {shown_name(other.key.registry)}"
            return f"{whose} has its session as well, and is not through"
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
