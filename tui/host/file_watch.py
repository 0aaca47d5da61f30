"""One stream of file changes: the one door to watchfiles.

Directories are watched, not files, and not their subdirectories: agents write
logs there all day, which change nothing on the roll.
"""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

# Milliseconds: how long changes are gathered, and how often is looked. Changes
# come through within about two steps; a storm is handed on every `_DEBOUNCE`.
_DEBOUNCE = 30
_STEP = 8

# Looking costs CPU: where nothing has changed for so many seconds it is done more seldom.
_QUIET_AFTER = 30.0
_QUIET_STEP = 50

# Milliseconds after which the first look after arming is owed at the latest, and
# after which the steps are thought over.
_FIRST_LOOK = 250
_NEXT_LOOK = 10_000
_RETRY = 1.0

# As watchfiles numbers what can happen to a path (watchfiles.Change).
_DELETED = 3

_Armed = frozenset[tuple[Path, int, int]]


class DirectoryWatcher:
    """Calls back with the paths that changed in a set of directories.

    Args:
        on_change: Called in the watcher's thread with the changed paths; an empty
            set means that something may have been missed: look at everything.
        names: Only changes of files of these names are handed on, and of
            anything that is a direct entry of a root.
    """

    def __init__(
        self, on_change: Callable[[Collection[Path]], None], names: Collection[str]
    ) -> None:
        self._on_change = on_change
        self._names = frozenset(names)
        self._wanted: _Armed = frozenset()
        self._roots: frozenset[Path] = frozenset()
        self._rearm = threading.Event()
        self._change = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="muster-watch", daemon=True)

    def start(self) -> None:
        """Starts the watcher's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watcher's thread."""
        with self._change:
            self._stopped = True
            self._rearm.set()
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def watch(self, directories: Collection[Path], roots: Collection[Path]) -> None:
        """Watches exactly these directories from now on.

        To be called again after every scan: a directory that went and came
        back is another inode, and is armed anew.

        Args:
            directories: What to watch, not recursively; missing ones are left out.
            roots: Those among them where any new or vanished entry counts.
        """
        with self._change:
            wanted = frozenset(_identified(directories))
            self._roots = frozenset(roots)
            if wanted != self._wanted:
                self._wanted = wanted
                self._rearm.set()
                self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._stopped and not self._wanted:
                    self._change.wait()
                if self._stopped:
                    return
                self._rearm.clear()
                wanted = self._wanted
            self._watch_until_rearmed([path for path, _, _ in wanted])

    def _watch_until_rearmed(self, directories: list[Path]) -> None:
        # Imported when the first frame is on its way, and not for a look without a screen.
        from watchfiles._rust_notify import RustNotify

        try:
            with RustNotify(list(map(str, directories)), False, False, 0, False, False) as notify:
                self._hand_on(notify, directories)
        except (OSError, RuntimeError):
            # A directory vanished while it was being armed, or the system's
            # watches are used up: the slow rescan carries on meanwhile.
            self._rearm.wait(_RETRY)
            self._on_change(())

    def _hand_on(self, notify: RustNotify, directories: list[Path]) -> None:
        changed_at = time.monotonic()
        timeout = _FIRST_LOOK
        while not self._rearm.is_set():
            quiet = time.monotonic() - changed_at > _QUIET_AFTER
            step = _QUIET_STEP if quiet else _STEP
            found = notify.watch(_DEBOUNCE, step, timeout, self._rearm)
            if timeout == _FIRST_LOOK:
                # What changed before the watch was in place went unseen.
                timeout = _NEXT_LOOK
                self._on_change(())
            if isinstance(found, str):
                continue
            changed_at = time.monotonic()
            gone = {path for change, path in found if change == _DELETED}
            relevant = self._forget({path for path in directories if str(path) in gone})
            relevant |= {Path(path) for _, path in found if self._matters(Path(path))}
            if relevant:
                self._on_change(relevant)

    def _forget(self, gone: set[Path]) -> set[Path]:
        """Takes watched directories for gone, so that the next `watch` arms them anew.

        Their numbers do not tell: a file system may give the same to the next.
        """
        if gone:
            with self._change:
                self._wanted = frozenset(each for each in self._wanted if each[0] not in gone)
        return gone

    def _matters(self, path: Path) -> bool:
        return path.name in self._names or path.parent in self._roots


def _identified(directories: Collection[Path]) -> Iterator[tuple[Path, int, int]]:
    for path in directories:
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield path, status.st_dev, status.st_ino
