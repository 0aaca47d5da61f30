"""Somebody who gathers nothing: the app shows what it is given."""

from __future__ import annotations

from tests.support.rolls import SOCKET
from tui.host.tmux import Tmux
from tui.live.collector import LiveRoll
from tui.model.policy import Policy
from tui.model.roll import RollCall


class StillLive(LiveRoll):
    """Has one roll call, or none, and never another."""

    def __init__(self, roll: RollCall | None = None, tmux: Tmux | None = None) -> None:
        super().__init__((), tmux or Tmux(SOCKET), Policy())
        self.latest = roll
        # Never started, it is never stopped either.
        self._deaths.close()

    def refresh(self) -> None:
        """There is nothing to look at."""
