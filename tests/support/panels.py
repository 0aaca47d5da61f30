"""A reader for the details panel without a thread, so that the screen never depends on timing."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from tui.details.sources import PanelSource


class PromptFollower:
    """Works like `Follower`, but reads in the caller's thread, and only on request."""

    def __init__(self, deliver: Callable[[Hashable, object], object]) -> None:
        self._deliver = deliver
        self._wanted: tuple[Hashable, PanelSource] | None = None

    def follow(self, key: Hashable, source: PanelSource) -> None:
        self.stop()
        self._wanted = (key, source)
        self.wake()

    def wake(self) -> None:
        if self._wanted is not None:
            found = self._wanted[1].read()
            if found is not None:
                self._deliver(self._wanted[0], found)

    def stop(self) -> None:
        if self._wanted is not None:
            self._wanted[1].close()
        self._wanted = None
