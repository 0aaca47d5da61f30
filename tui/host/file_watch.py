"""Reports changes of files. Only this module imports watchfiles.

Subdirectories are not watched, because agents write logs in subdirectories all the time. These
logs do not change the roll.
"""

from __future__ import annotations

import logging
import os
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

# The time in which changes are collected, and the polling interval, both in milliseconds. A single
# change is reported after about two intervals.
_DEBOUNCE = 30
_STEP = 8

# Polling costs CPU, so the interval grows after this number of seconds without a change.
_QUIET_AFTER = 30.0
_QUIET_STEP = 50

# The timeouts of the first poll and of later polls, in milliseconds. After each poll, the polling
# interval is chosen again.
_FIRST_LOOK = 250
_NEXT_LOOK = 10_000
_RETRY = 1.0
_LONGEST_RETRY = 60.0

_BLIND = (
    "cannot watch the directories of registries (%s), so muster sees changes only every few "
    "seconds; if the system has no free watches, raise fs.inotify.max_user_watches or "
    "fs.inotify.max_user_instances with sysctl"
)

# The number of "deleted" in watchfiles.Change.
_DELETED = 3


class DirectoryWatcher:
    """Calls a function with the paths that changed in a set of directories.

    Args:
        on_change: Called in the watcher's thread with the changed paths. An empty set means that
            changes may have been missed, so that all files must be read again.
        names: The names of the files whose changes are reported. In roots (see `watch`), changes
            of all direct entries are reported.
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
        """Replaces the set of watched directories. Accesses no file.

        Call this method again after every scan of the workspaces: a directory that was removed and
        created again has another inode, and needs a new watch.

        Args:
            watched: The directories, without their subdirectories; see `identified`.
            roots: The directories among `watched` in which changes of all direct entries are
                reported.
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
        """Returns the directories that muster may read, and whose file systems answer.

        While watchfiles accesses a directory, no other thread of muster can run. So a directory on
        a file system that does not answer would stop the whole program.
        """
        by_device: dict[int, list[Path]] = {}
        for path, device, _ in wanted:
            by_device.setdefault(device, []).append(path)
        for device, paths in by_device.items():
            asker = self._askers.setdefault(device, Asker())
            asker.begin(lambda _, paths=paths: _readable(paths))  # type: ignore[misc]
        answering: list[Path] = []
        for device, paths in by_device.items():
            try:
                answering += [path for path, _, _ in self._askers[device].end()]
            except NoAnswerError:
                # The next call of `watch` tries these directories again.
                self._forget(set(paths))
        return answering

    def _watch_until_rearmed(self, directories: list[Path]) -> None:
        # Imported late, because the first frame, and commands without a screen, do not need it.
        from watchfiles._rust_notify import RustNotify

        paths = list(map(str, directories))
        try:
            try:
                notify = RustNotify(paths, False, False, 0, False, False)
            except PermissionError:
                # A security module can refuse a watch of a readable directory. The last argument
                # skips such directories, and the periodic scan finds their changes. But it also
                # hides that the system has no free watches.
                notify = RustNotify(paths, False, False, 0, False, True)
            with notify:
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
        """Forgets deleted directories, so that the next call of `watch` watches them again.

        Returns:
            The same directories.
        """
        # To compare inodes is not enough: a file system may give the new directory the same inode.
        if gone:
            with self._change:
                self._wanted = frozenset(entry for entry in self._wanted if entry[0] not in gone)
        return gone

    def _matters(self, path: Path) -> bool:
        return path.name in self._names or path.parent in self._roots


def _readable(paths: Iterable[Path]) -> frozenset[Watched]:
    """Returns the directories that muster is allowed to watch."""
    return frozenset(
        watched
        for watched in identified(paths)
        if os.access(watched[0], os.R_OK, effective_ids=True)
    )
