"""Whether sessions that no registry read so far lists are agents of another workspace.

Several projects may share one tmux server. So before a session is called an orphan,
every workspace at or above the directory that it was started in, and those that its
panes' processes work in, have files open in or were told of, is read as well. So are the
default workspaces of the user, which have agents in whatever directory. Whoever made any
of those: what they list can only spare a session, or make it unknown. Another user's are read
within bounds; what is left out makes the sessions there unknown.

What a workspace with a database does not list in JSON, its database may.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from registry.schema import (
    SESSION_PREFIX,
    WORKSPACE_NAME,
    AgentRecord,
    UnreadDatabase,
    Workspace,
    default_workspaces,
    tmux_name,
    why_foreign,
    workspaces_above,
)
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.registry_cache import Bounds, Registries
from tui.model.orphans import find_orphans
from tui.model.policy import Policy
from tui.model.roll import TaskState

_AT_MOST = 16
"""More workspaces than these are not read for the sake of orphans."""

_FOREIGN_TASKS = 1000
_FOREIGN_LARGEST = 1 << 20
_FOREIGN_BYTES = 4 << 20
_FOREIGN_TIME = 1.0
"""Of workspaces of other users that nobody named so much is read at each look.

They could make a look as long, and as large, as they like. Bytes are five times those of the
largest registry that is known; the last is in seconds, for all of them together.
"""

_AGAIN = 3.0
"""Seconds until processes and registries are looked at again for the same sessions."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of sessions that may be orphans.

    Attributes:
        orphans: Those that no workspace around them lists.
        unsure: Those of which nobody can tell.
        read: The workspaces that were read to tell.
        databases: Those that may list any of the unsure ones.
    """

    orphans: tuple[Session, ...] = ()
    unsure: tuple[Session, ...] = ()
    read: tuple[Path, ...] = ()
    databases: tuple[UnreadDatabase, ...] = ()


@dataclass(frozen=True, slots=True)
class Around:
    """What is around a session.

    Attributes:
        near: The workspaces around it and its panes' processes; None if nobody can tell.
        default: Those that an orchestrator may have listed it in, wherever it is.
    """

    near: frozenset[Path] | None
    default: frozenset[Path] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the registries of one workspace say, as they were read last.

    Attributes:
        states: Its tasks.
        listed: As `Registries.listed_sessions` says.
        databases: What has agents of it that are in none of its registries.
        sees_all: Whether the whole workspace is seen.
        known_until: Until when all that is known; seconds since the epoch.
        is_unclear: Whether there may be more in its registries than can be read now.
    """

    states: tuple[TaskState, ...]
    listed: tuple[frozenset[str] | None, ...]
    databases: tuple[UnreadDatabase, ...]
    sees_all: bool
    known_until: float
    is_unclear: bool


class NearbyWorkspaces:
    """The workspaces around sessions; reads their registries only when they changed.

    Not for several threads at once.

    Args:
        always: Workspaces that count as being around every session.
        others: Workspaces that are read as well: what one of them lists is not an orphan.

    Attributes:
        always: The former, as they are found from everywhere.
        readings: What was read around sessions the last time, by workspace.
    """

    def __init__(self, always: Iterable[Path] = (), others: Iterable[Path] = ()) -> None:
        self.always = tuple(sorted({Path(os.path.realpath(each)) for each in always}))
        self.readings: Mapping[Path, Reading] = {}
        self._registries: dict[Path, Registries] = {}
        self._others = tuple(others)
        self._about: object = None
        self._judged = Judged()
        self._anothers: frozenset[object] = frozenset()
        self._again_at = 0.0

    def judge(
        self,
        sessions: Collection[Session],
        answer: TmuxSnapshot,
        own: Iterable[Path],
        policy: Policy,
        now: float,
    ) -> Judged:
        """Which of some sessions are orphans. Blocks.

        Args:
            sessions: Those that no registry of the own workspaces lists.
            answer: What tmux said.
            own: The workspaces that were read already.
            policy: How old an orphan must be.
            now: Seconds since the epoch.
        """
        own = frozenset(own)
        about = (
            answer.server,
            own,
            tuple(map(_which, sessions)),
        )
        if about != self._about or time.monotonic() >= self._again_at:
            self._judged = self.look(sessions, answer, own, policy, now)
            self._about, self._again_at = about, time.monotonic() + _AGAIN
        # Their other fields may be news.
        orphans = {each.id for each in self._judged.orphans}
        return replace(self._judged, orphans=tuple(s for s in sessions if s.id in orphans))

    def look(
        self,
        sessions: Iterable[Session],
        answer: TmuxSnapshot,
        own: frozenset[Path],
        policy: Policy,
        now: float,
    ) -> Judged:
        """As `judge`, but looks in any case."""
        return self.judge_around(self.read_around(sessions, answer, own), answer, policy, now)

    def judge_around(
        self, around: Mapping[Session, Around], answer: TmuxSnapshot, policy: Policy, now: float
    ) -> Judged:
        """Which of some sessions are orphans, by what was read around them.

        Args:
            around: What `read_around` returned, of these sessions.
            answer: What tmux said.
            policy: How old an orphan must be.
            now: Seconds since the epoch.
        """
        listed = frozenset[str]().union(*map(_listed_in, self.readings.values()))
        orphans: list[Session] = []
        unsure: list[Session] = []
        databases: dict[UnreadDatabase, None] = {}
        for session, each in around.items():
            # Whoever lists it, however far from it: it has an owner.
            if session.name in listed:
                continue
            lone = replace(answer, sessions={session.name: session})
            paths = {*self.always, *each.default, *(each.near or ())}
            told = [self._is_nobodys(path, lone, policy, now) for path in paths]
            if False in told:
                continue
            databases |= dict.fromkeys(self.databases_of(paths))
            (unsure if each.near is None or None in told else orphans).append(session)
        read = tuple(self.readings)
        return Judged(tuple(orphans), tuple(unsure), read, tuple(databases))

    def databases_of(self, paths: Iterable[Path]) -> Iterator[UnreadDatabase]:
        """What some workspaces have agents in that were not read."""
        for path in sorted(paths):
            if path in self.readings:
                yield from self.readings[path].databases

    def read_around(
        self, sessions: Iterable[Session], answer: TmuxSnapshot, own: frozenset[Path]
    ) -> dict[Session, Around]:
        """Reads the workspaces around sessions, as far as they changed. Blocks.

        Args:
            sessions: Which.
            answer: What tmux said.
            own: Workspaces that are left out, since they were read already.

        Returns:
            What is around each of them.
        """
        around: dict[Session, Around] = {}
        found: dict[Path, None] = {}
        of_user = default_workspaces({"HOME": os.path.expanduser("~"), **os.environ})
        for session, each in _around(sessions, answer):
            near = None if each.near is None else each.near - own
            default = (each.default | of_user) - own
            around[session] = Around(near, default)
            found |= dict.fromkeys(sorted(default | (near or frozenset())))
        # What is around them comes first: there is room for so many only.
        found |= dict.fromkeys(self._others)
        others = [each for each in found if each not in self.always]
        self._registries = {
            path: self._registries.get(path) or Registries((Workspace(path),))
            for path in (*self.always, *others[:_AT_MOST])
        }
        self._read_all()
        return around

    def _read_all(self) -> None:
        """Reads what changed, of other users' workspaces within bounds."""
        foreign = {
            path
            for path in self._registries
            if path not in self.always and why_foreign(path) is not None
        }
        self.readings = readings = {
            path: _read(each) for path, each in self._registries.items() if path not in foreign
        }
        until = time.monotonic() + _FOREIGN_TIME
        bounds = Bounds(_FOREIGN_LARGEST, _FOREIGN_BYTES, until)
        for path in self._registries:
            if path in foreign and not bounds.are_reached:
                readings[path] = _read(self._registries[path], bounds)

    def _is_nobodys(
        self, path: Path, lone: TmuxSnapshot, policy: Policy, now: float
    ) -> bool | None:
        """Whether a workspace does not list the only session of an answer; None: nobody knows."""
        reading = self.readings.get(path)
        if reading is None or not reading.sees_all:
            return None
        as_of = min(now, reading.known_until)
        found = find_orphans(reading.states, reading.listed, lone, policy, as_of)
        if found == ():
            return False
        # A session that is in none of these yet may be in what cannot be read now.
        return None if found is None or reading.is_unclear else True

    def anothers(self, sessions: Collection[Session], answer: TmuxSnapshot) -> list[Session]:
        """Those of some sessions, of any server, that a registry around them lists. Blocks.

        Who is listed is no suspect any more, which may let an agent be called dead. So
        another user's workspace does not count: who made it could decide that.
        """
        about = frozenset(map(_which, sessions))
        if about != self._about or time.monotonic() >= self._again_at:
            # No server answers for all of them: whose processes are not seen is not told.
            around = self.read_around(sessions, replace(answer, server_pid=None), frozenset())
            listed = {
                path: _listed_in(each)
                for path, each in self.readings.items()
                if why_foreign(path) is None
            }
            self._anothers = frozenset(
                _which(session)
                for session, each in around.items()
                if any(session.name in listed.get(path, ()) for path in each.near or ())
            )
            self._about, self._again_at = about, time.monotonic() + _AGAIN
        return [each for each in sessions if _which(each) in self._anothers]

    @property
    def busy(self) -> bool:
        """Whether a writer kept any registry from being read the last time."""
        return any(each.busy for each in self._registries.values())


def _which(session: Session) -> object:
    return session.id, session.name, session.created, session.pids


def called(agent: AgentRecord) -> str:
    """What tmux may call an agent's session, also where its registry does not name it."""
    return tmux_name(agent.tmux_session or SESSION_PREFIX + agent.id)


def _listed_in(reading: Reading) -> frozenset[str]:
    """What tmux may call the sessions that registries list, as far as they can be read."""
    records = [state.record for state in reading.states if state.record is not None]
    return frozenset[str]().union(
        *(names for names in reading.listed if names),
        *(map(called, record.agents) for record in records),
    )


def _read(registries: Registries, bounds: Bounds | None = None) -> Reading:
    """Reads what changed in the registries of a workspace."""
    registries.rescan(at_most=None if bounds is None else _FOREIGN_TASKS, bounds=bounds)
    states, sees_all = registries.states(), registries.sees_all()
    errors = [state.error or state.hot_journal for state in states]
    errors += [branch.error or branch.hot_journal for branch in registries.branches()]
    unread = any(state.record is None for state in states)
    return Reading(
        states,
        registries.listed_sessions(),
        registries.databases(),
        sees_all,
        registries.known_until(),
        unread or registries.busy or any(errors) or not sees_all,
    )


def _around(sessions: Iterable[Session], answer: TmuxSnapshot) -> Iterator[tuple[Session, Around]]:
    """The workspaces around sessions and their panes' processes."""
    sessions = tuple(sessions)
    if not sessions:
        return
    # Not at the top: a look at the roll has no use for it as a rule.
    from tui.host import process_tree
    from tui.host.process_paths import (
        default_workspaces_of,
        directories_of,
        directories_touched,
        is_elsewhere,
    )

    server = answer.server_process
    # It tells its own path of the directory that a session was started in.
    hidden = answer.foreign_pids or (server is not None and is_elsewhere(server))
    seen = server is not None
    families = process_tree.families({session: session.pids for session in sessions})
    above = functools.cache(workspaces_above)
    for session in sessions:
        directories = [directories_of(pid) for pid in session.pids]
        started = session.started_in
        directories.append(None if started is None else frozenset({Path(started)}))
        if not session.pids:
            # All its panes are dead: what they left may still be hidden from us.
            directories.append(frozenset())
        family = families[session]
        default = frozenset[Path]().union(*map(default_workspaces_of, family))
        try:
            unknown = any(each is None or not (each or seen) for each in directories)
            if hidden or unknown or any(map(is_elsewhere, family)):
                # It is hidden, has ended, or is in another PID or mount namespace.
                yield session, Around(None, default)
                continue
            near = [above(path) for each in directories if each for path in each]
            for path in frozenset[Path]().union(*map(directories_touched, family)):
                # That one of any file must not be looked into is as a rule no news.
                with contextlib.suppress(*(() if WORKSPACE_NAME in path.parts else (OSError,))):
                    near.append(above(path))
            yield session, Around(frozenset[Path]().union(*near), default)
        except OSError:
            yield session, Around(None, default)
