"""Compares the paths by which processes, logs and the user name a tmux socket."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from registry.storage import steps

_LONGEST = 107
"""The length of the longest path of a socket, in bytes; see unix(7)."""


def is_socket(named: str, socket: Path, trusted: Collection[int] | None = None) -> bool:
    """Returns whether a path in ``$TMUX`` may lead to a socket.

    If a server was started with a relative path, ``$TMUX`` contains the relative path, and the
    starting directory is not known. So only the last part of a relative path is compared.

    Args:
        named: The path in ``$TMUX``.
        socket: The path of the socket.
        trusted: The ids of the users whose symbolic links are followed; None for all users. The
            path of an untrusted process is followed only through links of trusted users.
    """
    if len(os.fsencode(named)) > _LONGEST or "\0" in named:
        return False
    target = os.path.realpath(socket)
    if not os.path.isabs(named):
        return os.path.basename(named) in (socket.name, os.path.basename(target))
    if os.path.normpath(named) in (os.path.normpath(socket), target):
        return True
    return target == (os.path.realpath(named) if trusted is None else _target(named, trusted))


def is_logged_socket(logged: str, socket: Path) -> bool:
    """Returns whether the path of a socket in an audit log leads to a socket.

    The path is followed only through symbolic links of muster's user and of root.
    """
    if not os.path.isabs(logged):
        return logged == os.fspath(socket)
    return is_socket(logged, socket, (0, os.getuid()))


def _target(named: str, trusted: Collection[int]) -> str | None:
    """Returns the target of a path; None if an untrusted user owns a step on the way."""
    target = None
    try:
        for step in steps(Path(named)):
            if step.state is not None and step.owner not in trusted:
                return None
            target = step.path
    except OSError:
        return None
    return target
