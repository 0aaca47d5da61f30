"""What to try when tmux is not there or does not answer. Pure but for looking who owns what."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from registry.text import command_line, shown_name

OTHER_SOCKET = "choose another socket with -L NAME or -S PATH"

_TOO_OLD = (
    "protocol version mismatch",
    "server version is too old",
    "unknown option",
    "unknown flag",
    "invalid option",
    "illegal option",
    "unknown command",
    "usage:",
)
"""What tmux says when it, or its server, is of another version than was asked for."""

_INSTALLERS = {
    "apt": "apt install tmux",
    "dnf": "dnf install tmux",
    "pacman": "pacman -S tmux",
    "apk": "apk add tmux",
    "zypper": "zypper install tmux",
    "yum": "yum install tmux",
}
"""How each package manager, by the name of its program, installs tmux."""


def install_advice() -> str:
    """That tmux is not there, and how to get it with this system's package manager."""
    import shutil

    here = [command for program, command in _INSTALLERS.items() if shutil.which(program)]
    if here:
        return f"tmux is not installed. Get it with: {here[0]}"
    known = ", ".join(_INSTALLERS.values())
    return f"tmux is not installed. Get it with your system's packages, as one of these: {known}"


def advice_on(message: str, socket: Path) -> str:
    """What to try after tmux said this of a socket."""
    said = message.casefold()
    if any(each in said for each in _TOO_OLD):
        return (
            "tmux or its server is of an old version: compare `tmux -V` with the "
            "server's, put the right tmux first on PATH, or end that server"
        )
    if "permission denied" in said or "not allowed" in said:
        owner = _owner(socket)
        if owner is not None and owner != os.geteuid():
            return ask_the_owner(owner)
        return f"see who may use the socket, or {OTHER_SOCKET}"
    return OTHER_SOCKET


def ask_the_owner(uid: int) -> str:
    """That a tmux server or its socket is this user's, and how to ask it."""
    return f"it is {shown_name(user_name(uid))}'s: ask with {as_user(uid)}, or {OTHER_SOCKET}"


def as_user(uid: int) -> str:
    """The command that runs muster as this user."""
    # A number takes a "#" there, and that is a comment to a shell.
    by_number = f"#{uid}"
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = by_number
    sudo = command_line("sudo", options=[("-u", name)])
    sudo = sudo or command_line("sudo", options=[("-u", by_number)])
    return f"{sudo} muster …"


def socket_option(socket: Path) -> str:
    """The option that chooses a socket; one that nobody can type for sure is only named."""
    option = command_line(options=[("-S", str(socket))])
    return f"-S with the socket {shown_name(socket)}" if option is None else option


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _owner(path: Path) -> int | None:
    """Who owns a socket, or else the directory that hides it."""
    for each in (path, path.parent):
        with contextlib.suppress(OSError):
            return os.stat(each).st_uid
    return None
