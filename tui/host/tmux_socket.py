"""Decides whether muster may connect to a tmux socket, and finds the process that listens there.

A tmux server can make its client write files. So muster starts a tmux client only if both
conditions are true: the server runs as muster's user or as root, and no other user can replace the
socket. Root is trusted, because root can do everything anyway.

Linux only: SO_PEERCRED, O_PATH, /proc/self/fd.
"""

from __future__ import annotations

import _socket  # Without the enumerations of `socket`, whose definition takes a millisecond.
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from registry.dataclass import dataclass
from registry.storage import is_open_to_others, is_unmapped, others_may_replace_in, steps
from registry.text import command_line, shown_name
from tui.host.process import descriptors, procfs
from tui.host.tmux_advice import OTHER_SOCKET, advice_on, ask_the_owner, user_name

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; struct ucred of unix(7)

_SYSTEM_DIRECTORIES = frozenset(
    f"/{name}"
    for name in (
        *("", "dev", "dev/shm", "home", "mnt", "opt", "run", "run/user", "srv", "tmp", "usr"),
        *("var", "var/run", "var/tmp"),
    )
)
"""The directories that belong to root on every system."""


class TmuxError(Exception):
    """tmux could not be queried; the text gives the reason.

    Attributes:
        advice: A remedy; empty if none is known.
    """

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(why)
        self.advice = advice


class UntrustedSocketError(TmuxError):
    """The process at the socket may belong to another user, so no client may be started."""


class NoServerError(TmuxError):
    """No process listens at the socket, so no client is started.

    Another user's server could begin to listen there before the client connects.
    """


@dataclass(frozen=True, slots=True)
class Listener:
    """The process that started to listen at a socket.

    This process may have passed the socket to another process.

    Attributes:
        pid: The pid in the PID namespace of muster; 0 if muster cannot see the process.
        uid: The user id of the process.
    """

    pid: int
    uid: int


@dataclass(frozen=True, slots=True)
class CheckedSocket:
    """A socket for which a tmux client may be started.

    Attributes:
        path: The path for tmux, which leads to exactly the checked socket.
        descriptors: The descriptors that the client must inherit under the same numbers.
        listener: The listening process; None if no process listens.
    """

    path: str
    descriptors: tuple[int, ...] = ()
    listener: Listener | None = None


@contextmanager
def checked(path: Path, *, to_start: bool = False) -> Iterator[CheckedSocket]:
    """Checks a socket, and keeps the socket open inside the `with` block.

    These conditions must all hold:

    - The socket, every directory above the socket and every symbolic link on the way belong to
      muster's user or to root.
    - Each of these directories is protected from other users: they may not write to the directory,
      or its sticky bit prevents them from replacing files.
    - The directory that tmux creates for muster's user has the permissions that tmux demands.
    - The listening process runs as muster's user or as root. This check sends no data.

    Args:
        path: The path of the socket.
        to_start: Whether the client may start a server if no process listens at the socket.

    Raises:
        UntrustedSocketError: A condition does not hold, or cannot be checked.
        NoServerError: No process listens, and no server may be started: `to_start` is False, or
            other users may create files in the socket's directory.
    """
    try:
        place = _walk(path)
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC) if place.exists else None
        if descriptor is None and os.path.exists(path):
            raise _leads_astray(path)
    except FileNotFoundError:
        # A server removes its socket when it ends.
        raise NoServerError(f"no server on {shown_name(path)}") from None
    except OSError as error:
        raise _refusal(path, error) from None
    try:
        listener = None if descriptor is None else _listener(path, place, descriptor)
        if listener is not None and descriptor is not None:
            # This path leads to the checked socket, even if `path` changes meanwhile.
            yield CheckedSocket(f"/proc/self/fd/{descriptor}", (descriptor,), listener)
        elif to_start and not place.open_to_others:
            yield CheckedSocket(str(path))
        else:
            # Another process could begin to listen there before a client connects.
            raise NoServerError(f"no server on {shown_name(path)}")
    finally:
        if descriptor is not None:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Place:
    """The target of a path after all symbolic links.

    Attributes:
        path: The target.
        exists: Whether the target exists.
        open_to_others: Whether other users may create files in the target's directory.
    """

    path: str
    exists: bool
    open_to_others: bool


def _walk(path: Path) -> _Place:
    """Follows all symbolic links of a path, as the kernel does, and checks every directory.

    Raises:
        UntrustedSocketError: Another user could change the target.
        OSError: The path cannot be followed.
    """
    here = "/"
    # The owner of the root directory controls all paths anyway. In a user namespace, the id of
    # this owner may be unmapped; an unmapped id stands for several users.
    above_all = os.lstat(here).st_uid
    trusted = {uid for uid in (0, os.getuid(), above_all) if not is_unmapped(uid)}
    for step, state, owner in steps(path):
        if state is None:
            return _Place(step, False, _is_open(os.path.dirname(step)))
        is_systems = step in _SYSTEM_DIRECTORIES and owner == above_all
        if owner not in trusted and not is_systems:
            raise UntrustedSocketError(
                f"{shown_name(step)} belongs to {user_name(owner)}, so the owner of the "
                "tmux server cannot be known",
                ask_the_owner(owner),
            )
        if stat.S_ISDIR(state.st_mode):
            _check_directory(step, state)
        if not stat.S_ISLNK(state.st_mode):
            here = step
    return _Place(here, True, _is_open(os.path.dirname(here)))


def _is_open(directory: str) -> bool:
    """Returns whether other users may create files in a directory."""
    return is_open_to_others(os.lstat(directory))


def _check_directory(path: str, state: os.stat_result) -> None:
    """Checks that no other user can replace files in a directory.

    Raises:
        UntrustedSocketError: Another user can replace files.
    """
    if others_may_replace_in(state):
        raise UntrustedSocketError(
            f"other users may write to {shown_name(path)}, so the owner of the tmux server "
            "cannot be known",
            f"remove that permission{_by('go-w', path)}, or {OTHER_SOCKET}",
        )
    if os.path.basename(path) != f"tmux-{os.getuid()}":
        return
    # tmux checks this too, but not with -S.
    if state.st_uid != os.getuid() or state.st_mode & stat.S_IRWXO:
        raise UntrustedSocketError(
            f"directory {shown_name(path)} has unsafe permissions",
            f"make it accessible to your user only{_by('700', path)}, or {OTHER_SOCKET}",
        )


def _by(mode: str, path: str) -> str:
    """Returns the chmod command in parentheses; empty if the path cannot be typed reliably."""
    command = command_line("chmod", mode, names=[path])
    return "" if command is None else f" ({command})"


def _listener(path: Path, place: _Place, descriptor: int) -> Listener | None:
    """Returns the process that started to listen at a socket; None if no process listens.

    Sends no data.

    Raises:
        UntrustedSocketError: The process runs as another user, or its user cannot be known.
    """
    state = os.fstat(descriptor)
    try:
        same = os.path.samestat(state, os.lstat(place.path))
    except FileNotFoundError:
        raise NoServerError(f"no server on {shown_name(path)}") from None
    if not same:
        raise _leads_astray(path)
    if not stat.S_ISSOCK(state.st_mode):
        raise UntrustedSocketError(f"{shown_name(path)} is not a socket", OTHER_SOCKET)
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
    with closing(_socket.socket(_socket.AF_UNIX, kind)) as client:
        try:
            client.connect(f"/proc/self/fd/{descriptor}")
        except ConnectionRefusedError:
            return None
        except BlockingIOError:
            raise UntrustedSocketError(
                f"the tmux server on {shown_name(path)} accepts no clients",
                "if the server is stopped (ps shows the state T), continue it with kill -CONT; "
                f"otherwise {OTHER_SOCKET}",
            ) from None
        except OSError as error:
            raise _refusal(path, error) from None
        peer = client.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(peer)
    if uid not in (0, os.getuid()) or is_unmapped(uid):
        raise UntrustedSocketError(
            f"the process at {shown_name(path)} runs as {user_name(uid)}, and muster does not "
            "connect to servers of other users",
            ask_the_owner(uid),
        )
    return Listener(pid, uid)


def _leads_astray(path: Path) -> UntrustedSocketError:
    # A link in /proc may lead to a target outside of the checked directories.
    return UntrustedSocketError(
        f"{shown_name(path)} leads to a file outside of the directories in this path", OTHER_SOCKET
    )


def _refusal(path: Path, error: OSError) -> UntrustedSocketError:
    """Returns an error with the text that tmux uses, so that `advice_on` recognizes this text."""
    message = f"error connecting to {path} ({error.strerror})"
    return UntrustedSocketError(message, advice_on(message, path))


def is_process_here(pid: int, listener: Listener | None, path: Path) -> bool:
    """Returns whether the pid that a server reports means the same process for muster.

    If not, the server may run in another PID namespace, and muster must not use the server's pids.

    Args:
        pid: The pid that the server reports.
        listener: The process that started to listen at the server's socket.
        path: The path of the socket.
    """
    try:
        # /proc may belong to another namespace too.
        if not procfs.numbers_are_ours():
            return False
    except OSError:
        return False
    # A process with several pids runs in a PID namespace inside muster's.
    if listener is None or len(procfs.namespace_pids_of(pid)) != 1:
        return False
    # Another process may have created the socket and passed it to the server.
    return pid == listener.pid or listens_at(pid, path)


def listens_at(pid: int, path: Path) -> bool:
    """Returns whether a process listens at a path; False if muster cannot see its open files."""
    actual = descriptors.listening_path(pid)
    try:
        return actual is not None and os.path.samefile(actual, path)
    except OSError:
        return False
