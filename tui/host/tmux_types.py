"""Records of the answers of tmux, and the rule for the path of the tmux socket."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from registry.dataclass import dataclass, field
from registry.text import quoted_name

SERVER_NAME = "tmux: server"
"""The process name of a tmux server whose program is called tmux."""

HIDDEN_PROCESSES = "processes that cannot be seen from here"
"""The text that replaces the pids of a session whose processes muster cannot see."""

_FALLBACK = Path("/tmp")  # noqa: S108 - tmux's own default, only named here


class TmuxState(StrEnum):
    """The result of a query to tmux."""

    ANSWERED = "answered"
    NO_SERVER = "no-server"
    UNKNOWN = "unknown"


class DeadPane(NamedTuple):
    """A pane that tmux keeps after the terminal of the pane was closed (``remain-on-exit``).

    Usually the first process of the pane has ended. If tmux reports neither an exit status nor a
    signal, the process may still run.

    Attributes:
        pid: The pid of the first process. Another process may have this pid now.
        ended: When the first process ended, in seconds since the epoch; None if tmux reports no
            time.
        pane: The id of the pane, for example ``%5``.
        status: The exit status of the process; None if tmux reports no exit status.
        signal: The signal that ended the process, as tmux names it; empty without a signal.
    """

    pid: int
    ended: int | None
    pane: str = ""
    status: int | None = None
    signal: str = ""

    def __str__(self) -> str:
        if self.signal:
            return f"its process was ended by signal {self.signal}"
        if self.status is None:
            return "its process has ended"
        return f"its process has ended with exit status {self.status}"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as tmux listed it.

    Attributes:
        id: The id that the server gave to the session, for example ``$3``. The server gives this
            id to no other session.
        name: The name of the session; untrusted text.
        created: The creation time, in seconds since the epoch.
        activity: The time of the last output in any window, in seconds since the epoch.
        attached: The number of clients that are attached to the session.
        panes: The ids of the panes, for example ``%5``.
        pids: The pids of the first processes of all panes that are not dead. Empty if the pids
            belong to another PID namespace.
        started_in: The directory where the session was started, untrusted text; None if tmux did
            not report the directory.
        dead: The dead panes. Empty if the pids belong to another PID namespace.
        ended: The session's first pane, if the process of this pane has certainly ended, and all
            other panes are dead or began later. Otherwise None.
        later: When the oldest process of the panes started, in seconds since the epoch. None if
            this process may be as old as the session. See
            `tui.host.process.first_panes.later_start`.
    """

    id: str
    name: str
    created: int
    activity: int
    attached: int
    panes: tuple[str, ...]
    pids: tuple[int, ...]
    started_in: str | None = None
    dead: tuple[DeadPane, ...] = ()
    ended: DeadPane | None = None
    later: float | None = None


@dataclass(frozen=True, slots=True)
class TmuxSnapshot:
    """The answer of tmux to one query.

    Attributes:
        state: The result.
        detail: The reason for the state, or the server that answered, as a text for the operator.
        socket: The path of the queried socket.
        sessions: Maps names to sessions.
        asked_at: The time of the query, in seconds of the monotonic clock.
        server_pid: The pid that the server reports; None if no server answered.
        server_started: When the server started, in seconds since the epoch; 0 if no server
            answered.
        advice: A remedy if the state is unknown; empty if no remedy is known.
        listener: The pid of the process that listens at the socket, from the kernel; None if no
            process listens, or if muster cannot see the process.
        foreign_pids: Whether muster must not use the pids that the server reports, because the
            server runs, or may run, in another PID namespace.
        server_user: The user id of the listening process, from the kernel; None if no process
            listens.
        server_began: When the server's process started, in clock ticks since the boot; None if
            muster cannot see the process.
    """

    state: TmuxState
    detail: str
    socket: Path
    sessions: Mapping[str, Session]
    asked_at: float
    server_pid: int | None = None
    server_started: int = 0
    advice: str = ""
    listener: int | None = None
    foreign_pids: bool = False
    server_user: int | None = None
    server_began: int | None = None

    @property
    def server_process(self) -> int | None:
        """The pid of the server; None if there is no pid that muster may use."""
        return None if self.foreign_pids else self.server_pid

    @property
    def server(self) -> tuple[int | None, int]:
        """The pid and the start time of the server that answered, which identify the server."""
        return self.server_pid, self.server_started

    @property
    def why(self) -> str:
        """The detail, with the remedy if there is one."""
        return f"{self.detail}; {self.advice}" if self.advice else self.detail


@dataclass(frozen=True, slots=True)
class PaneCapture:
    """The content of a pane at one moment.

    Attributes:
        lines: The lines from the top, with colours as escape sequences; untrusted text.
        width: The width in cells.
        height: The height in lines.
        activity: The time of the last output in the pane's window, in seconds since the epoch.
    """

    lines: tuple[str, ...]
    width: int
    height: int
    activity: int


def socket_path(name: str | None, path: str | None, environment: Mapping[str, str]) -> Path:
    """Returns the path of the socket that tmux itself would use.

    If several of these are given, the first one counts: ``-S``, ``-L``, ``$TMUX``. If none is
    given, the result is tmux's default socket. The directory of ``-L`` and of the default socket
    is ``$TMUX_TMPDIR``, or /tmp if that directory does not exist (tmux(1), FILES).

    Args:
        name: The value of ``-L``, or None.
        path: The value of ``-S``, or None.
        environment: The environment of the process.

    Raises:
        ValueError: `name` contains a slash, or `name` or `path` is empty.
    """
    if path == "":
        raise ValueError("-S '': the path is empty; name a socket")
    if path:
        return Path(path).absolute()
    if name is None:
        inside = environment.get("TMUX", "").split(",")[0]
        if inside:
            return Path(inside)
    if name is not None and ("/" in name or not name):
        raise ValueError(
            f"socket name {quoted_name(name)} of -L must not be empty or contain a slash; use -S"
        )
    base = Path(environment.get("TMUX_TMPDIR") or _FALLBACK)
    if not base.is_dir():
        base = _FALLBACK
    return base.resolve() / f"tmux-{os.getuid()}" / (name or "default")


@dataclass(frozen=True, slots=True)
class SetAside:
    """The other tmux servers that are ignored if muster cannot query them.

    Attributes:
        tokens: The tokens of the servers that have no agents according to the operator; see
            `tui.host.server_token`.
        all: Whether muster ignores all other servers, because muster itself started all agents.
    """

    tokens: frozenset[str] = frozenset()
    all: bool = False


CONSIDER_ALL = SetAside()
"""No other tmux server is ignored."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The result of a search for missing sessions on the other tmux servers of this host.

    Attributes:
        whys: Maps the names of missing sessions to the reasons why the sessions may still exist,
            with remedies.
        sessions: All sessions of the queried servers, with the sockets of the servers.
        unasked: The names of missing sessions that no queried server has, but that a server of
            another user may have.
        set_aside: The tokens of the servers that were ignored; see `SetAside`.
    """

    whys: Mapping[str, str] = field(default_factory=dict)
    sessions: tuple[tuple[Path, Session], ...] = ()
    unasked: frozenset[str] = frozenset()
    set_aside: frozenset[str] = frozenset()
