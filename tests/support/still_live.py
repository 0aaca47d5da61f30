"""A collector that collects nothing: the app shows the given roll call."""

from __future__ import annotations

from tests.support.rolls import SOCKET
from tui.host.tmux import Tmux
from tui.live.collector import LiveRoll
from tui.model.policy import Policy
from tui.model.roll import RollCall


class StillLive(LiveRoll):
    """A collector with one roll call, or none, that never changes."""

    def __init__(self, roll: RollCall | None = None, tmux: Tmux | None = None) -> None:
        super().__init__((), tmux or Tmux(SOCKET), Policy())
        self.latest = roll
        # The collector is never started, so no thread closes this.
        self._deaths.close()

    def refresh(self) -> None:
        """Does nothing."""
