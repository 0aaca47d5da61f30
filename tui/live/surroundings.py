"""Finds the workspaces near sessions, by the directories that the sessions' processes use."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.dataclass import dataclass
from registry.schema import WORKSPACE_NAME, workspaces_above
from tui.host.asker import Asker, NoAnswerError
from tui.host.tmux_types import Session, TmuxSnapshot
from tui.progress import ProgressCallback

PATHS_TIME = 3.0
"""The time in seconds for the paths that the processes of all examined sessions name.

Without the limit, a process of another user could stall muster with very many long paths.
"""

_TASK = "TASK-"

# A step reads many files of /proc.
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Around:
    """The workspaces that may list a session.

    Attributes:
        near: The known workspaces near the session.
        default: The paths of default workspaces of orchestrators, which may list any session. Some
            of these workspaces may not exist.
        homes: The home directories of the session's processes. An orchestrator there may list more
            workspaces.
        started: The workspaces in `near` at or above the directory where the session was started.
        is_whole: Whether all workspaces near the session are known.
    """

    near: frozenset[Path] = frozenset()
    default: frozenset[Path] = frozenset()
    started: frozenset[Path] = frozenset()
    is_whole: bool = True
    homes: frozenset[str] = frozenset()


class Surroundings:
    """Finds the workspaces near sessions; waits for no file system that does not answer."""

    def __init__(self) -> None:
        self._asker: Asker[None] = Asker()

    def of(self, sessions: Iterable[Session], answer: TmuxSnapshot) -> Mapping[Session, Around]:
        """Maps each session to the workspaces that may list it. Blocks.

        If a file system does not answer, not all workspaces near the sessions are known. This is
        so until it answers.

        Args:
            sessions: The sessions.
            answer: The answer of tmux.
        """
        wanted = tuple(sessions)
        around: dict[Session, Around] = {}
        if not wanted:
            return around
        try:
            if self._asker.is_hanging:
                raise NoAnswerError
            self._asker.begin(functools.partial(_examine, wanted, answer, around))
            self._asker.end(_PATIENCE)
        except NoAnswerError:
            around = dict(around)
        return {session: around.get(session, Around(is_whole=False)) for session in wanted}


def _examine(
    sessions: tuple[Session, ...],
    answer: TmuxSnapshot,
    around: dict[Session, Around],
    step: ProgressCallback,
) -> None:
    """Adds each session with the workspaces near it to a mapping.

    Args:
        sessions: The sessions.
        answer: The answer of tmux.
        around: The mapping.
        step: Called after each step.
    """
    # Imported late, because most roll calls do not need it.
    from tui.host.process import process_tree
    from tui.host.process.process_paths import (
        Touched,
        default_paths_of,
        directories_of,
        directories_touched,
        homes_of,
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
    for done, session in enumerate(sessions):
        family = families[session]
        default = frozenset[Path]().union(*map(default_paths_of, family))
        homes = frozenset[str]().union(*map(homes_of, family))
        # Until the paths are examined, and if their file systems do not answer.
        around[session] = Around(default=default, is_whole=False, homes=homes)
        if hidden:
            continue
        start = None if session.started_in is None else frozenset({Path(session.started_in)})
        directories = [start, *map(directories_of, session.pids)]
        if not session.pids:
            # All panes of the session are dead, but some of their processes may be hidden.
            directories.append(frozenset())
        touched: list[Touched] = []
        for pid in family:
            step("Looking for workspaces", done, len(sessions))
            in_time = time.monotonic() < give_up_at
            touched.append(
                directories_touched(pid) if in_time else Touched(frozenset(), is_whole=False)
            )
        # A process may have ended, or be in another PID or mount namespace.
        is_whole = all(paths.is_whole for paths in touched)
        is_whole = is_whole and all(paths is not None and (paths or seen) for paths in directories)
        near: dict[Path, frozenset[Path]] = {}
        known = frozenset[Path]().union(*(paths for paths in directories if paths))
        used = frozenset[Path]().union(*(paths.directories for paths in touched))
        likely = known.union(*(paths.named for paths in touched))
        for path in (*known, *(used - known)):
            step("Looking for workspaces", done, len(sessions))
            if path not in known and time.monotonic() >= give_up_at:
                is_whole = False
                break
            try:
                near[path] = above(path)
            except OSError:
                # An unreadable directory counts only if its path is, or may be, in a workspace.
                is_whole = is_whole and path not in likely and not _is_in_workspace(path)
        started = frozenset[Path]().union(*(near.get(path, ()) for path in start or ()))
        around[session] = Around(
            frozenset[Path]().union(*near.values()), default, started, is_whole, homes
        )


def _is_in_workspace(path: Path) -> bool:
    """Returns whether a path is in a workspace, by the names in the path."""
    return WORKSPACE_NAME in path.parts or any(part.startswith(_TASK) for part in path.parts)
