"""Asking tmux who is there, starting and ending sessions: the one door to libtmux.

Three answers are told apart: tmux answered, no server runs, nobody can tell.
Nothing from a registry ever becomes a target or a format: sessions are matched
by name in Python and acted on by the ids that tmux gave them.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.text import quoted_name, shown_name
from tui.host.tmux_advice import advice_on
from tui.host.tmux_client import Said, run_tmux
from tui.host.tmux_socket import (
    CheckedSocket,
    Listener,
    NoServerError,
    TmuxError,
    checked,
    is_process_here,
)
from tui.host.tmux_types import PaneCapture, Session, TmuxSnapshot, TmuxState

if TYPE_CHECKING:
    import libtmux

ASK_TIMEOUT = 5.0
"""Seconds after which a silent tmux server counts as "can't tell"."""

# Everything but the last field is a number or an id, so a name may hold spaces.
_FORMAT = (
    "#{session_id} #{session_created} #{window_activity} #{session_attached} "
    "#{pane_id} #{pane_pid} #{pane_dead} #{session_name}"
)
# A last line of our own proves that the list before it is whole.
_END = "end #{pid} #{start_time}"

# Where sessions were started: any text, so each is told from the next by a word before it
# that nobody could know.
_STARTED = "#{session_id} #{session_path}"

_SEEN = "#{pane_width} #{pane_height} #{window_activity}"

# Where a session is gone the server is made to look for one that nobody has: so its
# client ends with an error.
_GONE = "muster finds that its session is gone"

# Shown for some seconds to whoever has just come; the prefix is that server's own.
_WAY_BACK = (
    "display-message -d 6000 'muster: #{prefix} d comes back "
    "(the prefix twice where an outer tmux takes it)'"
)

_ERROR_AT_MOST = 500  # characters of it that are shown

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
        self._before: tuple[object, TmuxSnapshot] | None = None

    @cached_property
    def _server(self) -> libtmux.Server:
        """The server as libtmux has it, for what changes something there."""
        return _bounded_server(self.socket, self._timeout)

    def ask(self) -> TmuxSnapshot:
        """Lists all sessions with one tmux process. Never raises."""
        asked_at = time.monotonic()
        mark = f"{os.urandom(16).hex()} "
        panes = ("list-panes", "-a", "-F", _FORMAT, ";", "display-message", "-p", _END)
        places = ("list-sessions", "-F", f"{mark}{_STARTED}")
        try:
            answer = self._run("-u", *panes, ";", *places, errors="surrogateescape")
        except NoServerError as error:
            return TmuxSnapshot(TmuxState.NO_SERVER, str(error), self.socket, {}, asked_at)
        except TmuxError as error:
            return self._unknown(str(error), asked_at, error.advice)
        if answer.code != 0:
            why = _readable(_in_words(answer.errors)) or f"exit code {answer.code}"
            return self._refusal(why, asked_at)
        said = tuple("\n".join([*answer.output, ""]).split(mark)), answer.listener
        # As a rule it says what it said before, and that is not read anew.
        before = self._before
        if before is None or before[0] != said:
            self._before = before = said, self._listing(asked_at, answer.listener, *said[0])
        return replace(before[1], asked_at=asked_at)

    def _unknown(self, why: str, asked_at: float, advice: str = "") -> TmuxSnapshot:
        return TmuxSnapshot(TmuxState.UNKNOWN, why, self.socket, {}, asked_at, advice=advice)

    def _refusal(self, message: str, asked_at: float) -> TmuxSnapshot:
        if message == "no current target":
            # A server told to stay without sessions (exit-empty off).
            return TmuxSnapshot(TmuxState.ANSWERED, "no sessions", self.socket, {}, asked_at)
        nobody = message.startswith("no server running on ") or (
            message.startswith("error connecting to ")
            and message.endswith("(No such file or directory)")
        )
        if nobody:
            detail = f"no server on {shown_name(self.socket)}"
            return TmuxSnapshot(TmuxState.NO_SERVER, detail, self.socket, {}, asked_at)
        return self._unknown(message, asked_at, advice_on(message, self.socket))

    def _listing(
        self, asked_at: float, listener: Listener | None, listed: str, *started: str
    ) -> TmuxSnapshot:
        sessions: dict[str, Session] = {}
        started_in = dict(each.removesuffix("\n").partition(" ")[::2] for each in started)
        lines = [line for line in listed.split("\n") if line]
        try:
            word, pid, began = lines[-1].split(" ")
            if word != "end":
                raise ValueError(lines[-1])
            for line in lines[:-1]:
                each = _parse(line, started_in)
                same = sessions.get(each.name)
                sessions[each.name] = each if same is None else _merge(same, each)
            server_pid, server_started = int(pid), int(began)
        except (ValueError, IndexError):
            return self._unknown(
                "tmux answered with something that is no list",
                asked_at,
                "see which `tmux` is on PATH; if `tmux -V` is below 3.2, get a newer one",
            )
        foreign = not is_process_here(server_pid, listener, self.socket)
        if foreign:
            # Without them nobody can take them for pids of ours.
            sessions = {name: replace(each, pids=()) for name, each in sessions.items()}
        return TmuxSnapshot(
            TmuxState.ANSWERED,
            f"server {server_pid}",
            self.socket,
            sessions,
            asked_at,
            server_pid,
            server_started,
            listener=(listener.pid if listener is not None else 0) or None,
            foreign_pids=foreign,
            server_user=None if listener is None else listener.uid,
        )

    def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
        """Ends exactly the session of an answer.

        The server itself checks, in the same step, that it still is the server
        of the answer and that the id still means the session created then, so
        that a restarted server, which counts its ids anew, loses nothing.

        Returns:
            None when tmux took the command (ask again to see that it is gone), or
            why it did not.
        """
        check = _all_of(answer, session_created=session.created)
        target = f"{session.id}:"
        return self._do("if-shell", "-F", "-t", target, check, f"kill-session -t '{session.id}'")

    def capture(self, session: Session, answer: TmuxSnapshot, pane: str) -> PaneCapture:
        """What a pane shows now, with its colours as escape sequences: foreign text.

        In the same step the server checks that it still is the one of the answer, and
        that the pane still is in the session.

        Raises:
            OSError: It is gone, or nobody can tell; the text says so.
        """
        check = _all_of(answer, session_id=session.id, pane_id=pane)
        look = f"display-message -p -t '{pane}' '{_SEEN}' ; capture-pane -p -e -t '{pane}'"
        try:
            said = self._run(
                "-u", "if-shell", "-F", "-t", pane, check, look, f"has-session -t '={_GONE}'"
            )
        except TmuxError as error:
            raise OSError(str(error)) from None
        out = said.output
        if said.code != 0:
            raise OSError(_refused(said.errors, said.code))
        try:
            width, height, active = map(int, out[0].split(" "))
        except (ValueError, IndexError):
            raise OSError("tmux answered with something that is no screen") from None
        return PaneCapture(tuple(out[1:]), width, height, active)

    @contextmanager
    def attach_command(
        self, session: Session, answer: TmuxSnapshot, *, read_only: bool
    ) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """What attaches the terminal that it runs on to a session, for as long as the block lasts.

        Only that very session is attached to, as with `kill_session`; otherwise it ends
        with an error.

        Yields:
            The program and its arguments, which need an environment without ``TMUX``, and
            the descriptors that it must inherit.

        Raises:
            TmuxError: The server may be another user's, or there is none.
        """
        flag = " -r" if read_only else ""
        command = f"attach-session{flag} -t '{session.id}' ; {_WAY_BACK}"
        with self._checked() as door:
            words = ["tmux", f"-S{door.path}", *_guarded(session, answer, command)]
            yield words, door.descriptors

    def _checked(self) -> AbstractContextManager[CheckedSocket]:
        return checked(self.socket)

    def switch_client(self, session: Session, answer: TmuxSnapshot) -> str | None:
        """Shows a session on the terminal that shows this process's own pane.

        Returns:
            None when it does, or why not.
        """
        return self._do(*_guarded(session, answer, f"switch-client -t '{session.id}'"))

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
                raise ValueError(f"{quoted_name(name)} cannot be the name of a session")
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
        except TmuxError as error:
            return str(error)
        return _refused(done.stderr, done.returncode or 0) if done.returncode != 0 else None

    def _run(self, *arguments: str, errors: str = "backslashreplace") -> Said:
        """Asks one question; see `run_tmux`."""
        return run_tmux(self.socket, self._timeout, arguments, errors)


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
            said = run_tmux(socket, timeout, words)
            answer.returncode, answer.stdout, answer.stderr = said.code, said.output, said.errors
            return answer

    return BoundedServer(socket_path=socket)


def _all_of(answer: TmuxSnapshot, **values: object) -> str:
    """A format that is true on the server of an answer where each variable has that value."""
    values = {"pid": answer.server_pid, "start_time": answer.server_started, **values}
    checks = [f"#{{==:#{{{name}}},{value}}}" for name, value in values.items()]
    together = checks[0]
    for each in checks[1:]:
        together = f"#{{&&:{together},{each}}}"
    return together


def _guarded(session: Session, answer: TmuxSnapshot, command: str) -> tuple[str, ...]:
    """A command that the server carries out only for the very session of an answer."""
    check = _all_of(answer, session_id=session.id, session_created=session.created)
    return ("if-shell", "-F", "-t", f"{session.id}:", check, command, f"has-session -t '={_GONE}'")


def _refused(said: list[str], code: int) -> str:
    """Why tmux did not take a command."""
    why = _in_words(said)
    return "its session is gone" if why.endswith(_GONE) else why or f"tmux exited with code {code}"


def _in_words(errors: list[str]) -> str:
    """What tmux said on standard error, as far as that can be shown with every agent."""
    said = " ".join(errors)
    return said if len(said) <= _ERROR_AT_MOST else f"{said[:_ERROR_AT_MOST]} …"


def _readable(text: str) -> str:
    """Text whose bytes that are no UTF-8 were kept, with escapes in their place."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _protected(argument: str) -> str:
    """An argument that tmux does not take for the end of a command."""
    return f"{argument[:-1]}\\;" if argument.endswith(";") else argument


def _parse(line: str, started_in: Mapping[str, str]) -> Session:
    session_id, created, activity, attached, pane, pid, dead, name = line.split(" ", 7)
    if session_id[:1] != "$" or not session_id[1:].isdecimal() or pane[:1] != "%":
        raise ValueError(line)
    if dead not in ("0", "1"):
        raise ValueError(line)
    # A dead pane (remain-on-exit) keeps its pid, which may be another process's by now.
    first = int(pid)
    pids = (first,) if dead == "0" else ()
    return Session(
        session_id,
        _readable(name),
        int(created),
        int(activity),
        int(attached),
        (pane,),
        pids,
        started_in.get(session_id) or None,
    )


def _merge(one: Session, other: Session) -> Session:
    return replace(
        one,
        activity=max(one.activity, other.activity),
        panes=one.panes + tuple(pane for pane in other.panes if pane not in one.panes),
        pids=one.pids + tuple(pid for pid in other.pids if pid not in one.pids),
    )
