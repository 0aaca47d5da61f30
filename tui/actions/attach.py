"""Finds the session to attach to, and switches muster's own tmux client to the session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from registry.text import shown_name
from tui.host.tmux_advice import terminal_advice
from tui.host.tmux_socket import TmuxError
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.evidence import Evidence
from tui.model.roll import AgentRow
from tui.text.sanitize import harmless

if TYPE_CHECKING:
    from tui.host.tmux import Tmux

SWITCHED = "To come back here, press the tmux prefix and L."
"""The message after muster switched its own client."""


class NowhereToGoError(Exception):
    """muster cannot attach to the session; the exception's text gives the reason."""


def session_of(item: AgentRow | Session, evidence: Evidence) -> Session:
    """Returns the session of an agent, or an orphaned session itself.

    Args:
        item: The agent or the orphaned session.
        evidence: The evidence of the roll call.

    Raises:
        NowhereToGoError: The agent has no session, or tmux could not be queried.
    """
    answer = evidence.snapshot
    if isinstance(item, Session):
        return item
    if item.session is not None:
        return item.session
    agent = shown_name(item.record.id) if item.record.id else "This agent"
    name = item.record.tmux_session or ""
    if answer.state is TmuxState.UNKNOWN:
        raise NowhereToGoError(f"tmux cannot be queried: {harmless(answer.why, 600)}")
    if item.name_reused_by is not None:
        raise NowhereToGoError(
            f"Not attached: a session of another agent now has the name of {agent}'s session."
        )
    if (doubt := evidence.doubt(name)) is not None:
        raise NowhereToGoError(f"Not attached: {harmless(doubt, 600)}")
    if not name:
        raise NowhereToGoError(f"The registry names no session of {agent}.")
    raise NowhereToGoError(f"{agent} has no session on this host: the agent is {item.verdict}.")


def still_there(session: Session, seen: TmuxSnapshot, answer: TmuxSnapshot) -> Session:
    """Finds a session in a newer snapshot of tmux, even if the session was renamed.

    Args:
        session: The session, as the roll call's snapshot lists it.
        seen: The roll call's snapshot.
        answer: The newer snapshot.

    Raises:
        NowhereToGoError: The session is gone, or tmux could not be queried.
    """
    if answer.state is TmuxState.UNKNOWN:
        raise NowhereToGoError(f"tmux cannot be queried: {harmless(answer.why, 600)}")
    for candidate in answer.sessions.values():
        if answer.server == seen.server and (candidate.id, candidate.created) == (
            session.id,
            session.created,
        ):
            return candidate
    raise NowhereToGoError(f"The session {shown_name(session.name)} is gone.")


def runs_inside(environment: Mapping[str, str], socket: Path) -> bool:
    """Returns whether this process runs in a pane of the tmux server at a socket."""
    inside = environment.get("TMUX", "").split(",")[0]
    if not inside:
        return False
    try:
        return os.path.samefile(inside, socket)
    except OSError:
        return False


def outside_tmux(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns an environment without the variables that make tmux refuse to run inside tmux."""
    return {
        name: value for name, value in environment.items() if name not in ("TMUX", "TMUX_PANE")
    }


def terminal_path() -> str | None:
    """Returns the path of the terminal from which muster reads keys; None without a terminal."""
    try:
        return os.ttyname(sys.__stdin__.fileno()) if sys.__stdin__ is not None else None
    except (OSError, ValueError):
        return None


def go_there(
    tmux: Tmux, item: AgentRow | Session, seen: Evidence, *, read_only: bool
) -> tuple[Session, TmuxSnapshot] | None:
    """Switches the tmux client that shows muster to a session, if this is possible. Blocks.

    It is possible if muster runs in a pane of the session's tmux server, except in the cases that
    `Tmux.own_client` lists. Otherwise a new tmux client must get the terminal
    (`Tmux.attach_command`).

    Args:
        tmux: The access to the tmux server.
        item: The agent or the orphaned session.
        seen: The evidence of the roll call.
        read_only: Whether a new client, which sends no keys to the session, must be used.

    Returns:
        None if the client was switched; otherwise the session, and the snapshot that lists it,
        for a new client.

    Raises:
        NowhereToGoError: The session cannot be shown; the text gives the reason.
    """
    wanted = session_of(item, seen)
    answer = tmux.ask()
    session = still_there(wanted, seen.snapshot, answer)
    inside = runs_inside(os.environ, tmux.socket)
    pane = os.environ.get("TMUX_PANE") if inside else None
    if pane is not None and pane in session.panes:
        raise NowhereToGoError("Not attached: muster itself runs in this session.")
    terminal = terminal_path()
    if pane is None or terminal is None or read_only:
        return session, answer
    with explained():
        client = tmux.own_client(session, pane, terminal)
        if client is None:
            return session, answer
        why = tmux.switch_client(client, session, answer)
    if why is not None:
        raise NowhereToGoError(f"tmux cannot switch to the session: {harmless(why, 400)}")
    return None


@contextmanager
def explained() -> Iterator[None]:
    """Raises NowhereToGoError instead of an error of tmux, or of the start of tmux."""
    try:
        yield
    except TmuxError as error:
        raise NowhereToGoError(f"tmux cannot be queried: {harmless(str(error), 600)}") from None
    except OSError as error:
        raise NowhereToGoError(f"cannot start tmux: {error}") from None


def refuse_failure(code: int, errors: str) -> None:
    """Checks how a new tmux client ended.

    Args:
        code: The exit code of the client.
        errors: The standard error of the client.

    Raises:
        NowhereToGoError: The client could not attach.
    """
    if code != 0:
        why = harmless(errors, 400) or f"exit code {code}"
        advice = terminal_advice(errors, os.environ.get("TERM", ""))
        raise NowhereToGoError(f"tmux could not attach: {why}{f'; {advice}' if advice else ''}")
