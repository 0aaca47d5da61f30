"""Reports changes of files. Only this module imports watchfiles.

Subdirectories are not watched: agents write logs in subdirectories all the time, and these logs do
not change the roll.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tui.host.asker import Asker, NoAnswerError
from tui.host.directory_identity import Watched, identified
from tui.text.sanitize import harmless

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

_log = logging.getLogger(__name__)

# Milliseconds: how long changes are collected, and the polling interval. A change arrives
# within about two intervals; a burst of changes is passed on every `_DEBOUNCE`.
_DEBOUNCE = 30
_STEP = 8

# Polling costs CPU, so the interval grows after this number of seconds without a change.
_QUIET_AFTER = 30.0
_QUIET_STEP = 50

# Milliseconds: the timeout of the first poll, and of later polls. After each poll the interval
# is computed again.
_FIRST_LOOK = 250
_NEXT_LOOK = 10_000
_RETRY = 1.0
_LONGEST_RETRY = 60.0

_BLIND = (
    "Changes of registries are seen only every few seconds, because the directories cannot be "
    "watched. If the system has no free watches, raise fs.inotify.max_user_watches or "
    "max_user_instances with sysctl: %s"
)

# The number of "deleted" in watchfiles.Change.
_DELETED = 3


class DirectoryWatcher:
    """Calls a function with the paths that changed in a set of directories.

    Args:
        on_change: Called in the watcher's thread with the changed paths. An empty set means
            that changes may have been missed, and everything must be read.
        names: The names of files whose changes are reported. Changes of all direct entries of a
            root are reported too.
    """

    def __init__(
        self, on_change: Callable[[Collection[Path]], None], names: Collection[str]
    ) -> None:
        self._on_change = on_change
        self._names = frozenset(names)
        self._wanted: frozenset[Watched] = frozenset()
        self._roots: frozenset[Path] = frozenset()
        self._askers: dict[int, Asker[frozenset[Watched]]] = {}
        self._rearm = threading.Event()
        # Seconds until the next attempt after a failure.
        self._pause = _RETRY
        self._change = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="muster-watch", daemon=True)

    def start(self) -> None:
        """Starts the watcher's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the watcher's thread, and waits at most 2 s for the end of the thread."""
        with self._change:
            self._stopped = True
            self._rearm.set()
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def watch(self, watched: Collection[Watched], roots: Collection[Path]) -> None:
        """Sets the watched directories. Accesses no file.

        Call this again after every scan: a directory that was removed and created again has
        another inode, and needs a new watch.

        Args:
            watched: The directories, without their subdirectories; see `identified`.
            roots: The watched directories of which all new or removed entries are reported.
        """
        with self._change:
            wanted = frozenset(watched)
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
            self._watch_until_rearmed(self._answering(wanted))

    def _answering(self, wanted: Iterable[Watched]) -> list[Path]:
        """Returns the directories that can be accessed now.

        While watchfiles accesses a directory, no other thread can run. So a directory on a file
        system that does not answer would stop the whole program.
        """
        by_device: dict[int, list[Path]] = {}
        for path, device, _ in wanted:
            by_device.setdefault(device, []).append(path)
        for device, paths in by_device.items():
            asker = self._askers.setdefault(device, Asker())
            asker.begin(lambda _, paths=paths: identified(paths))  # type: ignore[misc]
        answering: list[Path] = []
        for device, paths in by_device.items():
            try:
                answering += [path for path, _, _ in self._askers[device].end()]
            except NoAnswerError:
                # The next call of `watch` tries it again.
                self._forget(set(paths))
        return answering

    def _watch_until_rearmed(self, directories: list[Path]) -> None:
        # Imported late: commands without a screen do not need it, nor does the first frame.
        from watchfiles._rust_notify import RustNotify

        try:
            # The last argument makes it skip a directory that this user may not read. The
            # periodic scan finds changes there.
            with RustNotify(list(map(str, directories)), False, False, 0, False, True) as notify:
                self._pause = _RETRY
                self._hand_on(notify, directories)
        except FileNotFoundError:
            # A directory disappeared during the setup.
            self._rearm.wait(_RETRY)
            self._on_change(())
        except (OSError, RuntimeError) as error:
            if self._pause == _RETRY:
                _log.error(_BLIND, harmless(str(error).partition(" about ")[0]))
            # The periodic scan finds changes meanwhile.
            self._rearm.wait(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_RETRY)

    def _hand_on(self, notify: RustNotify, directories: list[Path]) -> None:
        changed_at = time.monotonic()
        timeout = _FIRST_LOOK
        while not self._rearm.is_set():
            quiet = time.monotonic() - changed_at > _QUIET_AFTER
            step = _QUIET_STEP if quiet else _STEP
            changes = notify.watch(_DEBOUNCE, step, timeout, self._rearm)
            if timeout == _FIRST_LOOK:
                # Changes before the start of the watch were missed.
                timeout = _NEXT_LOOK
                self._on_change(())
            if isinstance(changes, str):
                continue
            changed_at = time.monotonic()
            gone = {path for change, path in changes if change == _DELETED}
            relevant = self._forget({path for path in directories if str(path) in gone})
            relevant |= {Path(path) for _, path in changes if self._matters(Path(path))}
            if relevant:
                self._on_change(relevant)

    def _forget(self, gone: set[Path]) -> set[Path]:
        """Forgets deleted directories, so that the next `watch` watches them again.

        To compare inode numbers is not enough: a file system may reuse the number for the new
        directory.
        """
        if gone:
            with self._change:
                self._wanted = frozenset(entry for entry in self._wanted if entry[0] not in gone)
        return gone

    def _matters(self, path: Path) -> bool:
        return path.name in self._names or path.parent in self._roots
