"""The environment of tests and benchmarks, which is independent of the user and the machine.

The temporary directory has no workspace in or above it. The user's settings, workspaces, locale,
time zone, terminal and tmux have no effect.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from registry.schema.places import ENVIRONMENT_VARIABLE
from registry.schema.workspaces_around import DEFAULT_VARIABLE, workspaces_above

MEMORY = "/dev/shm"
"""A directory in memory. Tests create thousands of files, which would be slow on a disk."""

ROOM = 4 << 30
"""The bytes that must be free in `MEMORY`."""

PLACES = ("/var/tmp", MEMORY)
"""Directories for temporary files if a workspace is in or above the usual directory."""


ENVIRONMENT = {
    # HOME decides the default workspaces, and an orchestrator may list any session there.
    "HOME": "/proc/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "XDG_CONFIG_HOME": "/proc/nonexistent",
    "XDG_STATE_HOME": "/proc/nonexistent",
}
"""Variables that replace the user's values."""

_UNSET = (
    *("COLUMNS", "EDITOR", "FORCE_COLOR", "LINES", "NO_COLOR", "PAGER", "TMUX", "TMUX_PANE"),
    "VISUAL",
    *(DEFAULT_VARIABLE, ENVIRONMENT_VARIABLE),
)


def secluded(places: Iterable[str | Path]) -> Path | None:
    """Returns the first writable directory that has no workspace in or above it, or None."""
    for each in map(Path, places):
        try:
            if os.access(each, os.W_OK | os.X_OK) and not workspaces_above(each.resolve()):
                return each
        except OSError:
            # A directory that cannot be searched may contain a workspace.
            continue
    return None


def has_room(directory: str) -> bool:
    """Whether a directory has much free space, and programs in it can be run."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize >= ROOM and not status.f_flag & os.ST_NOEXEC


def seclude(*, in_memory: bool = False) -> None:
    """Makes this process and its children independent of the user's environment.

    Args:
        in_memory: Whether to put temporary files in memory. Has no effect if the user has set
            TMPDIR, or if the memory has too little space.

    Raises:
        RuntimeError: All directories for temporary files have a workspace in or above them.
    """
    places: tuple[str, ...] = (tempfile.gettempdir(), *PLACES)
    if in_memory and "TMPDIR" not in os.environ and has_room(MEMORY):
        places = (MEMORY, *places)
    place = secluded(places)
    if place is None:
        raise RuntimeError(
            f"a workspace lies in or above each of {', '.join(places)}: "
            "set TMPDIR to a directory with none above it"
        )
    for name in [*os.environ]:
        # Variables of muster, and of terminals: pytest's workers set the terminal's size.
        if name in _UNSET or name.startswith("MUSTER_"):
            del os.environ[name]
    os.environ.update(ENVIRONMENT)
    time.tzset()
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
