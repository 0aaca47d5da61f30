"""Going into an agent's session, and coming back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App

from registry.text import shown_name
from tui.app.terminal.handover import NoTerminalError, lend_terminal, outside_tmux
from tui.host.tmux_socket import TmuxError
from tui.host.tmux_types import Session, TmuxSnapshot, TmuxState
from tui.model.evidence import Evidence
from tui.model.roll import AgentRow
from tui.text.sanitize import harmless
from tui.view.outline import Line

if TYPE_CHECKING:
    from tui.host.tmux import Tmux


class NowhereToGoError(Exception):
    """There is no session to go to; its text says why."""


def session_of(line: Line | None, evidence: Evidence) -> Session:
    """The session that a line stands for.

    Args:
        line: The line under the cursor.
        evidence: What the roll was called by.

    Raises:
        NowhereToGoError: It has none.
    """
    answer = evidence.snapshot
    item = line.item if line is not None else None
    if isinstance(item, Session):
        return item
    if not isinstance(item, AgentRow):
        raise NowhereToGoError("Put the cursor on an agent or on an orphan.")
    if item.session is not None:
        return item.session
    who = shown_name(item.record.id) if item.record.id else "It"
    name = item.record.tmux_session or ""
    if answer.state is TmuxState.UNKNOWN:
        raise NowhereToGoError(f"tmux cannot tell: {harmless(answer.why, 600)}")
    if item.name_reused_by is not None:
        raise NowhereToGoError(f"The session of {who}'s name is another's: it was taken again.")
    if (doubt := evidence.doubt(name)) is not None:
        raise NowhereToGoError(f"Not here: {harmless(doubt, 600)}")
    if not name:
        raise NowhereToGoError(f"The registry names no session of {who}.")
    raise NowhereToGoError(f"{who} has no session on this host: it is {item.verdict}.")


def still_there(session: Session, seen: TmuxSnapshot, answer: TmuxSnapshot) -> Session:
    """The same session in a newer answer.

    Args:
        session: As the roll call has it.
        seen: What tmux said then.
        answer: What it says now.

    Raises:
        NowhereToGoError: It is gone, or tmux cannot tell.
    """
    if answer.state is TmuxState.UNKNOWN:
        raise NowhereToGoError(f"tmux cannot tell: {harmless(answer.why, 600)}")
    for each in answer.sessions.values():
        if answer.server == seen.server and (each.id, each.created) == (
            session.id,
            session.created,
        ):
            return each
    raise NowhereToGoError(f"The session {shown_name(session.name)} is gone.")


def runs_inside(environment: Mapping[str, str], socket: Path) -> bool:
    """Whether this process's terminal is a pane of the server at a socket."""
    inside = environment.get("TMUX", "").split(",")[0]
    if not inside:
        return False
    try:
        return os.path.samefile(inside, socket)
    except OSError:
        return False


async def attach(
    app: App[None], tmux: Tmux, line: Line | None, seen: Evidence, *, read_only: bool
) -> str:
    """Shows a session on this terminal, until one detaches from it.

    Inside the very server that has the session the client switches to it, and muster
    goes on where it is. Elsewhere, and to only look, the terminal is lent to a client.

    Args:
        app: Whose terminal it is.
        tmux: The server.
        line: The line under the cursor.
        seen: What the roll was called by.
        read_only: Whether what is typed is to be kept from the session.

    Returns:
        What is to be said of it; mostly nothing.

    Raises:
        NowhereToGoError: It is not shown; the text says why.
    """
    wanted = session_of(line, seen)
    answer = await asyncio.to_thread(tmux.ask)
    session = still_there(wanted, seen.snapshot, answer)
    inside = runs_inside(os.environ, tmux.socket)
    if inside and os.environ.get("TMUX_PANE") in session.panes:
        raise NowhereToGoError("This is the session that muster itself runs in.")
    if inside and not read_only:
        why = await asyncio.to_thread(tmux.switch_client, session, answer)
        if why is not None:
            raise NowhereToGoError(f"tmux does not switch to it: {harmless(why, 400)}")
        return "Back here with the tmux prefix and L."
    try:
        with tmux.attach_command(session, answer, read_only=read_only) as (words, descriptors):
            code, said = await lend_terminal(app, words, outside_tmux(), descriptors)
    except TmuxError as error:
        raise NowhereToGoError(f"tmux cannot tell: {harmless(str(error), 600)}") from None
    except NoTerminalError:
        raise NowhereToGoError("There is no terminal here that tmux could attach to.") from None
    except OSError as error:
        raise NowhereToGoError(f"tmux could not be started: {error}") from None
    if code != 0:
        raise NowhereToGoError(
            f"tmux did not attach: {harmless(said, 400) or f'exit code {code}'}"
        )
    return ""
