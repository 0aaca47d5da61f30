"""A temporary directory beneath which no workspace but a test's own is found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from registry.schema.layout import workspaces_above

PLACES = ("/var/tmp", "/dev/shm")
"""Where temporary files may lie when a workspace lies above the usual directory."""


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


def seclude() -> None:
    """Has this process and those that it starts make temporary files where no workspace is.

    Raises:
        RuntimeError: There is no such directory.
    """
    usual = tempfile.gettempdir()
    place = secluded((usual, *PLACES))
    if place is None:
        raise RuntimeError(
            f"a workspace lies in or above each of {', '.join((usual, *PLACES))}: "
            "set TMPDIR to a directory with none above it"
        )
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
