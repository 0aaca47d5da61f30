"""Asking tmux who is there, starting and ending sessions: the one door to libtmux.

Three answers are told apart: tmux answered, no server runs, nobody can tell.
Nothing from a registry ever becomes a target or a format: sessions are matched
by name in Python and acted on by the ids that tmux gave them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.host.sessions import Answer, Session, TmuxState

if TYPE_CHECKING:
    import libtmux

ASK_TIMEOUT = 5.0
"""Seconds after which a silent tmux server counts as "can't tell"."""

_OTHER_SOCKET = "choose another socket with -L NAME or -S PATH"

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


# Everything but the last field is a number or an id, so a name may hold spaces.
_FORMAT = (
    "#{session_id} #{session_created} #{window_activity} #{session_attached} "
    "#{pane_id} #{pane_pid} #{session_name}"
)
# A last line of our own proves that the list before it is whole.
_END = "end #{pid} #{start_time}"

# tmux expands formats in the names of new sessions, and rewrites "." and ":".
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Tmux:
    """One tmux server, by its socket. Every call blocks, at most for a time-out.

    Args:
        socket: The server's socket; see `socket_path`.
        timeout: Seconds that one question may take.
    """

    def __init__(self, socket: Path, timeout: float = ASK_TIMEOUT) -> None:
        self.socket = socket
        self._timeout = timeout

    @cached_property
    def _server(self) -> libtmux.Server:
        """The server as libtmux has it, for what changes something there."""
        return _bounded_server(self.socket, self._timeout)

    def ask(self) -> Answer:
        """Lists all sessions with one tmux process. Never raises."""
        asked_at = time.monotonic()
        try:
            code, out, err = self._run(
                "-u", "list-panes", "-a", "-F", _FORMAT, ";", "display-message", "-p", _END
            )
        except _NoTmuxError:
            return self._unknown(install_advice(), asked_at)
        except TimeoutError:
            return self._unknown(
                f"tmux did not answer within {self._timeout:g} s; its server may be stopped",
                asked_at,
                f"let it go on (kill -CONT its process), or {_OTHER_SOCKET}",
            )
        except OSError as error:
            return self._unknown(
                f"tmux could not be started: {error}", asked_at, "see which `tmux` is on PATH"
            )
        if code != 0:
            return self._refusal(" ".join(err) or f"exit code {code}", asked_at)
        return self._listing(out, asked_at)

    def _unknown(self, why: str, asked_at: float, advice: str = "") -> Answer:
        return Answer(TmuxState.UNKNOWN, why, self.socket, {}, asked_at, advice=advice)

    def _refusal(self, message: str, asked_at: float) -> Answer:
        if message == "no current target":
            # A server told to stay without sessions (exit-empty off).
            return Answer(TmuxState.ANSWERED, "no sessions", self.socket, {}, asked_at)
        nobody = message.startswith("no server running on ") or (
            message.startswith("error connecting to ")
            and message.endswith("(No such file or directory)")
        )
        if nobody and self._is_socket_or_absent():
            detail = f"no server on {self.socket}"
            return Answer(TmuxState.NO_SERVER, detail, self.socket, {}, asked_at)
        if nobody:
            message = f"{self.socket} is not a socket"
        return self._unknown(message, asked_at, self._advice(message))

    def _advice(self, message: str) -> str:
        """What to try after tmux said this."""
        said = message.casefold()
        if any(each in said for each in _TOO_OLD):
            return (
                "tmux or its server is of an old version: compare `tmux -V` with the "
                "server's, put the right tmux first on PATH, or end that server"
            )
        if "permission denied" in said or "not allowed" in said:
            owner = _owner(self.socket)
            if owner is not None and owner != user_name(os.geteuid()):
                return f"it is {owner}'s: ask with sudo -u {owner}, or {_OTHER_SOCKET}"
            return f"see who may use the socket, or {_OTHER_SOCKET}"
        return _OTHER_SOCKET

    def _is_socket_or_absent(self) -> bool:
        try:
            return stat.S_ISSOCK(os.stat(self.socket).st_mode)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _listing(self, lines: list[str], asked_at: float) -> Answer:
        sessions: dict[str, Session] = {}
        try:
            word, pid, started = lines[-1].split(" ")
            if word != "end":
                raise ValueError(lines[-1])
            for line in lines[:-1]:
                each = _parse(line)
                same = sessions.get(each.name)
                sessions[each.name] = each if same is None else _merge(same, each)
            server_pid, server_started = int(pid), int(started)
        except (ValueError, IndexError):
            return self._unknown(
                "tmux answered with something that is no list",
                asked_at,
                "see which `tmux` is on PATH; if `tmux -V` is below 3.2, get a newer one",
            )
        return Answer(
            TmuxState.ANSWERED,
            f"server {server_pid}",
            self.socket,
            sessions,
            asked_at,
            server_pid,
            server_started,
        )

    def kill_session(self, session: Session, answer: Answer) -> str | None:
        """Ends exactly the session of an answer.

        The server itself checks, in the same step, that it still is the server
        of the answer and that the id still means the session created then, so
        that a restarted server, which counts its ids anew, loses nothing.

        Returns:
            None when tmux took the command (ask again to see that it is gone), or
            why it did not.
        """
        same_server = f"#{{==:#{{pid}},{answer.server_pid}}}"
        same_session = f"#{{==:#{{session_created}},{session.created}}}"
        return self._do(
            "if-shell",
            "-F",
            "-t",
            f"{session.id}:",
            f"#{{&&:{same_server},{same_session}}}",
            f"kill-session -t '{session.id}'",
        )

    def start_sessions(
        self, commands: Mapping[str, Sequence[str]], *, new_server: bool = False
    ) -> str | None:
        """Starts sessions in the background, all with one tmux process.

        Args:
            commands: What to run, by the name of the session to be: a program
                and at least one argument. No shell sees them.
            new_server: Whether a server may be started, which then reads no
                configuration. Otherwise one must be there.

        Returns:
            None when all were started, or why not; some may have been.

        Raises:
            ValueError: A name is not made of letters, digits, "_" and "-", or a
                command has no argument: tmux would hand it to a shell.
        """
        words: list[str] = []
        for name, command in commands.items():
            if not _PLAIN_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a session")
            if len(command) < 2:
                raise ValueError(f"{command!r} has no argument")
            separator = [";"] if words else []
            words += [*separator, "new-session", "-d", "-s", name, "--"]
            words += map(_protected, command)
        return self._do(*(("-f", os.devnull) if new_server else ("-N",)), *words)

    def _do(self, *arguments: str) -> str | None:
        """Runs one tmux command; None when tmux took it, or why it did not."""
        try:
            done = self._server.cmd(*arguments)
        except _NoTmuxError:
            return install_advice()
        except TimeoutError:
            return f"tmux did not answer within {self._timeout:g} s"
        except OSError as error:
            return f"tmux could not be started: {error}"
        if done.returncode != 0:
            return " ".join(done.stderr) or f"tmux exited with code {done.returncode}"
        return None

    def _run(self, *arguments: str) -> tuple[int, list[str], list[str]]:
        """Asks one question; see `_run`."""
        return _run(self.socket, self._timeout, arguments)


class _NoTmuxError(Exception):
    """There is no tmux on this system's PATH."""


def _run(
    socket: Path, timeout: float, arguments: Sequence[str]
) -> tuple[int, list[str], list[str]]:
    """Runs one tmux command; its exit code, output and errors.

    Raises:
        TimeoutError: It took too long; its process was ended.
        _NoTmuxError: There is no tmux.
        OSError: It could not be started.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell; no target or format is foreign
            ["tmux", f"-S{socket}", *arguments],  # noqa: S607 - where PATH has it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except FileNotFoundError:
        raise _NoTmuxError from None
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return done.returncode, _lines(done.stdout), _lines(done.stderr)


def _bounded_server(socket: Path, timeout: float) -> libtmux.Server:
    """Libtmux's server, whose every command ends within a time-out.

    libtmux itself waits for the end of tmux's output without one: a stopped
    server keeps that open for as long as it is stopped, even when the client is
    killed, because the client has handed its standard output over to it.
    """
    # Imported for the first action: it takes several times as long as asking does.
    # It asks for sys.stdout.encoding when it is imported, and what a running screen
    # puts in stdout's place has none.
    with contextlib.redirect_stdout(sys.__stdout__ or sys.stderr):
        import libtmux
        from libtmux.common import tmux_cmd

    class BoundedServer(libtmux.Server):
        def cmd(self, cmd: str, *args: Any, target: str | int | None = None) -> tmux_cmd:
            targeted = () if target is None else ("-t", target)
            words = [cmd, *map(str, (*targeted, *args))]
            answer = tmux_cmd.__new__(tmux_cmd)
            answer.cmd = ["tmux", f"-S{socket}", *words]
            answer.returncode, answer.stdout, answer.stderr = _run(socket, timeout, words)
            return answer

    return BoundedServer(socket_path=socket)


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _owner(path: Path) -> str | None:
    """Who owns a socket, or else the directory that hides it."""
    for each in (path, path.parent):
        with contextlib.suppress(OSError):
            return user_name(os.stat(each).st_uid)
    return None


def _lines(output: str) -> list[str]:
    # Not splitlines(): a session's name may hold what that takes for an end.
    return [line for line in output.split("\n") if line]


def _protected(argument: str) -> str:
    """An argument that tmux does not take for the end of a command."""
    return f"{argument[:-1]}\\;" if argument.endswith(";") else argument


def _parse(line: str) -> Session:
    session_id, created, activity, attached, pane, pid, name = line.split(" ", 6)
    if session_id[:1] != "$" or not session_id[1:].isdecimal() or pane[:1] != "%":
        raise ValueError(line)
    return Session(
        session_id, name, int(created), int(activity), int(attached), (pane,), (int(pid),)
    )


def _merge(one: Session, other: Session) -> Session:
    return Session(
        one.id,
        one.name,
        one.created,
        max(one.activity, other.activity),
        one.attached,
        one.panes + tuple(pane for pane in other.panes if pane not in one.panes),
        one.pids + tuple(pid for pid in other.pids if pid not in one.pids),
    )
