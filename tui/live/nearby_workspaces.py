"""Finds out whether sessions belong to agents of workspaces that the user did not name.

Several projects may share one tmux server. So before muster calls a session an orphan, it also
reads the workspaces near the session. A workspace is near a session if any of these is true:

- The workspace is at or above the directory in which the session was started.
- The workspace is at or above a directory of a process that a kill of the session would end.
  Directories of a process are its working directory, the directories of its open files, and the
  directories that its command line or environment names.

muster also reads the default workspaces of the user, whose agents may run in any directory.

An entry in these registries can only protect a session from a kill. So the registries may belong
to any user. Workspaces of other users are read only up to limits. If muster cannot read a
workspace completely, or if the workspace has a database, the workspace may list further agents.
Then it is unknown whether the sessions near this workspace are orphans.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from registry.dataclass import dataclass, replace
from registry.schema import (
    SESSION_PREFIX,
    WORKSPACE_NAME,
    AgentRecord,
    UnreadDatabase,
    Workspace,
    default_workspaces,
    spellings,
    why_foreign,
    workspaces_above,
)
from registry.storage import Instant, writers_of
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.registry_cache import Bounds, Registries
from tui.model.orphans import find_orphans
from tui.model.policy import Policy
from tui.model.roll import TaskState

_AT_MOST = 16
"""The largest number of workspaces near sessions that are read."""

_FOREIGN_TASKS = 1000
_FOREIGN_LARGEST = 1 << 20
_FOREIGN_BYTES = 4 << 20
_FOREIGN_TIME = 1.0
"""The limits of one reading of other users' workspaces that the user did not name.

The limits are: tasks in one workspace, bytes of one registry, bytes of all registries, and seconds
for all these workspaces. Without limits, another user could make the reading very slow. The limit
of all bytes is five times the size of the largest known registry.
"""

PATHS_TIME = 3.0
"""The time in seconds for the paths that the processes of all examined sessions name.

Without the limit, a process of another user could stall muster with very many long paths.
"""

_AGAIN = 3.0
"""Seconds until processes and registries are read again for the same sessions."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of `NearbyWorkspaces.judge` for sessions that may be orphans.

    Attributes:
        orphans: The sessions that no workspace near them lists.
        unsure: The sessions for which it is not known whether a workspace near them lists them.
        read: The workspaces that were read.
        databases: The unread databases that may list a session in `unsure`.
    """

    orphans: tuple[Session, ...] = ()
    unsure: tuple[Session, ...] = ()
    read: tuple[Path, ...] = ()
    databases: tuple[UnreadDatabase, ...] = ()


@dataclass(frozen=True, slots=True)
class Around:
    """The workspaces that may list a session.

    Attributes:
        near: The known workspaces near the session.
        default: The default workspaces of orchestrators, which may list any session.
        started: The workspaces in `near` at or above the directory where the session was started.
        is_whole: Whether all workspaces near the session are known.
    """

    near: frozenset[Path] = frozenset()
    default: frozenset[Path] = frozenset()
    started: frozenset[Path] = frozenset()
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """The last known content of the registries of one workspace.

    Attributes:
        states: The tasks of the workspace.
        listed: The result of `Registries.listed_sessions`.
        databases: The unread databases, which may have agents that are in no registry.
        sees_all: Whether the workspace was read completely.
        known_until: The last moment at which the content was known to be current.
        is_unclear: Whether the workspace may list further sessions, because muster cannot read a
            part of the workspace now.
    """

    states: tuple[TaskState, ...]
    listed: tuple[frozenset[str] | None, ...]
    databases: tuple[UnreadDatabase, ...]
    sees_all: bool
    known_until: Instant
    is_unclear: bool


class NearbyWorkspaces:
    """A cache of the workspaces near sessions. Not thread-safe.

    Args:
        always: Workspaces that count as near every session.
        others: More workspaces to read. A session that any of these lists is not an orphan.

    Attributes:
        always: The resolved paths of the workspaces that count as near every session.
        readings: The last reading of each workspace.
    """

    def __init__(self, always: Iterable[Path] = (), others: Iterable[Path] = ()) -> None:
        self.always = tuple(sorted({Path(os.path.realpath(path)) for path in always}))
        self.readings: Mapping[Path, Reading] = {}
        self._registries: dict[Path, Registries] = {}
        self._others = tuple(others)
        self._about: object = None
        self._judged = Judged()
        self._listing: Mapping[object, frozenset[Path]] = {}
        self._again_at = 0.0

    def judge(
        self,
        sessions: Collection[Session],
        answer: TmuxSnapshot,
        own: Iterable[Path],
        policy: Policy,
        now: float,
    ) -> Judged:
        """Finds the orphans among sessions. Blocks.

        If this was called less than 3 seconds ago for the same sessions, returns the last result.

        Args:
            sessions: Sessions that no registry of the workspaces in `own` lists.
            answer: The answer of tmux.
            own: The workspaces that the caller has already read.
            policy: The minimum age of an orphan.
            now: Seconds since the epoch.
        """
        own = frozenset(own)
        about = (
            answer.server,
            own,
            tuple(map(identity, sessions)),
        )
        if about != self._about or time.monotonic() >= self._again_at:
            self._judged = self.look(sessions, answer, own, policy, now)
            self._about, self._again_at = about, time.monotonic() + _AGAIN
        # The other fields of the given sessions may differ from the last result.
        orphans = {orphan.id for orphan in self._judged.orphans}
        return replace(self._judged, orphans=tuple(s for s in sessions if s.id in orphans))

    def look(
        self,
        sessions: Iterable[Session],
        answer: TmuxSnapshot,
        own: frozenset[Path],
        policy: Policy,
        now: float,
    ) -> Judged:
        """Finds the orphans among sessions like `judge`, but never returns the last result."""
        return self.judge_around(self.read_around(sessions, answer, own), answer, policy, now)

    def judge_around(
        self, around: Mapping[Session, Around], answer: TmuxSnapshot, policy: Policy, now: float
    ) -> Judged:
        """Finds the orphans among sessions for which `read_around` was called.

        Args:
            around: The sessions with the result of `read_around`.
            answer: The answer of tmux.
            policy: The minimum age of an orphan.
            now: Seconds since the epoch.
        """
        listed = frozenset[str]().union(*map(_listed_in, self.readings.values()))
        orphans: list[Session] = []
        unsure: list[Session] = []
        databases: dict[UnreadDatabase, None] = {}
        for session, surroundings in around.items():
            # Any entry is enough, even if the workspace is not near the session.
            if session.name in listed:
                continue
            lone = replace(answer, sessions={session.name: session})
            paths = {*self.always, *surroundings.default, *surroundings.near}
            unlisted = [self._is_unlisted(path, lone, policy, now) for path in paths]
            if False in unlisted:
                continue
            databases |= dict.fromkeys(self.databases_of(paths))
            is_unsure = not surroundings.is_whole or None in unlisted
            (unsure if is_unsure else orphans).append(session)
        read = tuple(self.readings)
        return Judged(tuple(orphans), tuple(unsure), read, tuple(databases))

    def databases_of(self, paths: Iterable[Path]) -> Iterator[UnreadDatabase]:
        """Yields the unread databases of the workspaces at the given paths."""
        for path in sorted(paths):
            if path in self.readings:
                yield from self.readings[path].databases

    def read_around(
        self, sessions: Iterable[Session], answer: TmuxSnapshot, own: frozenset[Path]
    ) -> dict[Session, Around]:
        """Reads the changed registries of the workspaces near sessions. Blocks.

        Args:
            sessions: The sessions.
            answer: The answer of tmux.
            own: Workspaces that are left out, because they were read already.

        Returns:
            Maps each session to the workspaces that may list it.
        """
        around: dict[Session, Around] = {}
        started: set[Path] = set()
        touched: set[Path] = set()
        of_user = default_workspaces({"HOME": os.path.expanduser("~"), **os.environ})
        for session, surroundings in _around(sessions, answer):
            near, default = surroundings.near - own, (surroundings.default | of_user) - own
            around[session] = replace(surroundings, near=near, default=default)
            started |= surroundings.started - own
            touched |= near | default
        # Only the first `_AT_MOST` workspaces are read. No process may displace these by naming
        # other workspaces.
        paths = dict.fromkeys(sorted(started))
        foreign = {path: why_foreign(path) is not None for path in touched}
        paths |= dict.fromkeys(sorted(touched, key=lambda path: (foreign[path], path)))
        paths |= dict.fromkeys(self._others)
        others = [path for path in paths if path not in self.always]
        self._registries = {
            path: self._registries.get(path) or Registries((Workspace(path),))
            for path in (*self.always, *others[:_AT_MOST])
        }
        self._read_all()
        return around

    def _read_all(self) -> None:
        """Reads all workspaces; workspaces of other users only up to limits."""
        foreign = {
            path
            for path in self._registries
            if path not in self.always
            and (why_foreign(path) or writers_of((), (path,)).outsider()) is not None
        }
        self.readings = readings = {
            path: _read(cached) for path, cached in self._registries.items() if path not in foreign
        }
        until = time.monotonic() + _FOREIGN_TIME
        bounds = Bounds(_FOREIGN_LARGEST, _FOREIGN_BYTES, until)
        for path in self._registries:
            if path in foreign and not bounds.are_reached:
                readings[path] = _read(self._registries[path], bounds)

    def _is_unlisted(
        self, path: Path, lone: TmuxSnapshot, policy: Policy, now: float
    ) -> bool | None:
        """Returns whether a workspace does not list a session.

        Args:
            path: The workspace.
            lone: An answer of tmux with only this session.
            policy: The minimum age of an orphan.
            now: Seconds since the epoch.

        Returns:
            True or False; None if this cannot be known.
        """
        reading = self.readings.get(path)
        if reading is None or not reading.sees_all:
            return None
        as_of = min(now, reading.known_until.by_clock())
        orphans = find_orphans(reading.states, reading.listed, lone, policy, as_of)
        if orphans == ():
            return False
        # A file that cannot be read now may list the session.
        return None if orphans is None or reading.is_unclear else True

    def listing(
        self, sessions: Collection[Session], answer: TmuxSnapshot
    ) -> Mapping[object, frozenset[Path]]:
        """Finds the registries, in workspaces near sessions, that list these sessions. Blocks.

        If this was called less than 3 seconds ago for the same sessions, returns the last result.

        Args:
            sessions: The sessions, of any server.
            answer: The answer of tmux.

        Returns:
            Maps the `identity` of each session to the registries that list the session.
        """
        about = frozenset(map(identity, sessions))
        if about != self._about or time.monotonic() >= self._again_at:
            # The sessions are of several servers. That the processes of one server are visible
            # proves nothing about the others.
            around = self.read_around(sessions, replace(answer, server_pid=None), frozenset())
            self._listing = {
                identity(session): frozenset(
                    registry
                    for path in surroundings.near & self.readings.keys()
                    for registry in _listing_in(path, self.readings[path], session.name)
                )
                for session, surroundings in around.items()
            }
            self._about, self._again_at = about, time.monotonic() + _AGAIN
        return self._listing

    @property
    def busy(self) -> bool:
        """Whether a writer prevented the last reading of any registry."""
        return any(registries.busy for registries in self._registries.values())


def identity(session: Session) -> object:
    """Returns a key that identifies a session among the sessions of all servers."""
    return session.id, session.name, session.created, session.pids


def session_name_of(agent: AgentRecord) -> str:
    """Returns the name of an agent's session, or the usual name if the entry has no name."""
    return agent.tmux_session or SESSION_PREFIX + agent.id


def _listed_in(reading: Reading) -> frozenset[str]:
    """Returns the possible names in tmux of the sessions that readable registries list."""
    records = [state.record for state in reading.states if state.record is not None]
    return frozenset[str]().union(
        *(names for names in reading.listed if names),
        *(spellings(session_name_of(agent)) for record in records for agent in record.agents),
    )


def _listing_in(workspace: Path, reading: Reading, name: str) -> Iterator[Path]:
    """Yields the registries of a workspace that list a session."""
    for state in reading.states:
        agents = state.record.agents if state.record is not None else ()
        if any(name in spellings(session_name_of(agent)) for agent in agents):
            yield state.registry
    if any(name in names for names in reading.listed if names):
        yield Workspace(workspace).global_registry


def _read(registries: Registries, bounds: Bounds | None = None) -> Reading:
    """Reads the changed registries of a workspace; returns their content."""
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
    """Yields each session with the workspaces that may list it."""
    sessions = tuple(sessions)
    if not sessions:
        return
    # Imported late, because most roll calls do not need it.
    from tui.host.process import process_tree
    from tui.host.process.process_paths import (
        Touched,
        default_workspaces_of,
        directories_of,
        directories_touched,
        is_elsewhere,
    )

    server = answer.server_process
    # In another mount namespace, the paths that the server reports mean other directories.
    hidden = answer.foreign_pids or (server is not None and is_elsewhere(server))
    seen = server is not None
    # All processes that a kill would end are examined.
    families = process_tree.families_of(sessions, answer)
    above = functools.cache(workspaces_above)
    give_up_at = time.monotonic() + PATHS_TIME
    for session in sessions:
        family = families[session]
        default = frozenset[Path]().union(*map(default_workspaces_of, family))
        if hidden:
            yield session, Around(default=default, is_whole=False)
            continue
        start = None if session.started_in is None else frozenset({Path(session.started_in)})
        directories = [start, *map(directories_of, session.pids)]
        if not session.pids:
            # All panes of the session are dead, but some of their processes may be hidden.
            directories.append(frozenset())
        touched = [
            directories_touched(pid)
            if time.monotonic() < give_up_at
            else Touched(frozenset(), is_whole=False)
            for pid in family
        ]
        # A process may have ended, or be in another PID or mount namespace.
        is_whole = all(paths.is_whole for paths in touched)
        is_whole = is_whole and all(paths is not None and (paths or seen) for paths in directories)
        near: dict[Path, frozenset[Path]] = {}
        known = frozenset[Path]().union(*(paths for paths in directories if paths))
        named = frozenset[Path]().union(*(paths.directories for paths in touched))
        for path in (*known, *(named - known)):
            if path not in known and time.monotonic() >= give_up_at:
                is_whole = False
                break
            try:
                near[path] = above(path)
            except OSError:
                # An unreadable directory counts only if its path is in a workspace.
                is_whole = is_whole and path not in known and WORKSPACE_NAME not in path.parts
        started = frozenset[Path]().union(*(near.get(path, ()) for path in start or ()))
        yield session, Around(frozenset[Path]().union(*near.values()), default, started, is_whole)
