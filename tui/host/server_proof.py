"""Whether a tmux client may be started for a server that was found on this host.

The user did not name such a server. SO_PEERCRED tells which process began to listen at a
socket, not which one accepts the connections: a daemon may share its socket with workers of
other users, and those may say that the daemon is a tmux server. Linux only, like
`tui.host.procfs`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from registry.storage import is_unmapped
from registry.text import shown_name
from tui.host import procfs
from tui.host.procfs import Stat
from tui.host.tmux_advice import socket_option, user_name
from tui.host.tmux_socket import TmuxError, checked

_ROOT = 0


def is_named_so(command: str) -> bool:
    """Returns whether a process name may be that of a tmux server.

    A server calls itself "PROGRAM: server (SOCKET)", and the kernel cuts the name: "tmux:
    server", "mux: server", "tmux-next:", "tmux-3.4-static".
    """
    cut = len(os.fsencode(command)) == procfs.NAME_AT_MOST and command.startswith("tmux")
    return cut or command.endswith((": server", ":"))


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why nothing is sent to a process that may be a tmux server.

    Attributes:
        advice: What to try.
    """

    why: str
    advice: str


def doubt_about(pid: int, socket: Path) -> Doubt | None:
    """Returns why nothing may be sent to a process that may be a tmux server.

    Args:
        pid: The process.
        socket: The path at which it listens.

    Returns:
        None if three conditions hold: only this user runs the process; only this user and
        root have its socket; its name or its program is that of tmux.
    """
    looking = f"see what process {pid} is"
    own = os.getuid()
    stat, users = procfs.stat_of(pid), procfs.users_of(pid)
    if stat is None or users is None or set(users) != {own} or is_unmapped(own):
        return Doubt("it is not known to be yours alone", looking)
    listening = procfs.listening_socket(pid)
    if listening is None or Path(listening.path) != socket:
        return Doubt("it listens elsewhere by now", looking)
    for holder, uid in _foreign_holders(listening.inode):
        return Doubt(f"process {holder} of {user_name(uid)} has its socket as well", looking)
    if not (is_named_so(stat.name) or _runs_tmux(stat)):
        asking = f"if it is one, try {socket_option(socket)}"
        return Doubt(f"its program, {shown_name(stat.name)}, is not called tmux", asking)
    if not _leads_to(socket, pid):
        return Doubt(f"{shown_name(socket)} may lead to another process from here", looking)
    return None


def _runs_tmux(stat: Stat) -> bool:
    program = f"/proc/{stat.pid}/exe"
    with suppress(OSError):
        if os.path.basename(os.readlink(program)).startswith("tmux"):
            return True
        tmux = shutil.which("tmux")
        return tmux is not None and os.path.samefile(program, tmux)
    return False


def _leads_to(socket: Path, pid: int) -> bool:
    """Returns whether the path of a process's socket certainly leads to that socket from here."""
    with suppress(TmuxError, OSError), checked(socket) as door:
        if door.listener is not None and door.listener.pid == pid:
            return True
    with suppress(OSError):
        return procfs.has_our_mounts(pid)
    return False


def _foreign_holders(inode: str) -> Iterator[tuple[int, int]]:
    """Yields the processes of other users that have a socket open, as far as that is visible.

    Args:
        inode: The socket's number, in digits.

    Yields:
        The pid and the user id of each.
    """
    trusted = {_ROOT, os.getuid()}
    link = f"socket:[{inode}]"
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        users = procfs.users_of(int(name))
        if users is None or trusted.issuperset(users):
            continue
        with suppress(OSError):
            if any(target == link for _, target in procfs.open_files(int(name))):
                yield int(name), next(uid for uid in users if uid not in trusted)
