"""What tests and benchmarks run under, whoever runs them, and wherever.

They have a temporary directory with no workspace above it, and none of the user's settings,
workspaces, locale, time zone, terminal and tmux.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from registry.schema.layout import ENVIRONMENT_VARIABLE, workspaces_above

MEMORY = "/dev/shm"
"""Where temporary files lie in memory: thousands are made, and each waits for a disk."""

ROOM = 4 << 30
"""Bytes that must be free there."""

PLACES = ("/var/tmp", MEMORY)
"""Where temporary files may lie when a workspace lies above the usual directory."""


ENVIRONMENT = {
    # The default workspaces, too: an orchestrator may have any session listed there.
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "XDG_CONFIG_HOME": "/nonexistent",
}
"""What takes the place of what the user has set."""

_UNSET = ("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TMUX", "TMUX_PANE", ENVIRONMENT_VARIABLE)


def secluded(places: Iterable[str | Path]) -> Path | None:
    """The first directory that tests can write and that has no workspace in or above it."""
    for each in map(Path, places):
        try:
            if os.access(each, os.W_OK | os.X_OK) and not workspaces_above(each.resolve()):
                return each
        except OSError:
            # What must not be looked into may hide a workspace.
            continue
    return None


def has_room(directory: str) -> bool:
    """Whether much can be written to a directory, and programs in it can be run."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize >= ROOM and not status.f_flag & os.ST_NOEXEC


def seclude(*, in_memory: bool = False) -> None:
    """Has this process and those that it starts depend on nothing of the user.

    Args:
        in_memory: Whether temporary files lie in memory, unless the user has set TMPDIR or
            there is no room for them.

    Raises:
        RuntimeError: A workspace lies above every directory for temporary files.
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
        # What is set for muster, or for a terminal: pytest's workers set the size of one.
        if name in _UNSET or name.startswith("MUSTER_"):
            del os.environ[name]
    os.environ.update(ENVIRONMENT)
    time.tzset()
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
