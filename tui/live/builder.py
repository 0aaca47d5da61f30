"""Builds roll calls. Only tasks that may have changed get new verdicts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from registry.dataclass import dataclass, replace
from registry.schema import END_DELAY, Instant
from registry.storage import is_believed
from tui.host import host_name
from tui.host.asker import Asker, NoAnswerError
from tui.host.process.pane_origin import PaneOrigin, PaneOrigins
from tui.host.tmux_advice import socket_option
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.nearby_workspaces import Judged, NearbyWorkspaces, identity
from tui.live.registry_cache import Branch
from tui.model.call import call_task, starts_of_missing
from tui.model.evidence import Evidence, MissingSince, ProcessEvidence
from tui.model.mass_death import find_mass_death
from tui.model.orphans import find_orphans
from tui.model.policy import Policy
from tui.model.roll import RollCall, TaskRoll, TaskState, Verdict, WorkspaceRoll
from tui.model.spellings import Spellings
from tui.model.suspects import Candidate, find_renamed, is_claimed

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd

# Seconds after which all agents get new verdicts even if nothing has changed.
_RECALL = 10.0

# The longest wait, in seconds, for file systems with registries or with directories of sessions.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class _LastRoll:
    """The last roll of one task.

    Attributes:
        roll: The roll.
        seen: The sessions and processes of the task's agents, and when each missing one was first
            missing.
        counts: The verdicts of the task's agents, each with its number, which is not 0.
    """

    roll: TaskRoll
    seen: tuple[object, ...]
    counts: tuple[tuple[Verdict, int], ...]

    def may_change_by_time(self) -> bool:
        """Returns whether a verdict may change only because time passes."""
        over = sum(self.roll.counts[verdict] for verdict in Verdict if verdict.is_over)
        return over != len(self.roll.agents) or any(fact is not None for fact in self.seen)


class Content(Protocol):
    """The content of the registries of some workspaces; `Registries` implements this protocol."""

    def branches(self) -> Iterable[Branch]:
        """Yields all workspaces with the content of their tasks."""

    def states(self) -> tuple[TaskState, ...]:
        """Returns all tasks, in the order of the workspaces."""

    def listed_sessions(self) -> tuple[frozenset[str] | None, ...]:
        """Returns the sessions that each global registry lists; see `Registries`."""

    def listed_by_path(self) -> Mapping[Path, frozenset[str] | None]:
        """Maps the path of each global registry to its sessions; see `listed_sessions`."""

    def spellings(self) -> Spellings:
        """Returns the replaced spellings of the session names in all registries."""

    def sees_all(self) -> bool:
        """Returns whether all workspaces were read completely."""

    def known_until(self) -> Instant:
        """Returns the last moment at which all contents were known to be current."""


class RollBuilder:
    """Builds roll calls from registries and evidence; reuses the rolls of unchanged tasks.

    Args:
        policy: The times that a verdict needs.
        on_late: Called in another thread when a file system answers again.
    """

    def __init__(self, policy: Policy, on_late: Callable[[], None] = lambda: None) -> None:
        self._policy = policy
        self._on_late = on_late
        self._nearby_asker: Asker[Judged] = Asker(on_late)
        self._candidates_asker: Asker[Mapping[object, frozenset[Path]]] = Asker(on_late)
        self._belief_asker: Asker[bool] = Asker(on_late)
        self._reports: dict[Path, Asker[dict[str, float]]] = {}
        self._ends: dict[Path, Asker[dict[str, ReportedEnd]]] = {}
        self._host = host_name()
        self._called: dict[Path, _LastRoll] = {}
        self._evidence: Evidence | None = None
        self._again_at = 0.0
        self._nearby = NearbyWorkspaces()
        self._near_candidates = NearbyWorkspaces()
        self._begun: dict[int, float | None] = {}
        self._pane_origins = PaneOrigins()
        self._origins: Mapping[int, PaneOrigin] = {}
        self._origins_of: tuple[object, object] = (None, None)
        self._ids: Mapping[str, str] = {}
        self._ids_of: object = None
        self._server: tuple[int | None, int] = (None, 0)

    def call(self, registries: Content, evidence: Evidence, now: float) -> RollCall:
        """Returns a new roll call.

        Args:
            registries: The content of the registries, as last read.
            evidence: The newest evidence. This function sets `Evidence.renamed`.
            now: Seconds since the epoch.
        """
        spellings = registries.spellings()
        answer, missing_since = spellings.resolve(evidence.snapshot), evidence.missing_since
        evidence = replace(evidence, snapshot=answer)
        self._note_ids(answer, missing_since)
        renamed = self._find_renamed(registries, evidence, now)
        reasons = {name: candidate.why for name, candidate in renamed.items()}
        reasons |= spellings.doubts(missing_since, answer)
        evidence = replace(evidence, renamed=reasons)
        before, self._evidence = self._evidence, evidence
        # If true, only files have changed after the last roll call.
        old_answer = before is not None and before.snapshot.sessions is answer.sessions
        old_answer = old_answer and before is not None and before.missing_since is missing_since
        old_answer = old_answer and before is not None and before.processes is evidence.processes
        # New verdicts are also due if the clock was set back.
        due = not 0 < self._again_at - now <= _RECALL
        anew = before is None or _has_changed(before, evidence)
        if due or anew:
            # An agent may become stalled only because time passes.
            self._again_at = now + min(_RECALL, self._policy.stall_timeout / 20)
        called: dict[Path, _LastRoll] = {}
        workspaces = []
        counts = dict.fromkeys(Verdict, 0)
        for branch in registries.branches():
            tasks = []
            for state in branch.states:
                path = state.registry
                last = self._called.get(path)
                if old_answer and last is not None and last.roll.state is state:
                    seen = last.seen
                else:
                    seen = _seen(state, answer, missing_since, evidence.processes)
                if anew or last is None or not _is_still_valid(last, state, seen, due):
                    of_now = last is not None and last.seen == seen and not (anew or due)
                    kept = last.roll if last is not None and of_now else None
                    roll = self._call_task(state, evidence, now, kept)
                    # An equal roll keeps its identity, so the screen does not draw it again.
                    same = last is not None and last.roll.state is state and last.roll == roll
                    roll = last.roll if last is not None and same else roll
                    found = tuple((v, count) for v, count in roll.counts.items() if count)
                    last = _LastRoll(roll, seen, found)
                called[path] = last
                tasks.append(last.roll)
                for verdict, count in last.counts:
                    counts[verdict] += count
            workspaces.append(
                WorkspaceRoll(
                    branch.path, tuple(tasks), branch.error, branch.hot_journal, branch.database
                )
            )
        self._called = called
        orphans: tuple[Session, ...] | None = None
        if registries.sees_all():
            listed = registries.listed_sessions()
            as_of = min(now, registries.known_until().by_clock())
            orphans = find_orphans(
                registries.states(), listed, answer, self._policy, as_of, evidence.jumps
            )
        own = [workspace.path for workspace in workspaces]
        candidates = {candidate.session for candidate in renamed.values()}
        unlisted = tuple(session for session in orphans or () if session not in candidates)
        judged = self._judge(unlisted, answer, own, now)
        counts[Verdict.ORPHAN] = len(judged.orphans)
        return RollCall(
            self._host,
            evidence,
            tuple(workspaces),
            judged.orphans,
            counts,
            orphans_known=orphans is not None and not judged.unsure,
            nearby_workspaces=judged.read,
            nearby_databases=judged.databases,
            mass_death=find_mass_death(
                (task.roll for task in called.values()), missing_since, self._policy
            ),
        )

    def _find_renamed(
        self, registries: Content, evidence: Evidence, now: float
    ) -> Mapping[str, Candidate]:
        """Maps each missing session that may have another name now to its likeliest candidate."""
        answer = evidence.snapshot
        missing = evidence.missing_since.keys() - answer.sessions.keys()
        begun: dict[int, float | None] = {}
        if not missing:
            return {}

        def begun_at(pid: int) -> float | None:
            # Imported late, because most roll calls do not need it.
            from tui.host.process import process_tree

            if pid not in begun:
                # Each process is read once, and its start time kept for the next roll call.
                begun[pid] = self._begun[pid] if pid in self._begun else process_tree.begun(pid)
            return begun[pid]

        origins = self._read_origins(evidence)
        states, globals_ = registries.states(), registries.listed_by_path()
        believed = functools.cache(self._is_believed)
        # The agent of a session is known if muster saw that the session was renamed.
        followed = frozenset(s.name for name, s in answer.sessions.items() if name != s.name)
        by_server: dict[Path | None, list[Session]] = {None: list(answer.sessions.values())}
        for socket, session in evidence.others:
            by_server.setdefault(socket, []).append(session)
        candidates = {
            socket: find_renamed(
                missing,
                states,
                () if socket is not None else (followed,),
                sessions,
                begun_at,
                origins,
                self._ids if socket is None else {},
                globals_=globals_,
                believed=believed,
                now=now,
                known=self._ids.keys(),
            )
            for socket, sessions in by_server.items()
        }
        self._begun = begun
        return self._most_likely(candidates, answer, believed)

    def _most_likely(
        self,
        candidates: Mapping[Path | None, Mapping[str, list[Candidate]]],
        answer: TmuxSnapshot,
        believed: Callable[[Path, Path], bool],
    ) -> Mapping[str, Candidate]:
        """Maps each missing session to its first candidate that is not excluded.

        A candidate is excluded if a registry near the candidate proves that the candidate belongs
        to another agent; see `is_claimed`. No candidate into which a pane was moved is excluded.

        Args:
            candidates: Maps the socket of each server to the result of `find_renamed` for this
                server. The socket is None for the queried server.
            answer: The answer of the queried server.
            believed: See `find_renamed`.
        """
        sessions = {
            id(candidate.session): candidate.session
            for by_name in candidates.values()
            for of_name in by_name.values()
            for candidate in of_name
        }
        listing = self._listing(list(sessions.values()), answer)
        likely: dict[str, Candidate] = {}
        for socket, by_name in candidates.items():
            for name, of_name in by_name.items():
                possible = (
                    candidate
                    for candidate in of_name
                    if candidate.moved
                    or not is_claimed(
                        listing.get(identity(candidate.session), ()), candidate.about, believed
                    )
                )
                first = next(possible, None)
                if first is not None and socket is not None:
                    why = f"on another tmux server, {first.why} Try {socket_option(socket)}"
                    first = first._replace(why=why)
                if first is not None:
                    likely.setdefault(name, first)
        return likely

    def _judge(
        self, sessions: tuple[Session, ...], answer: TmuxSnapshot, own: list[Path], now: float
    ) -> Judged:
        """Finds the orphans. If a file system does not answer, all sessions are unsure."""
        if not sessions:
            return self._nearby.judge((), answer, own, self._policy, now)
        try:
            return self._nearby_asker.ask(
                lambda: self._nearby.judge(sessions, answer, own, self._policy, now), _PATIENCE
            )
        except NoAnswerError:
            return Judged(unsure=sessions)

    def _listing(
        self, sessions: list[Session], answer: TmuxSnapshot
    ) -> Mapping[object, frozenset[Path]]:
        """Returns the result of `NearbyWorkspaces.listing`; empty if a file system hangs."""
        if not sessions:
            return {}
        try:
            return self._candidates_asker.ask(
                lambda: self._near_candidates.listing(sessions, answer), _PATIENCE
            )
        except NoAnswerError:
            return {}

    def _is_believed(self, telling: Path, about: Path) -> bool:
        """Returns the result of `is_believed`; False if the file system does not answer."""
        try:
            return self._belief_asker.ask(lambda: is_believed(telling, about), _PATIENCE)
        except NoAnswerError:
            return False

    def _note_ids(self, answer: TmuxSnapshot, missing_since: MissingSince) -> None:
        """Records the ids of all sessions; keeps the recorded ids of missing sessions."""
        if answer.state is TmuxState.UNKNOWN or self._ids_of is answer.sessions:
            return
        # A new server assigns the same ids again.
        before = self._ids if answer.server == self._server else {}
        kept = {name: before[name] for name in missing_since if name in before}
        self._ids = kept | {name: session.id for name, session in answer.sessions.items()}
        self._ids_of, self._server = answer.sessions, answer.server

    def _read_origins(self, evidence: Evidence) -> Mapping[int, PaneOrigin]:
        """Maps the pid of a pane to the pane's origin; reads only after a new answer of tmux."""
        sessions, others = evidence.snapshot.sessions, evidence.others
        last_sessions, last_others = self._origins_of
        if last_sessions is not sessions or last_others is not others:
            other_sessions = (session for _, session in others)
            self._origins = self._pane_origins.read((*sessions.values(), *other_sessions))
            self._origins_of = sessions, others
        return self._origins

    def _call_task(
        self,
        state: TaskState,
        evidence: Evidence,
        now: float,
        before: TaskRoll | None,
    ) -> TaskRoll:
        # Progress files are read only of agents that would otherwise be stalled, and of agents
        # whose session is missing.
        roll = call_task(state, evidence, self._policy, now, before=before)
        reported: dict[str, float] = {}
        ends: dict[str, ReportedEnd] = {}
        unread: set[Verdict] = set()
        if silent := [row.key.id for row in roll.agents if row.verdict is Verdict.STALLED]:
            reports = self._reports.setdefault(state.workspace, Asker(self._on_late))
            try:
                reported = reports.ask(lambda: _last_activities(state, roll, silent))
            except NoAnswerError:
                unread.add(Verdict.STALLED)
        may_end = roll.counts[Verdict.ZOMBIE] or (evidence.doubts and roll.counts[Verdict.UNKNOWN])
        if may_end and (started := starts_of_missing(roll, evidence)):
            since = _ending_since(evidence, now)
            asker = self._ends.setdefault(state.workspace, Asker(self._on_late))
            try:
                ends = asker.ask(lambda: state.source.reported_ends(started, since))
            except NoAnswerError:
                unread.add(Verdict.ZOMBIE)
        if reported or ends:
            roll = call_task(state, evidence, self._policy, now, reported, before, ends)
        return _with_unread(roll, unread) if unread else roll


def _last_activities(
    state: TaskState, roll: TaskRoll, agent_ids: Collection[str]
) -> dict[str, float]:
    """Returns when agents last reported; for agents without a session, also their last output.

    The time of the output of a session is in tmux's answer.
    """
    times = state.source.last_reports(agent_ids)
    for row in roll.agents:
        if row.verdict is Verdict.STALLED and row.process is not None:
            facts = state.source.output_facts(row.key.id)
            written = [fact.modified for fact in facts if fact.modified is not None]
            times[row.key.id] = max([times.get(row.key.id, 0.0), *written])
    return times


def _ending_since(evidence: Evidence, now: float) -> float:
    """Returns the earliest time of a report because of which an agent may be ending now."""
    return now - END_DELAY - sum(jump.seconds for jump in evidence.jumps)


def _with_unread(roll: TaskRoll, unread: Collection[Verdict]) -> TaskRoll:
    """Returns a roll whose agents are unknown if their progress files are unreadable.

    Args:
        roll: The roll.
        unread: The verdicts of the agents whose progress files are unreadable.
    """
    agents = tuple(
        replace(
            row,
            verdict=Verdict.UNKNOWN,
            note="the file system of its progress file does not answer",
        )
        if row.verdict in unread
        else row
        for row in roll.agents
    )
    counts = {**roll.counts, **dict.fromkeys(unread, 0)}
    counts[Verdict.UNKNOWN] += sum(roll.counts[verdict] for verdict in unread)
    return replace(roll, agents=agents, counts=counts)


def _has_changed(before: Evidence, evidence: Evidence) -> bool:
    """Returns whether the state of tmux or the doubts about missing sessions have changed."""
    was, now = before.snapshot, evidence.snapshot
    return (was.state, was.why, before.doubts) != (now.state, now.why, evidence.doubts)


def _seen(
    state: TaskState, answer: TmuxSnapshot, missing_since: MissingSince, processes: ProcessEvidence
) -> tuple[object, ...]:
    names = state.record.session_names if state.record else ()
    sessions: tuple[object, ...] = tuple(map(answer.sessions.get, names))
    for agent in state.record.with_pid if state.record else ():
        pid = agent.cursor_pid or 0
        sessions += (processes.seen.get(pid), processes.gone_since.get(pid))
    return (*sessions, *map(missing_since.get, names)) if missing_since else sessions


def _is_still_valid(
    last: _LastRoll, state: TaskState, seen: tuple[object, ...], due: bool
) -> bool:
    """Returns whether the last roll of a task is still valid."""
    return (
        last.roll.state is state
        and (last.seen is seen or last.seen == seen)
        # The next answer may prove that a session is gone.
        and not last.roll.counts[Verdict.UNKNOWN]
        and not (due and last.may_change_by_time())
    )
