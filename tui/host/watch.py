"""One stream of file changes: the one door to watchfiles.

Directories are watched, not files, and not their subdirectories: agents write
logs there all day, which change nothing on the roll.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

# Milliseconds: how long changes are gathered, and how often is looked. Changes
# come through within about one step; a storm is handed on every `_DEBOUNCE`.
_DEBOUNCE = 50
_STEP = 8

# Milliseconds after which the first look after arming is owed at the latest.
_FIRST_LOOK = 250
_RETRY = 1.0

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
        import watchfiles

        armed = False
        try:
            for changes in watchfiles.watch(
                *directories,
                watch_filter=None,
                debounce=_DEBOUNCE,
                step=_STEP,
                rust_timeout=_FIRST_LOOK,
                yield_on_timeout=True,
                stop_event=self._rearm,
                raise_interrupt=False,
                recursive=False,
            ):
                if not armed:
                    # What changed before the watch was in place went unseen.
                    armed = True
                    self._on_change(())
                gone = {path for change, path in changes if change is watchfiles.Change.deleted}
                relevant = self._forget({path for path in directories if str(path) in gone})
                relevant |= {Path(path) for _, path in changes if self._matters(Path(path))}
                if relevant:
                    self._on_change(relevant)
        except (OSError, RuntimeError):
            # A directory vanished while it was being armed, or the system's
            # watches are used up: the slow rescan carries on meanwhile.
            self._rearm.wait(_RETRY)
            self._on_change(())

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
