"""The answers of tmux as frozen records, and the path of the socket to query."""

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
    """A pane that tmux keeps although its first process has ended (``remain-on-exit``).

    tmux calls a pane dead when its terminal is closed. If tmux has neither an exit status nor a
    signal, tmux does not know whether the process has ended.

    Attributes:
        pid: The pid of the first process. Another process may have this pid now.
        ended: When the first process ended, in seconds since the epoch; None if tmux did not say.
        pane: The id of the pane, for example ``%5``.
        status: The exit status of the process; None if tmux has no exit status.
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
        id: The id that the server gave to the session, for example ``$3``. The server never uses
            the id again.
        name: The name of the session; untrusted text.
        created: The creation time, in seconds since the epoch.
        activity: The time of the last output in any window, in seconds since the epoch.
        attached: The number of clients that are attached to the session.
        panes: The ids of the panes, for example ``%5``.
        pids: The pids of the panes' first processes, without the processes of dead panes
            (``remain-on-exit``). Empty if the pids belong to another PID namespace.
        started_in: The directory where the session was started, untrusted text; None if not
            reported.
        dead: The dead panes. Empty if the pids belong to another PID namespace.
        ended: The session's first pane, if its process has certainly ended. Then all other panes
            are dead, too, or began later, for example because a visitor opened them. None if the
            first process may still run.
        later: When the oldest process of the panes began, in seconds since the epoch. None if this
            process may have begun with the session. Otherwise the first pane is gone, or was
            started again.
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
        detail: For the operator: the server that answered, or why the state is unknown.
        socket: The path of the queried socket.
        sessions: The sessions by name.
        asked_at: The time of the query, seconds of the monotonic clock.
        server_pid: The pid that the server reports; None if no server answered.
        server_started: When the server started, in seconds since the epoch; 0 if no server
            answered.
        advice: A remedy if the state is unknown; empty if no remedy is known.
        listener: The pid of the process that listens at the socket, from the kernel; None if no
            process listens, or muster cannot see it.
        foreign_pids: Whether the server's pids must not be used here, because the server runs, or
            may run, in another PID namespace.
        server_user: The user id of the listening process, from the kernel; None if no process
            listens.
        server_began: When the server's process started, in ticks since boot; None if muster cannot
            see it.
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
        """The pid of the server that answered; None if muster must not use the server's pids."""
        return None if self.foreign_pids else self.server_pid

    @property
    def server(self) -> tuple[int | None, int]:
        """The pid and start time of the server that answered; a pid alone may be reused."""
        return self.server_pid, self.server_started

    @property
    def why(self) -> str:
        """The detail, and the remedy."""
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
    """Returns the socket that tmux itself would use.

    The order is ``-S``, ``-L``, ``$TMUX``, the default. The directory of ``-L`` and of the default
    is ``$TMUX_TMPDIR``, or /tmp if that does not exist (tmux(1), FILES).

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
    """The other tmux servers that are not considered if they cannot be queried.

    Attributes:
        tokens: The servers of which the operator says that they have none of the agents; see
            `tui.host.server_token`.
        all: Whether no other server is searched at all, because muster itself started all agents.
    """

    tokens: frozenset[str] = frozenset()
    all: bool = False


CONSIDER_ALL = SetAside()
"""Every other tmux server is considered."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The results of other tmux servers for missing sessions.

    Attributes:
        whys: Maps the name of a session to the reason why it is not proven gone, with a remedy.
        sessions: All sessions of the queried servers, with the sockets of the servers.
        unasked: The names of missing sessions that no queried server has, but that a server
            of another user may have.
        set_aside: The servers that cannot be queried and are not considered, as tokens.
    """

    whys: Mapping[str, str] = field(default_factory=dict)
    sessions: tuple[tuple[Path, Session], ...] = ()
    unasked: frozenset[str] = frozenset()
    set_aside: frozenset[str] = frozenset()
