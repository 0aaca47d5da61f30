"""Attaches the terminal to an agent's session, and returns to the monitor afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.app import App

from tui.actions.attach import (
    SWITCHED,
    NowhereToGoError,
    explained,
    go_there,
    outside_tmux,
    refuse_failure,
)
from tui.app.terminal.handover import NoTerminalError, lend_terminal
from tui.host.tmux_types import Session
from tui.model.evidence import Evidence
from tui.model.roll import AgentRow
from tui.view.outline import Line

if TYPE_CHECKING:
    from tui.host.tmux import Tmux


async def attach(
    app: App[None], tmux: Tmux, line: Line | None, seen: Evidence, *, read_only: bool
) -> str:
    """Shows the session of a line on this terminal.

    Args:
        app: The app, which releases its terminal for a new client until the operator detaches.
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
    item = line.item if line is not None else None
    if not isinstance(item, (AgentRow, Session)):
        raise NowhereToGoError("This line has no session; move the cursor to an agent.")
    target = await asyncio.to_thread(go_there, tmux, item, seen, read_only=read_only)
    if target is None:
        return SWITCHED
    try:
        with (
            explained(),
            tmux.attach_command(*target, read_only=read_only) as (words, descriptors),
        ):
            code, errors = await lend_terminal(app, words, outside_tmux(), descriptors)
    except NoTerminalError:
        raise NowhereToGoError("cannot attach: muster does not run on a terminal") from None
    refuse_failure(code, errors)
    return ""
