"""Lists, starts and ends tmux sessions. Only this module imports libtmux.

A query has one of three results: tmux answered, no server runs, or unknown. Text from a registry
never becomes part of a target or a format. Instead, Python code searches the list of sessions for
a name, and muster then uses the id that tmux gave to the session.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.dataclass import replace
from registry.text import quoted_name, shown_name
from tui.host.process import procfs
from tui.host.process.first_panes import ended_pane, is_certain, is_clock_unset, later_start
from tui.host.tmux_advice import (
    CHANGED_COMMANDS,
    NO_SERVER,
    NO_SESSIONS,
    NOT_CONNECTED,
    VERSIONS,
    advice_on,
    is_ending,
    own_message,
    with_cause,
)
from tui.host.tmux_client import Said, run_tmux
from tui.host.tmux_listing import (
    END,
    PANES,
    STARTED,
    OldServerError,
    is_complete,
    marked,
    parse_listing,
    readable,
    records_in,
)
from tui.host.tmux_socket import (
    CheckedSocket,
    Listener,
    NoServerError,
    TmuxError,
    checked,
    is_process_here,
)
from tui.host.tmux_types import (
    CONSIDER_ALL,
    PaneCapture,
    Session,
    SetAside,
    TmuxSnapshot,
    TmuxState,
)

if TYPE_CHECKING:
    import libtmux

ASK_TIMEOUT = 5.0
"""The seconds for which muster waits for an answer of tmux."""

# A server that is about to end is queried again for `_ENDING_FOR` seconds. There is a pause of
# `_ENDING_PAUSE` seconds between two queries.
_ENDING_FOR = 2.0
_ENDING_PAUSE = 0.02

_SEEN = "#{pane_width} #{pane_height} #{window_activity}"

# If a command names no client, tmux itself chooses the client.
_CLIENTS = "#{client_name} #{client_readonly} #{pane_id} #{pane_tty}"
# Without the session, tmux would report the option of another session.
_OPTION = "#{session_id} #{detach-on-destroy}"
_CLIENT_NAME = re.compile(r"[A-Za-z0-9/._-]+", re.ASCII)

# If a session is gone, the command asks the server for a session with this name. No session has
# this name, so the client exits with an error.
_GONE = "muster finds that its session is gone"

# This message is shown for some seconds after attaching. The server fills in its own prefix key.
# if-shell parses its command only after the client is attached. So the client is attached even if
# the server refuses this command.
_WAY_BACK = (
    "if-shell -F 1 \"display-message -d 6000 'muster: press #{prefix} d to return "
    "(press #{prefix} twice if this tmux runs inside another tmux)'\""
)

# tmux expands formats in the names of new sessions, and some versions replace "." and ":".
_PLAIN_NAME = r"(?a)[A-Za-z0-9_-]+"


class Tmux:
    """A tmux server, addressed by its socket. Every method blocks, at most for the timeout.

    Args:
        socket: The server's socket; see `socket_path`.
        timeout: The timeout of one query in seconds.
        set_aside: Stored as the attribute `set_aside`.

    Attributes:
        socket: The server's socket.
        set_aside: The other servers that muster ignores in a search for missing sessions.
    """

    def __init__(
        self,
        socket: Path,
        timeout: float = ASK_TIMEOUT,
        set_aside: SetAside = CONSIDER_ALL,
    ) -> None:
        self.socket = socket
        self.set_aside = set_aside
        self._timeout = timeout
        self._before: tuple[object, TmuxSnapshot] | None = None
        self._later: dict[object, float | None] = {}

    @cached_property
    def _server(self) -> libtmux.Server:
        """The server as a libtmux object, for commands that change sessions."""
        return _bounded_server(self.socket, self._timeout)

    def ask(self) -> TmuxSnapshot:
        """Lists all sessions. Never raises.

        If the server is about to end, muster repeats the query until the server has ended, for at
        most 2 s.
        """
        give_up_at = time.monotonic() + min(_ENDING_FOR, self._timeout)
        while is_ending((answer := self._ask_once()).detail) and time.monotonic() < give_up_at:
            time.sleep(_ENDING_PAUSE)
        # A server of another version may end the connection again and again.
        if is_ending(answer.detail):
            return replace(answer, advice=f"{answer.advice}; if this does not help: {VERSIONS}")
        return answer

    def _ask_once(self) -> TmuxSnapshot:
        """Lists all sessions with one tmux process."""
        asked_at = time.monotonic()
        mark = os.urandom(16).hex()
        # An alias of the command could contain a filter, which the filter "1" replaces.
        panes = ("list-panes", "-a", "-f", "1", "-F", marked(mark, PANES))
        end = ("display-message", "-p", marked(mark, END))
        places = ("list-sessions", "-f", "1", "-F", marked(mark, STARTED))
        try:
            answer = self._run("-u", *panes, ";", *end, ";", *places, errors="surrogateescape")
            records = records_in("\n".join(answer.output), mark)
        except NoServerError as error:
            return TmuxSnapshot(TmuxState.NO_SERVER, str(error), self.socket, {}, asked_at)
        except TmuxError as error:
            return self._unknown(str(error), asked_at, error.advice)
        except ValueError:
            return self._no_listing(asked_at)
        if answer.code != 0 and not is_complete(records):
            # With a part of the list, no message proves that there are no sessions.
            why = readable(own_message(answer.errors, whole=bool(records)))
            return self._refusal(why or f"exit code {answer.code}", asked_at, answer.listener)
        if answer.errors and not records:
            # A client that finds the version of the server too old exits with code 0.
            return self._refusal(readable(own_message(answer.errors)), asked_at, answer.listener)
        texts = records, answer.listener
        # Usually the answer equals the last answer, which was parsed already.
        if self._before is not None and self._before[0] == texts:
            return replace(self._before[1], asked_at=asked_at)
        snapshot = self._listing(asked_at, answer.listener, records)
        # If tmux does not notice the end of a process, the answer of tmux does not change.
        dead = (pane for session in snapshot.sessions.values() for pane in session.dead)
        self._before = (texts, snapshot) if all(map(is_certain, dead)) else None
        return snapshot

    def _unknown(self, why: str, asked_at: float, advice: str = "") -> TmuxSnapshot:
        return TmuxSnapshot(TmuxState.UNKNOWN, why, self.socket, {}, asked_at, advice=advice)

    def _no_listing(self, asked_at: float) -> TmuxSnapshot:
        return self._unknown(
            "the answer of tmux is not a list of sessions",
            asked_at,
            f"check which `tmux` is on PATH; {CHANGED_COMMANDS}",
        )

    def _refusal(self, message: str, asked_at: float, listener: Listener | None) -> TmuxSnapshot:
        if message == NO_SESSIONS:
            # The server keeps running without sessions (its option exit-empty is off).
            server = (listener.pid if listener is not None else 0) or None
            pane = None if server is None else _pane_of(server)
            if pane is not None:
                why = f"tmux lists no sessions, but process {pane} runs in a pane of this server"
                return self._unknown(why, asked_at, advice_on(message, self.socket))
            return TmuxSnapshot(
                TmuxState.ANSWERED,
                "no sessions",
                self.socket,
                {},
                asked_at,
                listener=server,
                server_user=None if listener is None else listener.uid,
            )
        no_server = message.startswith(NO_SERVER) or (
            message.startswith(NOT_CONNECTED) and message.endswith("(No such file or directory)")
        )
        if no_server:
            detail = f"no server on {shown_name(self.socket)}"
            return TmuxSnapshot(TmuxState.NO_SERVER, detail, self.socket, {}, asked_at)
        return self._unknown(message, asked_at, advice_on(message, self.socket))

    def _listing(
        self, asked_at: float, listener: Listener | None, records: Sequence[str]
    ) -> TmuxSnapshot:
        try:
            sessions, server_pid, server_started = parse_listing(records)
        except OldServerError as error:
            return self._unknown(str(error), asked_at, VERSIONS)
        except ValueError:
            return self._no_listing(asked_at)
        foreign = not is_process_here(server_pid, listener, self.socket)
        if foreign:
            # These pids belong to another PID namespace, so they must not be used here.
            sessions = {
                name: replace(session, pids=(), dead=()) for name, session in sessions.items()
            }
        else:
            sessions = self._with_first_panes(sessions, server_pid, server_started)
        process = None if foreign else procfs.stat_of(server_pid)
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
            server_began=None if process is None else process.started,
        )

    def _with_first_panes(
        self, sessions: Mapping[str, Session], server: int, started: int
    ) -> dict[str, Session]:
        """Returns sessions with the values of `Session.ended` and `Session.later`."""
        comparable = is_clock_unset(server, started)
        before, self._later = self._later, {}
        completed: dict[str, Session] = {}
        for name, session in sessions.items():
            # A pane's process is read once.
            key = (server, started, session.id, session.panes, session.pids)
            later = before[key] if key in before else later_start(session)
            self._later[key] = later
            ended = ended_pane(session, server) if session.dead else None
            completed[name] = replace(session, ended=ended, later=later if comparable else None)
        return completed

    def kill_session(self, session: Session, answer: TmuxSnapshot) -> str | None:
        """Kills exactly the session that a snapshot lists.

        The tmux command first checks the identity of the server and the creation time of the
        session. So a restarted server, which reuses ids, does not kill another session.

        Returns:
            None if tmux accepted the command, otherwise the reason why not. Query tmux again to
            know whether the session is gone.
        """
        check = _all_of(answer, session_id=session.id, session_created=session.created)
        target = f"{session.id}:"
        return self._do("if-shell", "-F", "-t", target, check, f"kill-session -t '{session.id}'")

    def capture(self, session: Session, answer: TmuxSnapshot, pane: str) -> PaneCapture:
        """Captures the content of a pane, with colours as escape sequences; untrusted text.

        The tmux command first checks the identity of the server, and that the pane is still in the
        session.

        Raises:
            OSError: The pane is gone, or tmux could not be queried.
        """
        check = _all_of(answer, session_id=session.id, pane_id=pane)
        mark = os.urandom(16).hex()
        look = (
            f"display-message -p -t '{pane}' '{mark}{_SEEN}' ; capture-pane -p -e -t '{pane}' ; "
            f"display-message -p -t '{pane}' '{mark}'"
        )
        try:
            result = self._run(
                "-u", "if-shell", "-F", "-t", pane, check, look, f"has-session -t '={_GONE}'"
            )
        except TmuxError as error:
            raise OSError(str(error)) from None
        if result.code != 0:
            raise OSError(_refused(result.errors, result.code))
        try:
            (captured,) = records_in("\n".join(result.output), mark)
            size, *lines = captured.removesuffix("\n").split("\n")
            width, height, active = map(int, size.split(" "))
        except ValueError:
            raise OSError("the answer of tmux is not the content of a pane") from None
        return PaneCapture(tuple(lines), width, height, active)

    @contextmanager
    def attach_command(
        self, session: Session, answer: TmuxSnapshot, *, read_only: bool
    ) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """Yields a command that attaches a terminal to a session; valid in the `with` block.

        The command fails if this session is gone; see `kill_session` for the check. The command
        sets the option `detach-on-destroy` of the session, so that the clients of the session end
        when the session ends.

        Yields:
            The program with its arguments, and the descriptors that the program must inherit. Run
            the program in an environment without ``TMUX``.

        Raises:
            TmuxError: No server runs, or the server may belong to another user.
        """
        flag = " -r" if read_only else ""
        # Otherwise tmux may move the client to another agent's session when this session ends.
        stay = f"set-option -t '{session.id}:' detach-on-destroy on"
        command = f"{stay} ; attach-session{flag} -t '{session.id}' ; {_WAY_BACK}"
        with self._checked() as door:
            words = ["tmux", f"-S{door.path}", *_guarded(session, answer, command)]
            yield words, door.descriptors

    def _checked(self) -> AbstractContextManager[CheckedSocket]:
        return checked(self.socket)

    def own_client(self, session: Session, pane: str, terminal: str) -> str | None:
        """Returns the tmux client that shows muster, if muster may switch this client.

        Args:
            session: The session to which muster would switch the client.
            pane: The id of the pane in which muster runs, for example ``%5``.
            terminal: The path of muster's terminal, for example ``/dev/pts/3``.

        Returns:
            The name of the client. None in any of these cases:

            - No client, or more than one client, shows the pane and accepts keys.
            - The terminal is not the terminal of the pane, for example in a popup.
            - The clients of the session do not end with the session (`detach-on-destroy`).

        Raises:
            TmuxError: tmux could not be queried.
        """
        option = ("display-message", "-p", "-t", f"{session.id}:", _OPTION)
        answer = self._run("-u", "list-clients", "-F", _CLIENTS, ";", *option)
        if answer.code != 0 or answer.output[-1:] != [f"{session.id} on"]:
            return None
        clients = [line.split(" ") for line in answer.output[:-1]]
        # A read-only client cannot have sent the operator's key.
        own = [client for client in clients if client[1:] == ["0", pane, terminal]]
        return own[0][0] if len(own) == 1 and _CLIENT_NAME.fullmatch(own[0][0]) else None

    def switch_client(self, client: str, session: Session, answer: TmuxSnapshot) -> str | None:
        """Switches a client to a session.

        Args:
            client: The result of `own_client`.
            session: The session.
            answer: The snapshot that lists the session.

        Returns:
            None if the client switched, otherwise the reason why not.
        """
        command = f"switch-client -c '{client}' -t '{session.id}'"
        return self._do(*_guarded(session, answer, command))

    def start_sessions(
        self, commands: Mapping[str, Sequence[str]], *, new_server: bool = False
    ) -> str | None:
        """Starts sessions in the background with one tmux process.

        Args:
            commands: Maps the name of each session to its program, with at least one argument. No
                shell is involved.
            new_server: Whether to start a server, without a configuration file. If False, the
                server must exist.

        Returns:
            None if all sessions were started. Otherwise the reason; some of the sessions may have
            been started.

        Raises:
            ValueError: A name contains a character that is not a letter, a digit, "_" or "-". Or a
                command has no argument, so tmux would pass the command to a shell.
        """
        words: list[str] = []
        for name, command in commands.items():
            if not re.fullmatch(_PLAIN_NAME, name):
                raise ValueError(
                    f'{quoted_name(name)} cannot name a session; use letters, digits, "_" and "-"'
                )
            if len(command) < 2:
                raise ValueError(f"{command!r} has no argument; add one")
            separator = [";"] if words else []
            words += [*separator, "new-session", "-d", "-s", name, "--"]
            words += map(_protected, command)
        if not new_server:
            return self._do("-N", *words)
        starting = _bounded_server(self.socket, self._timeout, to_start=True)
        return self._do("-f", os.devnull, *words, server=starting)

    def _do(self, *arguments: str, server: libtmux.Server | None = None) -> str | None:
        """Runs a tmux command; returns the reason if tmux refused the command, otherwise None."""
        try:
            done = (server or self._server).cmd(*arguments)
        except TmuxError as error:
            return str(error)
        return _refused(done.stderr, done.returncode or 0) if done.returncode != 0 else None

    def _run(self, *arguments: str, errors: str = "backslashreplace") -> Said:
        """Runs a query; see `run_tmux`."""
        return run_tmux(self.socket, self._timeout, arguments, errors)


def _bounded_server(socket: Path, timeout: float, *, to_start: bool = False) -> libtmux.Server:
    """Returns a libtmux server whose commands have a timeout.

    libtmux itself waits for the end of tmux's output without a timeout. A stopped server keeps
    this output open, even after the client was killed, because the client passed its standard
    output to the server.
    """
    # Imported at the first action, because the import takes several times as long as a query.
    # The import reads sys.stdout.encoding, which Textual's replacement of stdout does not have.
    with contextlib.redirect_stdout(sys.__stdout__ or sys.stderr):
        import libtmux
        from libtmux.common import tmux_cmd

    class BoundedServer(libtmux.Server):
        def cmd(self, cmd: str, *args: Any, target: str | int | None = None) -> tmux_cmd:
            targeted = () if target is None else ("-t", target)
            words = [cmd, *map(str, (*targeted, *args))]
            answer = tmux_cmd.__new__(tmux_cmd)
            answer.cmd = ["tmux", f"-S{socket}", *words]
            result = run_tmux(socket, timeout, words, to_start=to_start)
            answer.returncode = result.code
            answer.stdout, answer.stderr = result.output, result.errors
            return answer

    return BoundedServer(socket_path=socket)


def _all_of(answer: TmuxSnapshot, **values: object) -> str:
    """Returns a tmux format that checks the server of a snapshot and the values of variables.

    tmux compares the variables in the given order, and stops at the first difference. tmux 3.2 and
    3.2a crash, and end all sessions, if they read session_created while no session exists.

    Args:
        answer: The snapshot.
        values: Maps the names of tmux variables to the expected values.
    """
    values = {"pid": answer.server_pid, "start_time": answer.server_started, **values}
    combined = "1"
    for name, value in reversed(values.items()):
        combined = f"#{{?#{{==:#{{{name}}},{value}}},{combined},0}}"
    return combined


def _guarded(session: Session, answer: TmuxSnapshot, command: str) -> tuple[str, ...]:
    """Returns a tmux command that runs only if the session of a snapshot still exists."""
    check = _all_of(answer, session_id=session.id, session_created=session.created)
    return ("if-shell", "-F", "-t", f"{session.id}:", check, command, f"has-session -t '={_GONE}'")


def _refused(errors: list[str], code: int) -> str:
    """Returns the reason why tmux did not run a command."""
    if any(line.endswith(_GONE) for line in errors):
        return "its session is gone"
    return with_cause(own_message(errors)) or f"tmux exited with code {code}"


def _pane_of(server: int) -> int | None:
    """Returns the pid of a running process in a pane of a server, or None."""
    stats = procfs.all_stats().values()
    running = (stat for stat in stats if stat.parent == server and not stat.is_ended)
    return next((stat.pid for stat in running if stat.leads_terminal), None)


def _protected(argument: str) -> str:
    """Escapes a semicolon at the end of an argument, which would end the tmux command."""
    return f"{argument[:-1]}\\;" if argument.endswith(";") else argument
