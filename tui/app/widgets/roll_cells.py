"""The cells of the agent list's lines, as pieces of text with styles. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from registry.agent_output import ProgressReport
from registry.dataclass import dataclass, field
from registry.text import shown_name
from tui.app.widgets.styled_text import Piece, exactly, highlighted, progress_pieces
from tui.details.last_report import report_text, since_start
from tui.host.process.usage import Load
from tui.host.tmux_types import Session
from tui.model.roll import REVIEWER, AgentRow, TaskRoll, Verdict, place_of
from tui.model.verdicts import VERDICTS, glyph_of
from tui.text.sanitize import (
    age,
    fit,
    fit_agent,
    fit_id,
    harmless,
    named,
    short_percent,
    short_size,
    width,
)
from tui.view.filter import Filter
from tui.view.outline import EVERYTHING, Key, Line
from tui.view.view import Sort, View

_NAME = 11
"""The least room for an agent's fold arrow and id, in cells; the indentation takes the rest."""

_DESCRIPTION = 28
"""The room that a task's description has beside the phase and the completed agents, in cells."""

_SHORT_DESCRIPTION = 14
"""The room that a task's description has beside the phase, in cells."""

_SHORT_STATUS = {"phase_completed": "phase done", "INITIALIZED": "initial"}
"""Maps long statuses to the words that are shown where the status has no room."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """The settings for drawing lines.

    Attributes:
        cells: The width of a line in cells.
        now: The present time, in seconds since the epoch; ages are computed from this time.
        view: The filter, whose matches are highlighted, and the sort order.
        loads: Maps the key of a line to the CPU and memory of the line's session.
        reports: Maps the path of a task's registry and the id of an agent to the last report.
        room: The cells that the columns may take; None for the whole line.
    """

    cells: int
    now: float
    view: View = EVERYTHING
    loads: Mapping[Key, Load] = field(default_factory=dict)
    reports: Mapping[tuple[Path, str], ProgressReport] = field(default_factory=dict)
    room: int | None = None

    @property
    def columns(self) -> int:
        """The cells that the columns take."""
        return self.cells if self.room is None else min(self.room, self.cells)


def arrow(line: Line) -> str:
    """Returns the fold arrow of a line, or spaces if the line cannot be folded."""
    return {None: "  ", True: "▸ ", False: "▾ "}[line.folded]


def indent(level: int, room: int) -> int:
    """Returns an agent's indentation in cells.

    The indentation is limited so that the arrow and a short id have room.

    Args:
        level: The level of the line; 1 for an agent at the top.
        room: The width of the agent's column without the gap, in cells.
    """
    return 2 * max(0, min(level - 1, (room - _NAME) // 2))


def mark(shown: AgentCells | OrphanCells, wide: int) -> list[Piece]:
    """Makes the cell with the operator's mark."""
    return [(("▌" if shown.marked else " ").ljust(wide), "mark")]


def blank(_: object, wide: int) -> list[Piece]:
    """Makes an empty cell."""
    return [(" " * wide, "")]


def nothing(_: object, wide: int) -> list[Piece]:
    """Makes an empty cell without padding. All cells to the right of it must be empty too."""
    return []


def agent_verdict(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with an agent's verdict."""
    return _verdict(shown.row.verdict, glyph_of(shown.row), wide, shown.wanted)


def _verdict(verdict: Verdict, glyph: str, wide: int, wanted: Filter) -> list[Piece]:
    text = fit(f"{glyph} {verdict.value}", wide)
    return highlighted(text, verdict.value, wanted, "verdict")


def agent_name(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with an agent's place in the tree and its id."""
    record, room = shown.row.record, wide - 1
    before = ""
    if shown.drawing.view.sort is Sort.HIERARCHY:
        before = " " * indent(shown.line.level, room) + arrow(shown.line)
    left = room - len(before)
    end = f" {REVIEWER}" if record.is_reviewer else ""
    if left < _NAME + len(end):
        end = ""
    name = fit_agent(named(record.id), harmless(record.type, 60), left - len(end))
    if end:
        name = fit(name.rstrip() + end, left)
    name = before + name
    return [(" ", ""), *highlighted(name, shown.quiet or "agent", shown.wanted, "id", "type")]


def agent_status(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with an agent's status."""
    status = _status(shown.row.record.status, wide - 1)
    style = shown.quiet or _status_style(shown.row)
    return [(" ", ""), *highlighted(status, style, shown.wanted, "status")]


def _status_style(row: AgentRow) -> str:
    """Returns the style of a status that matters, whatever the verdict: failed or blocked."""
    if row.ended_as == "failed":
        return "failed"
    return "blocked" if row.record.meaning == "blocked" else ""


def _status(word: str, room: int) -> str:
    if len(word) > room:
        word = _SHORT_STATUS.get(word, word)
    return fit(harmless(word or "-", 40), room)


def agent_progress(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with an agent's progress."""
    return progress_pieces(shown.row.record.progress, shown.quiet, wide)


def _load_of(shown: AgentCells) -> Load | None:
    # The load of an ended session or process stays in `loads` until the next measurement.
    runs = shown.row.session is not None or shown.row.process is not None
    return shown.drawing.loads.get(shown.line.key) if runs else None


def agent_cpu(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with the CPU time of an agent's session."""
    return [(_cpu(_load_of(shown)).rjust(wide), shown.quiet)]


def agent_memory(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with the memory of an agent's session."""
    return [(_memory(_load_of(shown)).rjust(wide), shown.quiet)]


def agent_last_activity(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with the age of an agent's last report or output."""
    return [(_ago(shown.row.last_activity, shown.drawing, wide), shown.quiet)]


def _ago(moment: float | None, drawing: Drawing, wide: int) -> str:
    return age(None if moment is None else drawing.now - moment).rjust(wide)


def agent_report(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with an agent's last report."""
    report = since_start(
        shown.drawing.reports.get((shown.row.key.registry, shown.row.key.id)), shown.row.record
    )
    return [(" ", ""), (report_text(report, wide - 1), shown.quiet or "report")]


def agent_session(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with the name of an agent's session."""
    place = " " + fit_id(place_of(shown.row), wide - 1)
    return highlighted(place, "finished", shown.wanted, "session")


def agent_task(shown: AgentCells, wide: int) -> list[Piece]:
    """Makes the cell with the description or the id of an agent's task."""
    place = " " + fit(harmless(shown.line.task or "-", 400), wide - 1)
    return highlighted(place, "finished", shown.wanted, "task")


def _cpu(load: Load | None) -> str:
    return "-" if load is None or load.cpu is None else short_percent(load.cpu)


def _memory(load: Load | None) -> str:
    return "-" if load is None else short_size(load.memory)


def task_title(shown: TaskCells) -> list[Piece]:
    """Returns a task's fold arrow, and its description; the id of a task without description."""
    before = f"  {'  ' * shown.line.level}{arrow(shown.line)}"
    title = highlighted(shown.task.title, "task", shown.drawing.view.wanted, "task")
    return [(before, "task"), *title]


def task_head(shown: TaskCells, wide: int) -> list[Piece]:
    """Makes the first cell of a task's line: the description, the phase, and completed agents."""
    task = shown.task
    record = task.state.record
    title = task_title(shown)
    room, needs = wide - width(title[0][0]), width(task.title)
    # A long description is cut, so that the rest is shown.
    end = next((end for end, least in _ends(task) if len(end) + min(least, needs) <= room), "")
    if record is not None and record.warnings:
        title.append((f"  ! {harmless(record.warnings[0], 200)}", "error"))
    elif _are_agents_unknown(task):
        title.append(("  ! agents unknown", "error"))
    return [*exactly(title, wide - len(end)), (end, "finished")]


def _are_agents_unknown(task: TaskRoll) -> bool:
    """Returns whether all agents of a task may be in a database that muster cannot read."""
    return not task.agents and not task.agents_known


def _ends(task: TaskRoll) -> list[tuple[str, int]]:
    """Returns the forms of the end of a task's first cell, the longest first.

    With each form, returns the cells that the description must have beside it.
    """
    done = f"  {task.completed}/{len(task.agents)} completed" if task.agents else ""
    short = f"  {task.completed}/{len(task.agents)}" if task.agents else ""
    phase = f"  {task.phase}" if task.phase else ""
    brief = phase.replace(" of ", "/")
    ends = [(end, _DESCRIPTION) for end in (phase + done, phase + short, brief + short)]
    return [*ends, (brief, _SHORT_DESCRIPTION)]


def task_status(shown: TaskCells, wide: int) -> list[Piece]:
    """Makes the cell with a task's status."""
    record = shown.task.state.record
    written = record.status if record else ""
    status = _status("?" if _are_agents_unknown(shown.task) else written, wide - 1)
    return [(" ", ""), *highlighted(status, "finished", shown.drawing.view.wanted, "status")]


def task_progress(shown: TaskCells, wide: int) -> list[Piece]:
    """Makes the cell with the mean progress of a task's agents."""
    return progress_pieces(shown.task.progress, "", wide)


def task_last_activity(shown: TaskCells, wide: int) -> list[Piece]:
    """Makes the cell with the age of the last report or output of a task's agents."""
    if _are_agents_unknown(shown.task):
        return [("?".rjust(wide), "finished")]
    return [(_ago(shown.task.last_activity, shown.drawing, wide), "finished")]


def orphan_verdict(shown: OrphanCells, wide: int) -> list[Piece]:
    """Makes the cell with the verdict on an orphan."""
    glyph = VERDICTS[Verdict.ORPHAN].glyph
    return _verdict(Verdict.ORPHAN, glyph, wide, shown.drawing.view.wanted)


def orphan_name(shown: OrphanCells, wide: int) -> list[Piece]:
    """Makes the cell with an orphan's name and age."""
    view = shown.drawing.view
    before = "  " if view.sort is Sort.HIERARCHY else ""
    made = age(shown.drawing.now - shown.session.created)
    name = f"{before}{shown_name(shown.session.name)}"
    pieces = [
        *highlighted(name, "agent", view.wanted, "session"),
        (f"  no registry lists it; made {made} ago", "finished"),
    ]
    return [(" ", ""), *exactly(pieces, wide - 1)]


def orphan_cpu(shown: OrphanCells, wide: int) -> list[Piece]:
    """Makes the cell with the CPU time of an orphan."""
    return [(_cpu(shown.drawing.loads.get(shown.line.key)).rjust(wide), "")]


def orphan_memory(shown: OrphanCells, wide: int) -> list[Piece]:
    """Makes the cell with the memory of an orphan."""
    return [(_memory(shown.drawing.loads.get(shown.line.key)).rjust(wide), "")]


def orphan_last_activity(shown: OrphanCells, wide: int) -> list[Piece]:
    """Makes the cell with the age of an orphan's last output."""
    return [(_ago(shown.session.activity, shown.drawing, wide), "")]


class AgentCells(NamedTuple):
    """The argument of the functions that make the cells of an agent's line."""

    line: Line
    row: AgentRow
    drawing: Drawing
    marked: bool
    wanted: Filter
    quiet: str


class TaskCells(NamedTuple):
    """The argument of the functions that make the cells of a task's line."""

    line: Line
    task: TaskRoll
    drawing: Drawing


class OrphanCells(NamedTuple):
    """The argument of the functions that make the cells of an orphan's line."""

    line: Line
    session: Session
    drawing: Drawing
    marked: bool
