"""Finds out whether sessions belong to agents of workspaces that the user did not name.

Several projects may share one tmux server. So before muster calls a session an orphan, it also
reads the workspaces near the session. A workspace is near a session if any of these is true:

- The workspace is at or above the directory in which the session was started.
- The workspace is at or above a directory of a process that a kill of the session would end.
  Directories of a process are its working directory, the directories of its open files, and the
  directories that its command line or environment names.

muster also reads the default workspaces of the user, and the workspaces in the orchestrator's
list. Their agents may run in any directory.

An entry in these registries can only protect a session from a kill. So the registries may belong
to any user. Workspaces of other users are read only up to limits. If muster cannot read a
workspace completely, or if the workspace has a database, the workspace may list further agents.
Then it is unknown whether the sessions near this workspace are orphans.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from registry.agent_output import find_deployed
from registry.dataclass import dataclass, replace
from registry.schema import (
    DATABASE,
    SESSION_PREFIX,
    AgentRecord,
    Instant,
    KnownPaths,
    UnreadDatabase,
    Workspace,
    default_paths,
    known_paths,
    resolved_default,
    spellings,
    user_environment,
    why_foreign,
)
from registry.storage import writers_of
from registry.text import shown_name
from tui.host.asker import PATIENCE, Asker, NoAnswerError
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.live.registry_cache import Bounds, Registries
from tui.live.surroundings import Around, Surroundings
from tui.model.orphans import find_orphans
from tui.model.policy import Policy
from tui.model.roll import TaskState
from tui.progress import ProgressCallback

Result = TypeVar("Result")

_LIST = Path("the workspaces that the orchestrator knows")

_AT_MOST = 16
"""The largest number of workspaces near sessions that are read."""

_LISTS = 4
"""The largest number of lists of known workspaces that are read because processes name them."""

_FOREIGN_TASKS = 1000
_FOREIGN_LARGEST = 1 << 20
_FOREIGN_BYTES = 4 << 20
_FOREIGN_TIME = 1.0
"""The limits of one reading of other users' workspaces that the user did not name.

The limits are: tasks in one workspace, bytes of one registry, bytes of all registries, and seconds
for all these workspaces. Without limits, another user could make the reading very slow. The limit
of all bytes is five times the size of the largest known registry.
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
class Reading:
    """The last known content of the registries of one workspace.

    Attributes:
        states: The tasks of the workspace.
        listed: The result of `Registries.listed_sessions`.
        databases: The unread databases, which may have agents that are in no registry.
        sees_all: Whether the workspace was read completely.
        known_until: The last moment at which the content was known to be current.
        processes: Maps the pids of active agents in the global registry to the agents' ids.
        is_unclear: Whether the workspace may list further sessions, because muster cannot read a
            part of the workspace now.
    """

    states: tuple[TaskState, ...]
    listed: tuple[frozenset[str] | None, ...]
    databases: tuple[UnreadDatabase, ...]
    sees_all: bool
    known_until: Instant
    is_unclear: bool
    processes: Mapping[int, str]


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
        self._surroundings = Surroundings()
        # One for each path, so that a path that does not answer is not examined again.
        self._askers: dict[Path, Asker[Any]] = {}
        self.always = tuple(sorted({Path(os.path.realpath(path)) for path in always}))
        self.readings: Mapping[Path, Reading] = {}
        self._registries: dict[Path, Registries] = {}
        self._others = tuple(others)
        self._own = frozenset[Path]()
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
        deployed = self._deployed(session for session in around if session.name not in listed)
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
            if session.name in deployed:
                databases[deployed[session.name]] = None
                unsure.append(session)
                continue
            is_unsure = not surroundings.is_whole or None in unlisted
            (unsure if is_unsure else orphans).append(session)
        read = tuple(self.readings)
        return Judged(tuple(orphans), tuple(unsure), read, tuple(databases))

    def _deployed(self, sessions: Iterable[Session]) -> dict[str, UnreadDatabase]:
        """Maps the names of sessions to databases that lack an agent that was deployed to them.

        The database may have been moved aside, or replaced by an older copy. Or another program
        locks it, and the orchestrator has not yet written the agent that it started.
        """
        prefix = len(SESSION_PREFIX)
        ids = {each.name[prefix:] for each in sessions if each.name.startswith(SESSION_PREFIX)}
        if not ids:
            return {}
        paths = self._own.union(self.readings)
        found = self._ask({path: partial(_find_deployed, path, ids) for path in paths})
        return {
            f"{SESSION_PREFIX}{agent_id}": UnreadDatabase(
                Workspace(path).global_registry.with_name(DATABASE),
                f"lacks agent {shown_name(agent_id)}, whose deployment {shown_name(file)} records",
            )
            for path, files in found.items()
            for agent_id, file in files.items()
        }

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
        self._own = own
        surroundings = self._surroundings.of(sessions, answer)
        # Without sessions, nothing depends on the default workspaces.
        known = self._known_paths() if surroundings else KnownPaths()
        lists = self._lists_of(frozenset[str]().union(*(e.homes for e in surroundings.values())))
        of_user = frozenset(
            (*default_paths(user_environment()), *known.paths) if surroundings else ()
        )
        default = self._resolved(
            of_user.union(
                *(each.default for each in surroundings.values()),
                *(known_there.paths for known_there in lists.values()),
            )
        )
        kept = frozenset[Path]().union(*(default[path] for path in of_user)) - own
        # The list itself stands for the workspaces in it that are not known now.
        around: dict[Session, Around] = {}
        started: set[Path] = set()
        touched: set[Path] = set()
        for session, found in surroundings.items():
            its_lists = (known, *(lists[home] for home in found.homes if home in lists))
            is_whole = all(each.is_whole for each in its_lists) and found.homes <= lists.keys()
            unread = frozenset[Path]() if is_whole else frozenset({_LIST})
            named = found.default.union(of_user, *(each.paths for each in its_lists))
            keeping = frozenset[Path]().union(*(default[path] for path in named)) - own
            around[session] = replace(found, near=found.near - own, default=keeping | unread)
            started |= found.started - own
            touched |= around[session].near | keeping
        # Besides the workspaces of the user, only the first `_AT_MOST` workspaces are read. No
        # process may displace these by naming other workspaces.
        paths = dict.fromkeys(sorted(started))
        foreign = self._ask({path: partial(_is_foreign, path) for path in touched})
        paths |= dict.fromkeys(sorted(foreign, key=lambda path: (foreign[path], path)))
        paths |= dict.fromkeys(self._others)
        ours = (*self.always, *sorted(kept.difference(self.always)))
        others = [path for path in paths if path not in ours]
        self._registries = {
            path: self._registries.get(path) or Registries((Workspace(path),))
            for path in (*ours, *others[:_AT_MOST])
        }
        self._read_all()
        return around

    def _known_paths(self) -> KnownPaths:
        """Returns the paths of the workspaces in the orchestrator's list."""
        found = self._ask({_LIST: partial(_known, user_environment())})
        return found.get(_LIST, KnownPaths(is_whole=False))

    def _lists_of(self, homes: frozenset[str]) -> Mapping[str, KnownPaths]:
        """Maps the home directories of processes to the paths in the lists there.

        Only `_LISTS` of these lists are read. The list of the user is left to `_known_paths`.
        """
        of_user = os.path.normpath(user_environment()["HOME"])
        others = sorted(homes - {of_user})[:_LISTS]
        found = self._ask(
            {Path(f"{_LIST}{home}"): partial(_known_there, {"HOME": home}) for home in others}
        )
        lists = {
            home: found.get(Path(f"{_LIST}{home}"), KnownPaths(is_whole=False)) for home in others
        }
        return {of_user: KnownPaths(), **lists}

    def _resolved(self, paths: Iterable[Path]) -> Mapping[Path, frozenset[Path]]:
        """Maps each path of a default workspace to the workspace, or to nothing.

        A path whose file system does not answer stays as it is: a workspace may be there.
        """
        wanted = tuple(paths)
        found = self._ask({path: partial(_resolved, path) for path in wanted})
        return {path: found.get(path, frozenset({path})) for path in wanted}

    def _ask(
        self, calls: Mapping[Path, Callable[[ProgressCallback], Result]]
    ) -> dict[Path, Result]:
        """Calls functions that examine workspaces, each in its own thread.

        Args:
            calls: Maps a path to the function that examines it.

        Returns:
            Maps each path to the result; without the paths whose file systems do not answer.
        """
        begun: list[Path] = []
        for path, call in calls.items():
            asker = self._askers.setdefault(path, Asker())
            if not asker.is_hanging:
                asker.begin(call)
                begun.append(path)
        results: dict[Path, Result] = {}
        for path in begun:
            with contextlib.suppress(NoAnswerError):
                results[path] = self._askers[path].end(PATIENCE)
        return results

    def _read_all(self) -> None:
        """Reads all workspaces; workspaces of other users only up to limits."""
        foreign = self._ask(
            {
                path: partial(_is_of_others, path)
                for path in self._registries
                if path not in self.always
            }
        )
        ours = [
            path for path in self._registries if not foreign.get(path, path not in self.always)
        ]
        self.readings = readings = self._ask(
            {path: partial(_read, self._registries[path], None) for path in ours}
        )
        until = time.monotonic() + _FOREIGN_TIME
        bounds = Bounds(_FOREIGN_LARGEST, _FOREIGN_BYTES, until)
        for path in self._registries:
            if foreign.get(path) and not bounds.are_reached:
                readings |= self._ask({path: partial(_read, self._registries[path], bounds)})

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
        *(
            spellings(session_name_of(agent))
            for record in records
            for agent in record.with_sessions
        ),
    )


def _listing_in(workspace: Path, reading: Reading, name: str) -> Iterator[Path]:
    """Yields the registries of a workspace that list a session."""
    for state in reading.states:
        agents = state.record.with_sessions if state.record is not None else ()
        if any(name in spellings(session_name_of(agent)) for agent in agents):
            yield state.registry
    if any(name in names for names in reading.listed if names):
        yield Workspace(workspace).global_registry


def _known(environment: Mapping[str, str], _: ProgressCallback) -> KnownPaths:
    return known_paths(environment)


def _known_there(environment: Mapping[str, str], _: ProgressCallback) -> KnownPaths:
    return known_paths(environment, of_process=True)


def _resolved(path: Path, _: ProgressCallback) -> frozenset[Path]:
    return resolved_default((path,))


def _is_foreign(path: Path, _: ProgressCallback) -> bool:
    return why_foreign(path) is not None


def _find_deployed(path: Path, ids: Collection[str], _: ProgressCallback) -> dict[str, Path]:
    return find_deployed(path, ids)


def _is_of_others(path: Path, _: ProgressCallback) -> bool:
    """Returns whether a user besides this user and root may have written a workspace."""
    return (why_foreign(path) or writers_of((), (path,)).outsider()) is not None


def _read(registries: Registries, bounds: Bounds | None, progress: ProgressCallback) -> Reading:
    """Reads the changed registries of a workspace; returns their content."""
    registries.rescan(progress, None if bounds is None else _FOREIGN_TASKS, bounds)
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
        ChainMap(*(dict(record.processes) for record in registries.global_records().values())),
    )
