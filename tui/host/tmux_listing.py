"""Parses the lists of panes and sessions that tmux prints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from registry.dataclass import replace
from tui.host.tmux_advice import why_too_old
from tui.host.tmux_types import DeadPane, Session

PANES = (
    "#{session_id} #{session_created} #{window_activity} #{session_attached} #{pane_id} "
    "#{pane_pid} #{?pane_dead,1:#{pane_dead_time}:#{pane_dead_status}:#{pane_dead_signal},0} "
    # The name is last because it may contain spaces; all other fields are numbers or ids.
    "#{session_name}"
)
"""The format of a line about a pane."""

END = "end #{pid} #{start_time} #{version}"
"""The format of the last line, which proves that the list is complete."""


class OldServerError(ValueError):
    """The version of a tmux server is too old; the text names the version."""


STARTED = "#{session_id} #{session_path}"
"""The format of a record about a session, with its start directory, which is untrusted text."""

_END_WORD = END.split(" ")[0]


def marked(mark: str, format_: str) -> str:
    """Returns a format whose results `records_in` finds among other texts.

    Args:
        mark: A random word, so that no other text contains it.
        format_: The format.
    """
    return f"{mark}{format_}{mark}"


def records_in(output: str, mark: str) -> tuple[str, ...]:
    """Returns the results of marked formats in the output of tmux.

    A hook of the server, an alias of a command, or a preloaded library can add other text to the
    output. This text is ignored.

    Args:
        output: The output of tmux.
        mark: The mark of `marked`.

    Raises:
        ValueError: The last record is not complete.
    """
    pieces = output.split(mark)
    if len(pieces) % 2 == 0:
        raise ValueError(pieces[-1])
    return tuple(pieces[1::2])


def is_complete(records: Sequence[str]) -> bool:
    """Returns whether records are a complete list, whatever tmux reported after the list."""
    try:
        sessions, _, _ = parse_listing(records)
    except ValueError:
        return False
    return all(session.started_in for session in sessions.values())


def parse_listing(records: Sequence[str]) -> tuple[dict[str, Session], int, int]:
    """Parses a list of all panes.

    Args:
        records: A text for each pane in the format `PANES`, a text in the format `END`, and a text
            for each session in the format `STARTED`.

    Returns:
        A map from names to sessions, the pid of the server, and the server's start time in seconds
        since the epoch.

    Raises:
        OldServerError: The server's version is not supported.
        ValueError: The records are not a complete list.
    """
    sessions: dict[str, Session] = {}
    ends = [at for at, text in enumerate(records) if text.split(" ")[0] == _END_WORD]
    if len(ends) != 1:
        raise ValueError(f"{len(ends)} ends")
    lines, last, started = records[: ends[0]], records[ends[0]], records[ends[0] + 1 :]
    started_in = dict(text.partition(" ")[::2] for text in started)
    _, pid, began, version = last.split(" ")
    if (too_old := why_too_old(version)) is not None:
        raise OldServerError(too_old)
    for line in lines:
        session = _parse(line, started_in)
        same = sessions.get(session.name)
        sessions[session.name] = session if same is None else _merge(same, session)
    return sessions, int(pid), int(began)


def readable(text: str) -> str:
    """Returns a text with visible escapes in place of the bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _parse(line: str, started_in: Mapping[str, str]) -> Session:
    session_id, created, activity, attached, pane, pid, dead, name = line.split(" ", 7)
    if session_id[:1] != "$" or not session_id[1:].isdecimal() or pane[:1] != "%":
        raise ValueError(line)
    is_dead, _, end = dead.partition(":")
    if is_dead not in ("0", "1"):
        raise ValueError(line)
    first = int(pid)
    dead_panes = (_dead_pane(pane, first, end),) if is_dead == "1" else ()
    return Session(
        session_id,
        readable(name),
        int(created),
        int(activity),
        int(attached),
        (pane,),
        (first,) if is_dead == "0" else (),
        started_in.get(session_id) or None,
        dead_panes,
    )


def _dead_pane(pane: str, pid: int, end: str) -> DeadPane:
    # tmux before 3.3 knows neither the time nor the signal.
    ended, status, signal = end.split(":")
    return DeadPane(
        pid, int(ended) if ended else None, pane, int(status) if status else None, signal
    )


def _merge(one: Session, other: Session) -> Session:
    return replace(
        one,
        activity=max(one.activity, other.activity),
        panes=one.panes + tuple(pane for pane in other.panes if pane not in one.panes),
        pids=one.pids + tuple(pid for pid in other.pids if pid not in one.pids),
        dead=one.dead + tuple(pane for pane in other.dead if pane not in one.dead),
    )
