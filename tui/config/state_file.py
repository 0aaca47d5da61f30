"""Reads and writes the state file, which keeps what the operator set on the screen.

The file is a convenience: if it cannot be read or written, muster starts and quits without it.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry.errors import RegistryError
from tui.host.asker import Asker, NoAnswerError

_LARGEST = 1 << 16

# Seconds to wait for the file system at the start and at the end of muster.
_PATIENCE = 1.0

# The folders .local, state and muster.
_MADE_AT_MOST = 3


def state_path(environment: Mapping[str, str]) -> Path | None:
    """Returns the path of the state file; None if the user has no home directory."""
    base = Path(environment.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        # The XDG base directory specification says to ignore a relative path.
        base = Path(os.path.expanduser("~/.local/state"))
    return base / "muster" / "state.json" if base.is_absolute() else None


class StateFile:
    """The state file. Its methods raise no errors, and wait a second at most. Thread-safe.

    Args:
        path: The path of the file; neither the file nor its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._asker = Asker[dict[str, Any]]()

    def load(self) -> dict[str, Any]:
        """Returns the values in the file, not checked; none if the file cannot be used.

        Only a regular file of this user is read, because the file decides what is hidden.
        """
        return self._ask(lambda: _read(self._path))

    def save(self, values: Mapping[str, Any]) -> None:
        """Replaces the file by one with these values, as a whole, for this user alone."""
        self._ask(lambda: _write(self._path, values))

    def _ask(self, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            try:
                return self._asker.ask(function, _PATIENCE)
            except (RegistryError, OSError, ValueError, RecursionError, NoAnswerError):
                return {}


def _read(path: Path) -> dict[str, Any]:
    # O_NONBLOCK: opening a FIFO would wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            return {}
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        return {}
    import json

    values = json.loads(content.decode("utf-8"))
    return values if isinstance(values, dict) else {}


def _write(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    import json

    from registry.storage import replace_whole

    text = json.dumps(values, indent=1).encode() + b"\n"
    _make_folder(path.parent)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With sudo, HOME may be the home directory of another user.
        if os.fstat(folder).st_uid == os.geteuid():
            replace_whole(path.name, folder, text, lambda _: None, (os.geteuid(),))
    finally:
        os.close(folder)
    return {}


def _make_folder(folder: Path) -> None:
    """Creates the folder and the two above it; not the home directory, if that is missing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if not missing or len(missing) > _MADE_AT_MOST:
        return
    if missing[-1].parent.stat().st_uid == os.geteuid():
        folder.mkdir(0o700, parents=True, exist_ok=True)
