"""Draws the lines of the agent list as pieces of text with styles. Pure."""

from __future__ import annotations

from tui.app.widgets.roll_cells import (
    AgentCells,
    Drawing,
    OrphanCells,
    TaskCells,
    arrow,
    task_title,
)
from tui.app.widgets.roll_columns import layout, orphan_cells, task_cells
from tui.app.widgets.styled_text import Piece, exactly
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, TaskRoll, Verdict, WorkspaceRoll
from tui.model.warnings import workspace_place
from tui.text.sanitize import age, harmless, width
from tui.view.filter import Filter
from tui.view.outline import Line
from tui.view.view import View

_NO_FILTER = Filter()


def line_pieces(line: Line, drawing: Drawing, marked: bool = False) -> list[Piece]:
    """Draws one line of the agent list.

    Args:
        line: The line.
        drawing: The settings for drawing the line.
        marked: Whether the operator marked the line.

    Returns:
        Pieces that take exactly `drawing.cells` cells.
    """
    item = line.item
    if isinstance(item, AgentRow):
        pieces = _agent(line, item, drawing, marked)
    elif isinstance(item, TaskRoll):
        pieces = _task(line, item, drawing)
    elif isinstance(item, WorkspaceRoll):
        pieces = _workspace(line, item, drawing.cells)
    elif isinstance(item, Session):
        pieces = _orphan(line, item, drawing, marked)
    else:
        pieces = [(f"  {arrow(line)}orphaned sessions", "task")]
    return exactly(pieces, drawing.cells)


def why_empty(view: View) -> str:
    """Returns the message for an empty agent list: why the list has no lines."""
    if view.narrows:
        return "Nothing matches the filter; Escape clears the filter."
    if view.hide_finished:
        return "All agents are finished; h shows them."
    return "No tasks yet. A new task appears by itself."


def _agent(line: Line, row: AgentRow, drawing: Drawing, marked: bool) -> list[Piece]:
    wanted = drawing.view.wanted if not line.leads else _NO_FILTER
    quiet = "finished" if row.verdict is Verdict.FINISHED or line.leads else ""
    shown = AgentCells(line, row, drawing, marked, wanted, quiet)
    pieces: list[Piece] = []
    for column, wide in layout(drawing.columns, drawing.view.sort):
        pieces += column.agent(shown, wide)
    return pieces


def _task(line: Line, task: TaskRoll, drawing: Drawing) -> list[Piece]:
    state = task.state
    shown = TaskCells(line, task, drawing)
    if state.error is not None:
        stale = f"as of {age(drawing.now - state.read_at)} ago: " if state.record else ""
        return [*task_title(shown), (f"  ! {stale}{harmless(state.error, 400)}", "error")]
    if state.hot_journal is not None:
        return [*task_title(shown), (f"  ! {harmless(state.hot_journal, 400)}", "error")]
    pieces: list[Piece] = []
    for cell, wide in task_cells(drawing.columns, drawing.view.sort):
        pieces += cell(shown, wide)
    return pieces


def _workspace(line: Line, workspace: WorkspaceRoll, cells: int) -> list[Piece]:
    before = f"  {arrow(line)}"
    place = workspace_place(workspace, cells - width(before))
    pieces: list[Piece] = [(before, "task"), (place, "workspace")]
    problems = filter(None, (workspace.error, workspace.hot_journal, _unread(workspace)))
    pieces += ((f"  ! {harmless(problem, 400)}", "error") for problem in problems)
    return pieces


def _unread(workspace: WorkspaceRoll) -> str | None:
    """Returns why the agents of a workspace are unknown; None if its database can be read.

    The line has little room, and the path of the workspace stands in it already.
    """
    database = workspace.database
    if database is None:
        return None
    is_said = workspace.error == database.cause
    return "agents unknown" if is_said else f"agents unknown: {database.cause}"


def _orphan(line: Line, session: Session, drawing: Drawing, marked: bool) -> list[Piece]:
    shown = OrphanCells(line, session, drawing, marked)
    pieces: list[Piece] = []
    for cell, wide in orphan_cells(drawing.columns, drawing.view.sort):
        pieces += cell(shown, wide)
    return pieces
