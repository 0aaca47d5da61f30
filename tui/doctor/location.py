"""What a command line needs to find the workspaces and the tmux server that were meant."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.errors import RegistryError
from registry.schema import Workspace, find_workspaces
from tui.host.tmux_types import socket_path


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


def where_of(workspaces: Sequence[Workspace], socket: Path) -> Where:
    """What a command line needs, from this directory and environment, to find the same.

    Args:
        workspaces: Those that were meant.
        socket: The tmux socket that was asked.
    """
    usual: tuple[Workspace, ...] = ()
    with contextlib.suppress(RegistryError, OSError):
        usual = find_workspaces((), os.environ, Path.cwd())
    named = () if set(workspaces) == set(usual) else workspaces
    return Where(
        None if socket == socket_path(None, None, os.environ) else socket,
        tuple(each.only or each.path for each in named),
    )
