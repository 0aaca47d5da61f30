"""Attaches the terminal to an agent's session, and returns to the monitor afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App

from registry.text import shown_name
from tui.app.terminal.handover import NoTerminalError, lend_terminal, outside_tmux
from tui.host.tmux_advice import terminal_advice
from tui.host.tmux_socket import TmuxError
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.evidence import Evidence
from tui.model.roll import AgentRow
from tui.text.sanitize import harmless
from tui.view.outline import Line

if TYPE_CHECKING:
    from tui.host.tmux import Tmux


class NowhereToGoError(Exception):
    """muster cannot attach to the session; the exception's text gives the reason."""


def session_of(line: Line | None, evidence: Evidence) -> Session:
    """Returns the session of an agent's line or an orphan's line.

    Args:
        line: The line under the cursor; None if there is no line.
        evidence: The evidence of the roll call.

    Raises:
        NowhereToGoError: The line has no session, or tmux could not be queried.
    """
    answer = evidence.snapshot
    item = line.item if line is not None else None
    if isinstance(item, Session):
        return item
    if not isinstance(item, AgentRow):
        raise NowhereToGoError("This line has no session; move the cursor to an agent.")
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


def terminal_path() -> str | None:
    """Returns the path of the terminal from which muster reads keys; None without a terminal."""
    try:
        return os.ttyname(sys.__stdin__.fileno()) if sys.__stdin__ is not None else None
    except (OSError, ValueError):
        return None


async def attach(
    app: App[None], tmux: Tmux, line: Line | None, seen: Evidence, *, read_only: bool
) -> str:
    """Shows the session of a line on this terminal.

    If muster runs in a pane of the session's tmux server, the client that shows this pane
    switches to the session, and this function returns. Otherwise, and in the cases that
    `Tmux.own_client` lists, a new tmux client gets the terminal until the operator detaches.

    Args:
        app: The app, which releases its terminal for a new client.
        tmux: The access to the tmux server.
        line: The line under the cursor.
        seen: The evidence of the roll call.
        read_only: Whether the terminal always goes to a new client, which sends no keys to the
            session.

    Returns:
        A message for the operator; may be empty.

    Raises:
        NowhereToGoError: The session cannot be shown; the text gives the reason.
    """
    wanted = session_of(line, seen)
    answer = await asyncio.to_thread(tmux.ask)
    session = still_there(wanted, seen.snapshot, answer)
    inside = runs_inside(os.environ, tmux.socket)
    pane = os.environ.get("TMUX_PANE") if inside else None
    if pane is not None and pane in session.panes:
        raise NowhereToGoError("Not attached: muster itself runs in this session.")
    terminal = terminal_path()
    try:
        client = None
        if pane is not None and terminal is not None and not read_only:
            client = await asyncio.to_thread(tmux.own_client, session, pane, terminal)
        if client is not None:
            why = await asyncio.to_thread(tmux.switch_client, client, session, answer)
            if why is not None:
                raise NowhereToGoError(f"tmux cannot switch to the session: {harmless(why, 400)}")
            return "To come back here, press the tmux prefix and L."
        with tmux.attach_command(session, answer, read_only=read_only) as (words, descriptors):
            code, errors = await lend_terminal(app, words, outside_tmux(), descriptors)
    except TmuxError as error:
        raise NowhereToGoError(f"tmux cannot be queried: {harmless(str(error), 600)}") from None
    except NoTerminalError:
        raise NowhereToGoError("cannot attach: muster does not run on a terminal") from None
    except OSError as error:
        raise NowhereToGoError(f"cannot start tmux: {error}") from None
    if code != 0:
        why = harmless(errors, 400) or f"exit code {code}"
        advice = terminal_advice(errors, os.environ.get("TERM", ""))
        raise NowhereToGoError(f"tmux could not attach: {why}{f'; {advice}' if advice else ''}")
    return ""
