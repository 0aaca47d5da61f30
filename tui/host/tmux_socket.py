"""Whether a tmux socket may be connected to, and which process listens there.

A tmux server may tell its client to write files. So no tmux client is started before it
is known that the server at its socket is run by this user or by root, and that no other
user can put another socket in its place. Root is trusted: it can do everything anyway.

Linux only: SO_PEERCRED, O_PATH, /proc/self/fd.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.storage import is_open_to_others, others_may_replace_in, steps
from registry.text import command_line, shown_name
from tui.host import procfs
from tui.host.tmux_advice import OTHER_SOCKET, advice_on, ask_the_owner, user_name

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid; struct ucred of unix(7)


class TmuxError(Exception):
    """Why tmux could not be asked; its text says it.

    Attributes:
        advice: What to try; empty where nothing is known to help.
    """

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(why)
        self.advice = advice


class UntrustedSocketError(TmuxError):
    """Nothing may be sent to whatever listens at a socket."""


class NoServerError(TmuxError):
    """No server listens, and the next that does could be anybody's."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The process that listens at a socket, or that began to.

    Attributes:
        pid: In the PID namespace of this process; 0 if it cannot be seen from there.
        uid: Its user.
    """

    pid: int
    uid: int


@dataclass(frozen=True, slots=True)
class CheckedSocket:
    """A socket that a tmux client may be started for.

    Attributes:
        path: What to tell tmux. It leads to the very socket that was checked.
        descriptors: What the client must inherit for that, by these numbers.
        listener: None if nobody listens.
    """

    path: str
    descriptors: tuple[int, ...] = ()
    listener: Listener | None = None


@contextmanager
def checked(path: Path) -> Iterator[CheckedSocket]:
    """A socket for as long as the block lasts, checked by the one rule there is.

    The socket, every directory above it and every symbolic link on the way belong to this
    user or to root. Nobody else may write to the directories, unless their sticky bit keeps
    others from replacing what is not theirs. The directory that tmux makes for this user
    is as tmux itself wants it. Whoever listens is this user or root; nothing is sent to find
    that out.

    Args:
        path: The socket's path.

    Raises:
        UntrustedSocketError: That is not so, or cannot be known.
        NoServerError: There is no socket, and other users may make one.
    """
    try:
        place = _walk(path)
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC) if place.exists else None
        if descriptor is None and os.path.exists(path):
            raise _leads_astray(path)
    except FileNotFoundError:
        # A server that ends removes its socket.
        raise NoServerError(f"no server on {shown_name(path)}") from None
    except OSError as error:
        raise _refusal(path, error) from None
    if descriptor is None:
        if place.open_to_others:
            raise NoServerError(f"no server on {shown_name(path)}")
        yield CheckedSocket(str(path))
        return
    try:
        listener = _listener(path, place, descriptor)
        if listener is None and not place.open_to_others:
            yield CheckedSocket(str(path))
        else:
            # However the path is changed meanwhile, this is the socket that was checked.
            yield CheckedSocket(f"/proc/self/fd/{descriptor}", (descriptor,), listener)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path leads, after all symbolic links.

    Attributes:
        exists: Whether there is anything.
        open_to_others: Whether other users may make something in its directory.
    """

    path: str
    exists: bool
    open_to_others: bool


def _walk(path: Path) -> _Place:
    """Follows a path as the kernel does, and checks every step.

    Raises:
        UntrustedSocketError: Another user could have it lead elsewhere.
        OSError: It cannot be followed.
    """
    here = "/"
    # Whoever owns the root directory could show us anything: in a user namespace it may
    # be a user whose number is not known there.
    trusted = {0, os.getuid(), os.lstat(here).st_uid}
    for step, state in steps(path):
        if state is None:
            return _Place(step, False, _is_open(os.path.dirname(step)))
        if state.st_uid not in trusted:
            raise UntrustedSocketError(
                f"{shown_name(step)} belongs to {user_name(state.st_uid)}, so it cannot be known "
                "whose tmux server that is",
                ask_the_owner(state.st_uid),
            )
        if stat.S_ISDIR(state.st_mode):
            _check_directory(step, state)
        if not stat.S_ISLNK(state.st_mode):
            here = step
    return _Place(here, True, _is_open(os.path.dirname(here)))


def _is_open(directory: str) -> bool:
    """Whether other users may make files in a directory."""
    return is_open_to_others(os.lstat(directory))


def _check_directory(path: str, state: os.stat_result) -> None:
    """Checks that no other user can replace what is in a directory.

    Raises:
        UntrustedSocketError: One can.
    """
    if others_may_replace_in(state):
        raise UntrustedSocketError(
            f"other users may write to {shown_name(path)}, so it cannot be known whose tmux "
            "server that is",
            f"take that from them{_by('go-w', path)}, or {OTHER_SOCKET}",
        )
    if os.path.basename(path) != f"tmux-{os.getuid()}":
        return
    # As tmux does itself, which -S makes it leave out.
    if state.st_uid != os.getuid() or state.st_mode & stat.S_IRWXO:
        raise UntrustedSocketError(
            f"directory {shown_name(path)} has unsafe permissions",
            f"it must be yours alone{_by('700', path)}; or {OTHER_SOCKET}",
        )


def _by(mode: str, path: str) -> str:
    """The command that gives a directory a mode, in brackets, if it can be typed for sure."""
    command = command_line("chmod", mode, names=[path])
    return "" if command is None else f" ({command})"


def _listener(path: Path, place: _Place, descriptor: int) -> Listener | None:
    """Who listens at a socket, without a byte to it; None for nobody.

    Raises:
        UntrustedSocketError: It is another user, or that cannot be known.
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
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(f"/proc/self/fd/{descriptor}")
        except ConnectionRefusedError:
            return None
        except BlockingIOError:
            raise UntrustedSocketError(
                f"the tmux server on {shown_name(path)} takes no more clients; it may be stopped",
                f"let it go on (kill -CONT its process), or {OTHER_SOCKET}",
            ) from None
        except OSError as error:
            raise _refusal(path, error) from None
        said = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(said)
    if uid not in (0, os.getuid()):
        raise UntrustedSocketError(
            f"{user_name(uid)} listens at {shown_name(path)}, and nothing is sent to another "
            "user's server",
            ask_the_owner(uid),
        )
    return Listener(pid, uid)


def _leads_astray(path: Path) -> UntrustedSocketError:
    # What /proc calls a link may lead out of everything that was checked.
    return UntrustedSocketError(
        f"{shown_name(path)} leads elsewhere than its directories say", OTHER_SOCKET
    )


def _refusal(path: Path, error: OSError) -> UntrustedSocketError:
    """In the words of tmux, which are known."""
    message = f"error connecting to {path} ({error.strerror})"
    return UntrustedSocketError(message, advice_on(message, path))


def is_process_here(pid: int, listener: Listener | None, path: Path) -> bool:
    """Whether the pid that a server gives for itself means the same process here.

    Otherwise the server lives in another PID namespace, and every pid that it tells is
    that of some other process, or of none.

    Args:
        pid: What the server says.
        listener: Who listens at its socket.
        path: The socket.
    """
    try:
        # /proc may be that of another namespace, too.
        if not procfs.numbers_are_ours():
            return False
    except OSError:
        return False
    # More than one number: it has another one in a namespace of its own.
    if listener is None or len(procfs.namespace_pids_of(pid)) != 1:
        return False
    # Something else may have begun to listen, and have handed that on.
    return pid == listener.pid or listens_at(pid, path)


def listens_at(pid: int, path: Path) -> bool:
    """Whether a process listens at a path, as far as that may be known."""
    there = procfs.listening_path(pid)
    try:
        return there is not None and os.path.samefile(there, path)
    except OSError:
        return False
