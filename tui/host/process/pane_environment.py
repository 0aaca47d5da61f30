"""Reads the tmux pane that the environment of a process names (``TMUX`` and ``TMUX_PANE``)."""

from __future__ import annotations

import os
from typing import NamedTuple

from tui.host.process import procfs

WHOLE_ENVIRONMENT = 8 * procfs.LARGEST
"""The number of bytes of an environment that are searched for the name of a pane.

When a process starts, the kernel limits its environment to 6 MiB.
"""

_LONGEST_NUMBER = 18


class PaneEnvironment(NamedTuple):
    """The tmux server, session and pane that the environment of a process names.

    This is not a proof: the owner of the process can set any value.

    Attributes:
        socket: The path of the server's socket.
        server_pid: The pid of the server.
        session: The id of the session, for example ``$3``.
        pane: The id of the pane, for example ``%5``; empty if the environment names no pane.
    """

    socket: str
    server_pid: int
    session: str
    pane: str


UNREAD = PaneEnvironment("", 0, "", "")
"""The result for a process whose environment is too large to be read: its pane is not known."""

HIDDEN = PaneEnvironment("", -1, "", "")
"""The result for a process whose environment is overwritten, or that muster may not read."""


def parse_pane(text: bytes) -> PaneEnvironment | None:
    """Returns the pane that an environment names; None if ``TMUX`` is missing or invalid."""
    if b"TMUX=" not in text:
        return None
    # TMUX is "socket,server pid,session number"; the socket's path may contain commas.
    socket, *words = _value_of(b"TMUX", text).rsplit(b",", 2)
    pane = _value_of(b"TMUX_PANE", text)
    if len(words) != 2 or not all(map(_is_number, words)):
        return None
    return PaneEnvironment(
        os.fsdecode(socket),
        int(words[0]),
        f"${int(words[1])}",
        pane.decode() if pane.startswith(b"%") and pane[1:].isdigit() else "",
    )


def _value_of(name: bytes, text: bytes) -> bytes:
    """Returns the last value of a variable in an environment; empty if the variable is not set."""
    # The words are not split, because other users can start many processes with millions of words.
    _, is_there, after = (b"\0" + text).rpartition(b"\0" + name + b"=")
    return after.partition(b"\0")[0] if is_there else b""


def _is_number(word: bytes) -> bool:
    return word.isdigit() and len(word) <= _LONGEST_NUMBER


def pane_said_by(pid: int) -> PaneEnvironment | None:
    """Returns the pane that the environment of a process names.

    If the process is in another PID namespace (a container), the pid of the server has another
    meaning for muster, and the result is None. There is one exception: the namespace was started
    in a pane (``unshare -p``), and the first process of the namespace names the same pane.

    Returns:
        The pane; None if the environment names no pane, or the process has ended. `UNREAD` if the
        environment is longer than `WHOLE_ENVIRONMENT`, and no pane was found in the first part.
        `HIDDEN` if muster is not allowed to read the environment, or if the process overwrote it.
    """
    try:
        place = f"/proc/{pid}"
        try:
            whole = procfs.read_file(f"{place}/environ", WHOLE_ENVIRONMENT)
        except ProcessLookupError:
            place = procfs.running_thread(pid) or place
            whole = procfs.read_file(f"{place}/environ", WHOLE_ENVIRONMENT)
        pane = parse_pane(procfs.whole_words(whole, WHOLE_ENVIRONMENT))
        if pane is None and len(whole) >= WHOLE_ENVIRONMENT:
            return UNREAD
        if procfs.is_overwritten(whole):
            return HIDDEN
        if pane is None or _is_in_our_namespace(place):
            return pane
        first = _first_of_namespace(pid)
        if first is None:
            return None
        agrees = parse_pane(procfs.read_words(first, "environ", WHOLE_ENVIRONMENT)) == pane
        return pane if agrees else None
    except PermissionError:
        return HIDDEN
    except OSError:
        return None


def pane_id_of(pid: int) -> str | None:
    """Returns the value of ``TMUX_PANE`` in the environment of a process.

    This id does not say which tmux server has the pane; see `pane_said_by`.

    Returns:
        The id. None if the variable is not set or cannot be read, or if the process is in another
        PID namespace.
    """
    try:
        is_ours = _is_in_our_namespace(f"/proc/{pid}")
        return procfs.environment(pid).get("TMUX_PANE") if is_ours else None
    except OSError:
        return None


def _first_of_namespace(pid: int) -> int | None:
    """Returns the pid of the first process of a PID namespace; None if it cannot be known.

    The namespace is the outermost one that contains the process, but not muster.
    """
    if not procfs.numbers_are_ours():
        return None
    visited: set[int] = set()
    while (stat := procfs.stat_of(pid)) is not None and pid not in visited:
        visited.add(pid)
        if len(procfs.namespace_pids_of(stat.parent)) == 1:
            # A process that entered from outside (nsenter) may have any environment.
            return pid if procfs.namespace_pids_of(pid)[-1:] == (1,) else None
        pid = stat.parent
    return None


def _is_in_our_namespace(process: str) -> bool:
    return os.stat(f"{process}/ns/pid").st_ino == os.stat("/proc/self/ns/pid").st_ino
