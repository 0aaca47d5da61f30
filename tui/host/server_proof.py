"""Decides whether muster may query a tmux server that the user did not name.

muster finds such a server among the processes of this host. The kernel reports which process
started to listen at a socket (SO_PEERCRED), but not which process accepts the connections. For
example, a daemon may share its socket with worker processes of other users. So muster also checks
which other processes have the socket open. Linux only, like `tui.host.process.procfs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry.dataclass import dataclass
from registry.storage import is_unmapped
from registry.text import command_line, shown_name
from tui.host.process import descriptors, procfs
from tui.host.process.procfs import Stat
from tui.host.silent_server import STOPPED
from tui.host.tmux_advice import socket_option, user_name
from tui.host.tmux_socket import TmuxError, checked

_ROOT = 0


def is_named_so(command: str) -> bool:
    """Returns whether the name of a process looks like the name of a tmux server.

    A server sets its name to "PROGRAM: server (SOCKET)", and the kernel cuts long names. Examples
    are "tmux: server", "mux: server", "tmux-next:" and "tmux-3.4-static".
    """
    cut = len(os.fsencode(command)) == procfs.NAME_AT_MOST and command.startswith("tmux")
    return cut or command.endswith((": server", ":"))


@dataclass(frozen=True, slots=True)
class Doubt:
    """The reason why muster does not query a process that may be a tmux server.

    Attributes:
        why: The reason.
        advice: A remedy.
    """

    why: str
    advice: str


def doubt_about(pid: int, socket: Path) -> Doubt | None:
    """Returns why muster must not query a process that may be a tmux server.

    These conditions must all hold:

    - The process runs only as muster's user.
    - Only processes of this user and of root have the socket of the process open.
    - The process has the name of a tmux server, or runs the program tmux.
    - The process is not stopped, because a stopped server does not answer.
    - In muster's own file system, the path leads to the socket of this process.

    Args:
        pid: The pid of the process.
        socket: The path at which the process listens.

    Returns:
        The reason and a remedy; None if all conditions hold.
    """
    looking = f"check what process {pid} is"
    own = os.getuid()
    stat, users = procfs.stat_of(pid), procfs.users_of(pid)
    if stat is None or users is None or set(users) != {own} or is_unmapped(own):
        return Doubt("this process may also run as another user", looking)
    listening = descriptors.listening_socket(pid)
    if listening is None or Path(listening.path) != socket:
        return Doubt("this process does not listen at this path any more", looking)
    for holder, uid in _foreign_holders(listening.inode):
        return Doubt(f"process {holder} of {user_name(uid)} has the same socket open", looking)
    if not (is_named_so(stat.name) or _runs_tmux(stat)):
        asking = f"if it is a tmux server, try {socket_option(socket)}"
        return Doubt(f"its program, {shown_name(stat.name)}, is not called tmux", asking)
    if stat.state in STOPPED:
        return Doubt("this process is stopped", _to_continue(pid))
    if not _leads_to(socket, pid):
        return _doubt_about_place(socket, pid)
    return None


def _to_continue(pid: int) -> str:
    if not procfs.numbers_are_ours():
        return f"continue process {pid} outside of this container (PID namespace)"
    go_on, end = (command_line("kill", signal, str(pid)) for signal in ("-CONT", "-KILL"))
    return (
        f"continue the process with: {go_on}, or, if its sessions are not needed, end the process "
        f"with: {end}"
    )


def _doubt_about_place(socket: Path, pid: int) -> Doubt:
    """Returns the doubt about a process whose path may lead muster to another process."""
    with suppress(OSError):
        if not procfs.has_our_mounts(pid):
            # A process in the container may have fewer rights than muster. A tmux server can make
            # its client write files and run programs, so muster does not use the socket.
            return Doubt(
                "this process runs in a container: its mount namespace or root directory is not "
                "that of muster",
                "run muster in that container, or list the sessions of that server there",
            )
    looking = f"check what process {pid} is"
    return Doubt(f"{shown_name(socket)} may lead to another process", looking)


def _runs_tmux(stat: Stat) -> bool:
    program = f"/proc/{stat.pid}/exe"
    with suppress(OSError):
        if os.path.basename(os.readlink(program)).startswith("tmux"):
            return True
        # Imported here because the import is slow: shutil imports compressors.
        import shutil

        tmux = shutil.which("tmux")
        return tmux is not None and os.path.samefile(program, tmux)
    return False


def _leads_to(socket: Path, pid: int) -> bool:
    """Returns whether the path of a process's socket certainly leads muster to this socket."""
    with suppress(TmuxError, OSError), checked(socket) as checked_socket:
        listener = checked_socket.listener
        if listener is not None and listener.pid == pid:
            return True
    with suppress(OSError):
        return procfs.has_our_mounts(pid)
    return False


def _foreign_holders(inode: str) -> Iterator[tuple[int, int]]:
    """Yields the processes of other users that have a socket open, as far as muster can see.

    Args:
        inode: The inode number of the socket, in digits.

    Yields:
        The pid and the user id of each process.
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
            if any(target == link for _, target in descriptors.open_files(int(name))):
                yield int(name), next(uid for uid in users if uid not in trusted)
