"""Whether sessions that are missing here are on another tmux server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from registry.workspace import Workspace
from tui.absences import Absences
from tui.host.elsewhere import look_elsewhere, owners_of
from tui.host.sessions import Answer, TmuxState

# Seconds until other servers are asked again for sessions that they may have: twice as
# long each time, up to the second.
_LOOK_AGAIN = 0.5
_LOOK_RARELY = 10.0


class OtherServers:
    """Looks for missing sessions on other servers, and only for what is news."""

    def __init__(self, workspaces: Iterable[Workspace]) -> None:
        self._paths = [workspace.path for workspace in workspaces]
        self._cleared: set[tuple[str, float]] = set()
        self._found: Mapping[str, str] = {}
        self._again_at = 0.0
        self._pause = 0.0

    def noted(self, answer: Answer, absences: Absences) -> tuple[Answer, Absences]:
        """The answer, with what may be elsewhere; the absences, for proof. May block.

        A session that is not elsewhere any more is missing from now on only.
        """
        missing = set(absences.items())
        self._cleared &= missing
        self._found = {name: why for name, why in self._found.items() if name in absences}
        unclear = {name for name, _ in missing - self._cleared}
        new = unclear - self._found.keys()
        again = bool(unclear) and time.monotonic() >= self._again_at
        if answer.state is not TmuxState.UNKNOWN and (new or again):
            before = self._found
            self._found = look_elsewhere(unclear, answer, owners_of(self._paths))
            gone = (before.keys() & unclear) - self._found.keys()
            absences = {**absences, **dict.fromkeys(gone, answer.asked_at)}
            self._cleared |= {(name, absences[name]) for name in new - self._found.keys()}
            self._pause = min(2 * self._pause, _LOOK_RARELY) if not new else _LOOK_AGAIN
            self._again_at = time.monotonic() + self._pause
        return (replace(answer, elsewhere=self._found) if self._found else answer), absences
