"""Remedies for a tmux that is missing, is too old, or does not answer."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Sequence
from pathlib import Path

from registry.text import command_line, shown_name

OTHER_SOCKET = "choose another socket with -L NAME or -S PATH"

_TOO_OLD = (
    "protocol version mismatch",
    "server version is too old",
)
"""Messages of a tmux client or server whose version is too old."""

_OTHER_COMMAND = (
    "unknown option",
    "unknown flag",
    "invalid option",
    "illegal option",
    "unknown command",
    "ambiguous command",
    "too many arguments",
    "too few arguments",
    "not enough arguments",
    "usage:",
)
"""Messages of tmux about a command that muster wrote, or that an alias or a hook put there."""

_OLDEST = (3, 2)
"""The oldest version of tmux that muster supports."""

_NEEDED = f"muster needs tmux {_OLDEST[0]}.{_OLDEST[1]} or newer"

RIGHT_TMUX = f"{_NEEDED}, and the tmux of the server's version first on PATH"
"""The remedy for a server that another version of tmux started."""

_COMPARE = (
    f"{_NEEDED}; compare `tmux -V` with the version of the server (tmux display-message -p "
    "'#{version}'), put the right tmux first on PATH"
)

VERSIONS = f"{_COMPARE}, or end that server"
"""The remedy for a client or server of a wrong version."""

NO_SESSIONS = "no current target"
"""The message of a server that has no sessions."""

NO_SERVER = "no server running on "
"""The start of tmux's message that no server runs."""

NOT_CONNECTED = "error connecting to "
"""The start of tmux's message that the client cannot connect to the socket."""

_CHANGED = (
    "an alias (tmux show-options -s command-alias) or a hook (tmux show-hooks -g) of the tmux "
    "configuration may change the commands or the output of tmux"
)

CHANGED_COMMANDS = (
    f"{_CHANGED}; remove such an alias or hook with set-option -su or set-hook -gu. If there is "
    f"none: {_COMPARE}"
)
"""The remedy for an answer that does not fit the command that muster wrote.

It does not end the server, because the sessions of all agents would end too.
"""

_ENDING = ("server exited", "server exited unexpectedly", "lost server")
"""Messages of a tmux client whose server ended before the server answered."""

_LOADER = "ERROR: ld.so: "
"""The start of a message of the dynamic loader, which then still starts the program."""

_NOT_LOADED = ("ld_preload", "ld.so", "loading shared libraries")

_NO_TERMINFO = "missing or unsuitable terminal"
_TOO_SIMPLE = "terminal does not support"

_ERROR_AT_MOST = 500
"""The number of characters of an error that are shown."""

_INSTALLERS = {
    "apt": "apt install tmux",
    "dnf": "dnf install tmux",
    "pacman": "pacman -S tmux",
    "apk": "apk add tmux",
    "zypper": "zypper install tmux",
    "yum": "yum install tmux",
}
"""Maps the program of each package manager to the command that installs tmux."""


def install_advice() -> str:
    """Returns a message that tmux is missing, with the command that installs tmux."""
    import shutil

    commands = [command for program, command in _INSTALLERS.items() if shutil.which(program)]
    if commands:
        return f"tmux is not installed; install it with: {commands[0]}"
    known = ", ".join(_INSTALLERS.values())
    return f"tmux is not installed; install it with your package manager, for example: {known}"


def is_ending(message: str) -> bool:
    """Returns whether a message of tmux means that the server ended before the server answered."""
    return message in _ENDING


def own_message(errors: Sequence[str], *, whole: bool = False) -> str:
    """Returns tmux's own message, as a text of limited length.

    The dynamic loader, a preloaded library or a wrapper can write to the same standard error.

    Args:
        errors: The lines of the standard error.
        whole: Whether to return all lines, even if only one of them is a known message of tmux.
    """
    lines = [*dict.fromkeys(errors)]
    lines = [line for line in lines if not line.startswith(_LOADER)] or lines
    known = [line for line in lines if _is_known(line)]
    text = known[0] if len(known) == 1 and not whole else " ".join(lines)
    return text if len(text) <= _ERROR_AT_MOST else f"{text[:_ERROR_AT_MOST]} …"


def _is_known(line: str) -> bool:
    if is_ending(line) or line in (NO_SESSIONS, "access not allowed"):
        return True
    return line.startswith((NO_SERVER, NOT_CONNECTED, *_TOO_OLD, *_OTHER_COMMAND))


def why_too_old(version: str) -> str | None:
    """Returns why muster does not use a tmux server; None if the server's version is supported.

    A version without a number, for example that of a development build, counts as supported.

    Args:
        version: The version as the server reports it, for example ``3.0a`` or ``next-3.8``.
    """
    number = re.search(r"(\d+)\.(\d+)", version)
    if number is None or tuple(map(int, number.groups())) >= _OLDEST:
        return None
    return f"the tmux server has version {shown_name(version, 20)}, which is too old"


def advice_on(message: str, socket: Path) -> str:
    """Returns a remedy for an error message of tmux about a socket."""
    if is_ending(message):
        return "the server was ending; try again"
    folded = message.casefold()
    if any(sign in folded for sign in _NOT_LOADED):
        return (
            "install the library, or correct LD_PRELOAD, LD_LIBRARY_PATH or /etc/ld.so.preload; "
            "check that `tmux -V` prints a version"
        )
    about_command = _is_about_command(folded)
    # A message that begins with the program's name is about an option of the program, which no
    # alias and no hook changes.
    of_program = about_command and folded.startswith("tmux: ")
    if of_program or any(sign in folded for sign in _TOO_OLD):
        return f"tmux or its server has an old version; {VERSIONS}"
    if about_command:
        return CHANGED_COMMANDS
    if "permission denied" in folded or "not allowed" in folded:
        owner = _owner(socket)
        if owner is not None and owner != os.geteuid():
            return ask_the_owner(owner)
        return f"check the permissions of the socket, or {OTHER_SOCKET}"
    return OTHER_SOCKET


def terminal_advice(message: str, terminal: str) -> str:
    """Returns a remedy for a terminal that tmux cannot use; empty for another message.

    Args:
        message: The standard error of a tmux client.
        terminal: The value of TERM, which is untrusted text.
    """
    if _NO_TERMINFO in message and terminal:
        return (
            f"this host has no terminfo entry for TERM={shown_name(terminal, 40)}; install the "
            "entry (on a host that has it: infocmp -x | ssh THIS-HOST tic -x -), or start muster "
            "with TERM=xterm-256color"
        )
    if _NO_TERMINFO in message or _TOO_SIMPLE in message:
        return "start muster with the type of this terminal, for example TERM=xterm-256color"
    return ""


def with_cause(message: str) -> str:
    """Returns an error message of tmux; adds a possible cause to a message about a command."""
    return f"{message} ({_CHANGED})" if _is_about_command(message.casefold()) else message


def _is_about_command(folded: str) -> bool:
    return any(sign in folded for sign in _OTHER_COMMAND)


def ask_the_owner(uid: int) -> str:
    """Returns a remedy for a socket that belongs to another user."""
    owner = shown_name(user_name(uid))
    return f"the socket belongs to {owner}; use {as_user(uid)}, or {OTHER_SOCKET}"


def as_user(uid: int) -> str:
    """Returns the command that runs muster as another user."""
    # sudo needs a "#" before a user id; the "#" is quoted, as it starts a comment in a shell.
    by_number = f"#{uid}"
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = by_number
    sudo = command_line("sudo", options=[("-u", name)])
    sudo = sudo or command_line("sudo", options=[("-u", by_number)])
    return f"{sudo} muster …"


def socket_option(socket: Path) -> str:
    """Returns the option for a socket, or a description if the path cannot be typed reliably."""
    option = command_line(options=[("-S", str(socket))])
    return f"-S with the socket {shown_name(socket)}" if option is None else option


def user_name(uid: int) -> str:
    """Returns the name of a user, or the user id if the user has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _owner(path: Path) -> int | None:
    """Returns the user id of a socket's owner; None if the owner is not known.

    If muster cannot access the socket, the result is the owner of the socket's directory.
    """
    for candidate in (path, path.parent):
        with contextlib.suppress(OSError):
            return os.stat(candidate).st_uid
    return None
