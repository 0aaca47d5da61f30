"""Reads the open files of a process, and the socket at which the process listens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tui.host.process import procfs

_PTY_MAJOR = 136
"""The major device number of pseudo-terminals; see the kernel's list of devices."""

_LISTENING = 0x10000  # __SO_ACCEPTCON, in the flags of /proc/PID/net/unix

_SOCKETS_AT_MOST = 64 * 1024 * 1024


class UnixSocket(NamedTuple):
    """A line of ``/proc/PID/net/unix``.

    Attributes:
        inode: The inode number, in digits.
        listens: Whether a process listens at the socket.
        path: The path to which the socket was bound; may be relative.
    """

    inode: str
    listens: bool
    path: str


def open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Yields the link in /proc and the target of each open file of a process.

    The target is untrusted text.

    Raises:
        OSError: The process has ended, or muster is not allowed to read the open files.
    """
    has_files = False
    # Not a list: another user's process may have very many open files.
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            has_files = True
            with suppress(OSError):
                yield entry.path, os.readlink(entry.path)
    if not has_files and (thread := procfs.running_thread(pid)) is not None:
        for name in os.listdir(f"{thread}/fd"):
            with suppress(OSError):
                yield f"{thread}/fd/{name}", os.readlink(f"{thread}/fd/{name}")


def may_see_files(pid: int) -> bool:
    """Returns whether muster may list the open files of a process."""
    return os.access(f"/proc/{pid}/fd", os.R_OK | os.X_OK)


def is_open_for_writing(link: str) -> bool:
    """Returns whether a process has opened a file for writing.

    Args:
        link: The link of the open file, from `open_files`.

    Raises:
        OSError: The file is closed, or muster is not allowed to read the file's flags.
        ValueError: The kernel reports no flags.
    """
    folder, number = os.path.split(link)
    for line in procfs.read_file(f"{folder}info/{number}", procfs.LARGEST).split(b"\n"):
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    raise ValueError(f"{folder}info/{number} has no flags")


def parse_unix_sockets(text: bytes) -> Iterator[UnixSocket]:
    """Parses ``/proc/PID/net/unix``; yields the sockets that have a path."""
    for line in text.split(b"\n")[1:]:
        # Split bytes, because str.split() has more separators, which a path may contain.
        fields = line.split(maxsplit=7)
        with suppress(ValueError):
            if len(fields) == 8:
                listens = bool(int(fields[3], 16) & _LISTENING)
                yield UnixSocket(fields[6].decode("ascii"), listens, os.fsdecode(fields[7]))


def listening_socket(pid: int) -> UnixSocket | None:
    """Returns the first socket with a path at which a process listens.

    Returns:
        The socket, with an absolute path. None if the process has no such socket, or if muster is
        not allowed to see the open files of the process.
    """
    with suppress(OSError):
        links = (target for _, target in open_files(pid))
        inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
        table = procfs.read(pid, "net/unix", _SOCKETS_AT_MOST)
        for unix_socket in parse_unix_sockets(table):
            if unix_socket.listens and unix_socket.inode in inodes:
                # The path may be relative to the working directory.
                path = os.path.join(os.readlink(f"/proc/{pid}/cwd"), unix_socket.path)
                return unix_socket._replace(path=path)
    return None


def listening_path(pid: int) -> Path | None:
    """Returns the absolute path of `listening_socket`; None without such a socket."""
    unix_socket = listening_socket(pid)
    return None if unix_socket is None else Path(unix_socket.path)


def listens(pid: int) -> bool | None:
    """Returns whether a process listens at a socket with a path; None if that cannot be known."""
    if listening_path(pid) is not None:
        return True
    return False if may_see_files(pid) else None


def terminals_held(pid: int) -> frozenset[int]:
    """Returns the numbers of the pseudo-terminals whose controlling end a process has open.

    When the last process closes this end, the kernel hangs up the terminal. The numbers are those
    of `procfs.Stat.terminal`. The result is empty if muster may not list the open files.
    """
    numbers = set()
    with suppress(OSError):
        for link, target in open_files(pid):
            # Mounted at different places, and in a container below another name.
            if target.endswith("/ptmx"):
                with suppress(OSError, ValueError):
                    numbers.add(_terminal_number(Path(link.replace("/fd/", "/fdinfo/"))))
    return frozenset(numbers)


def _terminal_number(info: Path) -> int:
    """Returns the device number of the terminal that belongs to an open /dev/ptmx.

    Raises:
        OSError: The file is closed.
        ValueError: The kernel does not tell.
    """
    for line in info.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "tty-index":
            return _device_number(_PTY_MAJOR, int(value))
    raise ValueError(f"no tty-index in {info}")


def _device_number(major: int, minor: int) -> int:
    """Returns a device number as /proc/PID/stat has it; see proc_pid_stat(5)."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
