"""What tmux said, as frozen records, and which socket it is asked at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from registry.text import quoted_name

SERVER_NAME = "tmux: server"
"""What a tmux server's process is called, where its program is called tmux."""

HIDDEN_PROCESSES = "processes that cannot be seen from here"
"""What stands for the pids of a session that has none here."""

_FALLBACK = Path("/tmp")  # noqa: S108 - tmux's own default, only named here


class TmuxState(StrEnum):
    """What asking tmux led to."""

    ANSWERED = "answered"
    NO_SERVER = "no-server"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Session:
    """One session as tmux listed it.

    Attributes:
        id: The server's own id, for example ``$3``; never reused while it runs.
        created: Seconds since the epoch.
        activity: When one of its windows last had output; seconds since the epoch.
        attached: How many clients look at it.
        panes: Pane ids, for example ``%5``.
        pids: The panes' first processes; a dead pane (``remain-on-exit``) has none, nor has
            any if the server's pids are foreign.
        started_in: The directory that it was started in, foreign text; None if tmux did
            not say.
    """

    id: str
    name: str
    created: int
    activity: int
    attached: int
    panes: tuple[str, ...]
    pids: tuple[int, ...]
    started_in: str | None = None


@dataclass(frozen=True, slots=True)
class TmuxSnapshot:
    """What tmux said, once.

    Attributes:
        detail: For people: why it is unknown, or which server answered.
        advice: What to try when it is unknown; empty where nothing is known to help.
        socket: The path that was asked.
        asked_at: When the question was put; seconds of the monotonic clock.
        server_pid: The server's process as it says itself, or None if none answered.
        server_started: When that server started; seconds since the epoch, 0 if none.
        listener: The process that listens at the socket, as the kernel says; None if there
            is none, or it cannot be seen from here.
        server_user: Whose that process is, by the user's number, as the kernel says; None
            if nobody listens.
        foreign_pids: Whether the server lives in another PID namespace, or that cannot be
            excluded: then whatever pid it says means another process here, or none.
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

    @property
    def server_process(self) -> int | None:
        """The process of the server that answered, if it is one of ours."""
        return None if self.foreign_pids else self.server_pid

    @property
    def server(self) -> tuple[int | None, int]:
        """Which server answered: a pid alone may have been given to another one since."""
        return self.server_pid, self.server_started

    @property
    def why(self) -> str:
        """The detail, with what to try."""
        return f"{self.detail}; {self.advice}" if self.advice else self.detail


@dataclass(frozen=True, slots=True)
class PaneCapture:
    """What a pane shows, at one moment.

    Attributes:
        lines: From the top, with colours as escape sequences; foreign text.
        width: In cells.
        height: In lines.
        activity: When its window last had output; seconds since the epoch.
    """

    lines: tuple[str, ...]
    width: int
    height: int
    activity: int


def socket_path(name: str | None, path: str | None, environment: Mapping[str, str]) -> Path:
    """The socket that tmux itself would use.

    ``-S`` before ``-L`` before ``$TMUX`` before the default; the directory is
    ``$TMUX_TMPDIR`` or, when that is not there, /tmp (tmux(1), FILES).

    Args:
        name: The value of ``-L``, or None.
        path: The value of ``-S``, or None.
        environment: The process's environment.

    Raises:
        ValueError: `name` has a slash in it, or one of them is empty.
    """
    if path == "":
        raise ValueError("-S '': a socket path cannot be empty")
    if path:
        return Path(path).absolute()
    if name is None:
        inside = environment.get("TMUX", "").split(",")[0]
        if inside:
            return Path(inside)
    if name is not None and ("/" in name or not name):
        raise ValueError(
            f"a socket name, -L, is not empty and has no slash, unlike {quoted_name(name)}: use -S"
        )
    base = Path(environment.get("TMUX_TMPDIR") or _FALLBACK)
    if not base.is_dir():
        base = _FALLBACK
    return base.resolve() / f"tmux-{os.getuid()}" / (name or "default")
