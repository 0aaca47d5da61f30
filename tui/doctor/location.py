"""The options with which a command finds the doctor's workspaces and tmux server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.schema import Workspace, find_workspaces, user_environment
from tui.host.asker import ask_each
from tui.host.tmux_types import socket_path


@dataclass(frozen=True, slots=True)
class Where:
    """Options for the commands in the doctor's advice.

    Attributes:
        socket: The tmux socket; None for the default socket.
        workspaces: Workspaces or registries; empty for the default workspaces.
    """

    socket: Path | None = None
    workspaces: tuple[Path, ...] = ()

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The options as pairs of a name and a value."""
        socket = () if self.socket is None else (("-S", str(self.socket)),)
        return (*(("-w", str(path)) for path in self.workspaces), *socket)

    def only(self, registry: Path) -> tuple[tuple[str, str], ...]:
        """Returns the options that select only one registry."""
        return Where(self.socket, (registry,)).options


ANYWHERE = Where()
"""No options: the default workspaces and socket."""


def where_of(workspaces: Sequence[Workspace], socket: Path) -> Where:
    """Returns the options with which a command finds the given workspaces and socket.

    A default workspace or socket needs no option.

    Args:
        workspaces: The workspaces that the command must find.
        socket: The tmux socket that the command must query.
    """
    default: tuple[Workspace, ...] = ()
    with contextlib.suppress(RegistryError, OSError):
        default = find_workspaces((), user_environment(), Path.cwd(), ask=ask_each)
    named = () if set(workspaces) == set(default) else workspaces
    return Where(
        None if socket == socket_path(None, None, os.environ) else socket,
        tuple(workspace.only or workspace.path for workspace in named),
    )
