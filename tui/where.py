"""What a command line needs to find the workspaces and the tmux server that were meant. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Where:
    """Options for every command that is offered.

    Attributes:
        socket: The tmux socket, if it is not the one that is asked anyway.
        workspaces: Workspaces or registries, if they are not those that are found anyway.
    """

    socket: Path | None = None
    workspaces: tuple[Path, ...] = ()

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Pairs of an option and its value."""
        socket = () if self.socket is None else (("-S", str(self.socket)),)
        return (*(("-w", str(path)) for path in self.workspaces), *socket)

    def only(self, registry: Path) -> tuple[tuple[str, str], ...]:
        """The same, of one registry alone."""
        return Where(self.socket, (registry,)).options


ANYWHERE = Where()
"""What is found where nothing is said."""
