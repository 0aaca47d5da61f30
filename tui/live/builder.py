"""One roll call after another out of what is known: only what may differ is judged again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tui.host import host_name
from tui.host.pane_origin import PaneOrigin, PaneOrigins
from tui.host.tmux_advice import socket_option
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.live.nearby_workspaces import NearbyWorkspaces
from tui.live.registry_cache import Registries
from tui.model.call import call_task
from tui.model.evidence import Evidence, MissingSince
from tui.model.mass_death import find_mass_death
from tui.model.orphans import find_orphans
from tui.model.policy import Policy
from tui.model.roll import RollCall, TaskRoll, TaskState, Verdict, WorkspaceRoll
from tui.model.suspects import Candidate, find_renamed

# Seconds after which every agent is judged again although nothing is new.
_RECALL = 10.0


@dataclass(frozen=True, slots=True)
class _Called:
    """One task as it was called last.

    Attributes:
        seen: The session of each agent that names one, and since when it is missing.
    """

    roll: TaskRoll
    seen: tuple[object, ...]

    def may_change_by_time(self) -> bool:
        """Whether a verdict may become another though nothing else does."""
        finished = self.roll.counts[Verdict.FINISHED] == len(self.roll.agents)
        return not finished or any(each is not None for each in self.seen)


class RollBuilder:
    """Calls the roll from registries and answers; keeps what did not change."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._host = host_name()
        self._called: dict[Path, _Called] = {}
        self._evidence: Evidence | None = None
        self._again_at = 0.0
        self._vicinity = NearbyWorkspaces()
        self._around_suspects = NearbyWorkspaces()
        self._begun: dict[int, float | None] = {}
        self._births = PaneOrigins()
        self._moved: Mapping[int, PaneOrigin] = {}
        self._moved_of: tuple[object, object] = (None, None)
        self._ids: Mapping[str, str] = {}
        self._ids_of: object = None
        self._server: tuple[int | None, int] = (None, 0)

    def call(self, registries: Registries, evidence: Evidence, now: float) -> RollCall:
        """One frozen roll call of what is known now."""
        answer, missing_since = evidence.snapshot, evidence.missing_since
        self._note_ids(answer, missing_since)
        renamed = self._find_renamed(registries, evidence)
        evidence = replace(evidence, renamed={name: each.why for name, each in renamed.items()})
        before, self._evidence = self._evidence, evidence
        # Files changed, and tmux was not asked since.
        old_answer = before is not None and before.snapshot.sessions is answer.sessions
        old_answer = old_answer and before is not None and before.missing_since is missing_since
        # Also when the clock was set back.
        due = not 0 < self._again_at - now <= _RECALL
        anew = before is None or _tells_else(before, evidence)
        if due or anew:
            # An agent may have stalled although nothing is new.
            self._again_at = now + min(_RECALL, self._policy.stall_timeout / 20)
        called: dict[Path, _Called] = {}
        workspaces = []
        counts = dict.fromkeys(Verdict, 0)
        for branch in registries.branches():
            tasks = []
            for state in branch.states:
                last = self._called.get(state.registry)
                if old_answer and last is not None and last.roll.state is state:
                    seen = last.seen
                else:
                    seen = _seen(state, answer, missing_since)
                if anew or last is None or not _holds(last, state, seen, due):
                    of_now = last is not None and last.seen == seen and not (anew or due)
                    kept = last.roll if last is not None and of_now else None
                    roll = self._call_task(state, evidence, now, kept)
                    # An equal one keeps its identity: nothing is drawn anew for it.
                    same = last is not None and last.roll.state is state and last.roll == roll
                    last = _Called(last.roll if last is not None and same else roll, seen)
                called[state.registry] = last
                tasks.append(last.roll)
                for verdict, count in last.roll.counts.items():
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
            as_of = min(now, registries.known_until())
            orphans = find_orphans(registries.states(), listed, answer, self._policy, as_of)
        own = [each.path for each in workspaces]
        suspected = {each.session for each in renamed.values()}
        nobodys = tuple(each for each in orphans or () if each not in suspected)
        judged = self._vicinity.judge(nobodys, answer, own, self._policy, now)
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
                (each.roll for each in called.values()), missing_since, self._policy
            ),
        )

    def _find_renamed(self, registries: Registries, evidence: Evidence) -> Mapping[str, Candidate]:
        """Which of the missing sessions may be there by another name."""
        answer = evidence.snapshot
        missing = evidence.missing_since.keys() - answer.sessions.keys()
        begun: dict[int, float | None] = {}
        if not missing:
            return {}

        def begun_at(pid: int) -> float | None:
            # Not at the top: a look at the roll has no use for it as a rule.
            from tui.host import process_tree

            if pid not in begun:
                # No look at a process is taken twice.
                begun[pid] = self._begun[pid] if pid in self._begun else process_tree.begun(pid)
            return begun[pid]

        moved = self._find_moved(evidence)
        states, listed = registries.states(), registries.listed_sessions()
        # Of one that was followed to its new name it is known whose it is.
        followed = frozenset(s.name for name, s in answer.sessions.items() if name != s.name)
        there: dict[Path | None, list[Session]] = {None: list(answer.sessions.values())}
        for socket, session in evidence.others:
            there.setdefault(socket, []).append(session)
        found = {
            socket: find_renamed(
                missing,
                states,
                listed if socket is not None else (*listed, followed),
                sessions,
                begun_at,
                moved,
                self._ids if socket is None else {},
            )
            for socket, sessions in there.items()
        }
        self._begun = begun
        return self._most_likely(found, answer)

    def _most_likely(
        self, found: Mapping[Path | None, Mapping[str, list[Candidate]]], answer: TmuxSnapshot
    ) -> Mapping[str, Candidate]:
        """Of what may be missing sessions the first each, which no registry around it lists.

        Args:
            found: By the socket of the server that has it; None for the one that was asked.
            answer: What that one said.
        """
        suspects = {
            id(each.session): each.session
            for by_name in found.values()
            for those in by_name.values()
            for each in those
        }
        anothers = set(map(id, self._around_suspects.anothers(suspects.values(), answer)))
        likely: dict[str, Candidate] = {}
        for socket, by_name in found.items():
            for name, those in by_name.items():
                first = next(
                    (each for each in those if each.moved or id(each.session) not in anothers),
                    None,
                )
                if first is not None and socket is not None:
                    why = f"on another tmux server {first.why} Try {socket_option(socket)}"
                    first = first._replace(why=why)
                if first is not None:
                    likely.setdefault(name, first)
        return likely

    def _note_ids(self, answer: TmuxSnapshot, missing_since: MissingSince) -> None:
        """Keeps the ids of sessions, so that those of missing ones are known."""
        if answer.state is TmuxState.UNKNOWN or self._ids_of is answer.sessions:
            return
        # Another server counts its ids anew.
        before = self._ids if answer.server == self._server else {}
        kept = {name: before[name] for name in missing_since if name in before}
        self._ids = kept | {name: session.id for name, session in answer.sessions.items()}
        self._ids_of, self._server = answer.sessions, answer.server

    def _find_moved(self, evidence: Evidence) -> Mapping[int, PaneOrigin]:
        """The panes that were moved, read anew only where tmux says something else."""
        here, there = evidence.snapshot.sessions, evidence.others
        sessions, others = self._moved_of
        if sessions is not here or others is not there:
            theirs = (session for _, session in there)
            self._moved = self._births.moved((*here.values(), *theirs))
            self._moved_of = here, there
        return self._moved

    def _call_task(
        self,
        state: TaskState,
        evidence: Evidence,
        now: float,
        before: TaskRoll | None,
    ) -> TaskRoll:
        roll = call_task(state, evidence, self._policy, now, before=before)
        silent = [row.key.id for row in roll.agents if row.verdict is Verdict.STALLED]
        # Only they are worth a look at their files.
        if reported := state.source.last_reports(silent):
            return call_task(state, evidence, self._policy, now, reported, before)
        return roll


def _tells_else(before: Evidence, evidence: Evidence) -> bool:
    """Whether tmux says something else of others than the sessions that are there."""
    was, now = before.snapshot, evidence.snapshot
    return (was.state, was.why, before.doubts) != (now.state, now.why, evidence.doubts)


def _seen(
    state: TaskState, answer: TmuxSnapshot, missing_since: MissingSince
) -> tuple[object, ...]:
    names = state.record.session_names if state.record else ()
    there = tuple(map(answer.sessions.get, names))
    return (*there, *map(missing_since.get, names)) if missing_since else there


def _holds(last: _Called, state: TaskState, seen: tuple[object, ...], due: bool) -> bool:
    """Whether a task would be called as it was the last time."""
    return (
        last.roll.state is state
        and last.seen == seen
        # Who is missing becomes proven so by another answer.
        and not last.roll.counts[Verdict.UNKNOWN]
        and not (due and last.may_change_by_time())
    )
