"""Searches other tmux servers for missing sessions."""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Iterable
from pathlib import Path

from registry.dataclass import replace
from registry.schema import Workspace
from tui.host.asker import Asker, NoAnswerError
from tui.host.tmux_types import CONSIDER_ALL, Elsewhere, SetAside, TmuxState
from tui.model.evidence import Evidence

# The first pause until other servers are queried again, and the longest one, in seconds. The
# pause doubles each time.
_LOOK_AGAIN = 0.5
_LOOK_RARELY = 10.0


class OtherServers:
    """The search for missing sessions on other tmux servers.

    A session is searched when it is first missing. The search is repeated while the session may be
    on another server, or may have another name.

    Args:
        workspaces: The workspaces. Any user who may create registries there may run agents.
        set_aside: The servers that are not considered.
    """

    def __init__(
        self, workspaces: Iterable[Workspace], set_aside: SetAside = CONSIDER_ALL
    ) -> None:
        self._set_aside = set_aside
        self._paths = [workspace.path for workspace in workspaces]
        self._asker: Asker[Container[int] | None] = Asker()
        self._cleared: set[tuple[str, float]] = set()
        self._found = Elsewhere()
        self._doubted: frozenset[str] = frozenset()
        self._again_at = 0.0
        self._pause = 0.0

    def _owners(self, registries: tuple[Path, ...]) -> Container[int] | None:
        """Returns the ids of the users who may run agents of the registries.

        Returns None, which means all users, if a file system does not answer.
        """
        from tui.host.tmux_servers import owners_of

        try:
            return self._asker.ask(lambda: owners_of(registries, self._paths))
        except NoAnswerError:
            return None

    def doubt(self, names: Collection[str]) -> None:
        """Sets the names of missing sessions that may have another name now."""
        self._doubted = frozenset(names)

    def noted(self, evidence: Evidence, registries: Iterable[Path] = ()) -> Evidence:
        """Adds to evidence which missing sessions may be on other servers. May block.

        If another server had a session and no longer has it, the session counts as missing only
        from this call on.

        Args:
            evidence: The evidence with the missing sessions.
            registries: The registries of all tasks. A user who may write any of these registries
                may run agents.
        """
        answer, missing_since = evidence.snapshot, evidence.missing_since
        missing = set(missing_since.items())
        self._cleared &= missing
        whys = {name: why for name, why in self._found.whys.items() if name in missing_since}
        new = {name for name, _ in missing - self._cleared} - whys.keys()
        unclear = new | whys.keys() | (self._doubted & missing_since.keys())
        again = bool(unclear) and time.monotonic() >= self._again_at
        if answer.state is not TmuxState.UNKNOWN and (new or again):
            # Imported here, because in most commands no session is missing.
            from tui.host.tmux_servers import look_elsewhere

            self._found = look_elsewhere(
                unclear, answer, self._owners(tuple(registries)), self._set_aside
            )
            gone = whys.keys() - self._found.whys.keys()
            missing_since = {**missing_since, **dict.fromkeys(gone, answer.asked_at)}
            whys = dict(self._found.whys)
            self._cleared |= {(name, missing_since[name]) for name in new - whys.keys()}
            self._pause = min(2 * self._pause, _LOOK_RARELY) if not new else _LOOK_AGAIN
            self._again_at = time.monotonic() + self._pause
        elif not unclear and not self._cleared:
            self._found = Elsewhere()
        return replace(
            evidence,
            missing_since=missing_since,
            elsewhere=whys,
            others=self._found.sessions,
            unasked=self._found.unasked & whys.keys(),
            set_aside=replace(self._set_aside, tokens=self._found.set_aside),
        )
