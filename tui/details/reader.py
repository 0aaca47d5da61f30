"""Reads the data of the details panel's open tab in a separate thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

from tui.details.sources import PanelSource

STUCK = 5.0
"""Seconds after which a new thread replaces a reading thread that is blocked."""

_log = logging.getLogger(__name__)


class Follower:
    """Reads one source repeatedly, until `follow` is called with another source.

    A file system or a tmux server that does not answer blocks only the reading thread. If a result
    arrives after a call of `follow` with another source, the result is dropped.

    Args:
        deliver: Called with the source's key and its new content, in the reading thread.
    """

    def __init__(self, deliver: Callable[[Hashable, object], object]) -> None:
        self._deliver = deliver
        self._change = threading.Condition()
        self._wanted: tuple[Hashable, PanelSource] | None = None
        self._told = False
        self._thread = 0
        self._started = False
        self._busy_since: float | None = None

    def follow(self, key: Hashable, source: PanelSource) -> None:
        """Starts to read another source repeatedly. Does not block."""
        with self._change:
            self._wanted, self._told = (key, source), True
            busy = self._busy_since
            if not self._started or (busy is not None and time.monotonic() - busy > STUCK):
                self._thread += 1
                self._started, self._busy_since = True, None
                threading.Thread(
                    target=self._run, args=(self._thread,), name="muster-panel", daemon=True
                ).start()
            self._change.notify_all()

    def wake(self) -> None:
        """Makes the thread read the source at once. Does not block."""
        with self._change:
            self._told = True
            self._change.notify_all()

    def stop(self) -> None:
        """Ends the reading thread; does not wait for its end."""
        with self._change:
            self._wanted = None
            self._thread += 1
            self._change.notify_all()

    def _run(self, thread: int) -> None:
        current: tuple[Hashable, PanelSource] | None = None
        while True:
            wanted = self._wait(thread, current)
            if wanted is not current and current is not None:
                current[1].close()
            current = wanted
            if current is None:
                return
            try:
                content = current[1].read()
            except Exception:
                # The thread must survive, to read the next source.
                _log.exception("cannot read the content of the panel")
                content = None
            with self._change:
                wanted_still = thread == self._thread and self._wanted is current
                if thread == self._thread:
                    self._busy_since = None
            if content is not None and wanted_still:
                self._deliver(current[0], content)

    def _wait(
        self, thread: int, current: tuple[Hashable, PanelSource] | None
    ) -> tuple[Hashable, PanelSource] | None:
        """Waits until a source must be read; returns it, or None if another thread took over."""
        with self._change:
            if current is not None:
                self._change.wait_for(
                    lambda: self._told or thread != self._thread, current[1].every
                )
            if thread != self._thread:
                return None
            self._told = False
            self._busy_since = time.monotonic()
            return self._wanted
