"""The columns of the agent list, and the functions that make the cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

from registry.dataclass import dataclass, field
from registry.schema import TaskRecord
from registry.text import shown_name
from tui.app.widgets.styled_text import (
    PROGRESS_WIDTH,
    Piece,
    exactly,
    highlighted,
    progress_pieces,
)
from tui.host.process.usage import Load
from tui.host.tmux_types import Session
from tui.model.roll import REVIEWER, AgentRow, TaskRoll, Verdict, place_of
from tui.model.verdicts import VERDICTS, glyph_of
from tui.text.sanitize import age, fit, fit_id, harmless, named, short_percent, short_size, width
from tui.view.filter import Filter
from tui.view.outline import EVERYTHING, Key, Line
from tui.view.view import Sort, View

_Cell = TypeVar("_Cell")

# The least room for the fold arrow and an id; in less room, shortened ids look alike.
_SHORT_ID = 16
"""The least width of a task's id whose phase is shown, in cells."""

_READABLE = 24

# The least width of the agent's column, and the empty cells at the right edge.
_LEAST = 12
_MARGIN = 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """The settings for drawing lines.

    Attributes:
        cells: The width of a line in cells.
        now: The present time, in seconds since the epoch; ages are computed from this time.
        view: The filter, whose matches are highlighted, and the sort order.
        loads: Maps the key of a line to the CPU and memory of the line's session.
    """

    cells: int
    now: float
    view: View = EVERYTHING
    loads: Mapping[Key, Load] = field(default_factory=dict)


def heading(cells: int, sort: Sort = Sort.HIERARCHY) -> str:
    """Returns the line with the titles of the columns."""
    return fit("".join(_title(column, wide) for column, wide in layout(cells, sort)), cells)


def _title(column: Column, wide: int) -> str:
    if column.right:
        return column.title.rjust(wide)
    return fit(" " * column.gap + column.title, wide)


def shows_loads(cells: int, sort: Sort) -> bool:
    """Returns whether lines of this width and sort order have the columns CPU and MEM."""
    return any(column.title == "CPU" for column, _ in layout(cells, sort))


def arrow(line: Line) -> str:
    """Returns the fold arrow of a line, or spaces if the line cannot be folded."""
    return {None: "  ", True: "▸ ", False: "▾ "}[line.folded]


def _indent(level: int, room: int) -> int:
    """Returns an agent's indentation in cells, limited so that the arrow and the id have room."""
    return 2 * max(0, min(level - 1, (room - _READABLE) // 2))


def fold_column(line: Line, cells: int) -> int:
    """Returns the number of cells to the left of a line's fold arrow."""
    if not isinstance(line.item, AgentRow):
        return 2 + 2 * line.level
    at = 0
    for column, wide in layout(cells):
        if column.width == 0:
            return at + column.gap + _indent(line.level, wide - column.gap)
        at += wide
    raise AssertionError("no column has the agent")


def _mark(shown: AgentCells | OrphanCells, wide: int) -> list[Piece]:
    return [(("▌" if shown.marked else " ").ljust(wide), "mark")]


def _agent_verdict(shown: AgentCells, wide: int) -> list[Piece]:
    return _verdict(shown.row.verdict, glyph_of(shown.row), wide, shown.wanted)


def _verdict(verdict: Verdict, glyph: str, wide: int, wanted: Filter) -> list[Piece]:
    text = fit(f"{glyph} {verdict.value}", wide)
    return highlighted(text, verdict.value, wanted, "verdict")


def _agent_name(shown: AgentCells, wide: int) -> list[Piece]:
    record, room = shown.row.record, wide - 1
    name = named(record.id)
    if record.type and not record.id.startswith(record.type):
        name = f"{name} ({harmless(record.type, 60)})"
    before = ""
    if shown.drawing.view.sort is Sort.HIERARCHY:
        before = " " * _indent(shown.line.level, room) + arrow(shown.line)
    mark = f" {REVIEWER}" if record.is_reviewer else ""
    left = room - len(before)
    if mark and left >= _READABLE + len(mark):
        # A long id is cut, so that the mark is shown.
        name = fit_id(name, left - len(mark)).rstrip() + mark
    name = before + fit_id(name + ("" if name.endswith(mark) else mark), left)
    return [(" ", ""), *highlighted(name, shown.quiet or "agent", shown.wanted, "id", "type")]


def _agent_status(shown: AgentCells, wide: int) -> list[Piece]:
    status = fit(harmless(shown.row.record.status or "-", 40), wide - 1)
    style = _status_style(shown.row) if not shown.quiet else shown.quiet
    return [(" ", ""), *highlighted(status, style, shown.wanted, "status")]


def _status_style(row: AgentRow) -> str:
    """Returns the style of a status that matters, whatever the verdict: failed or blocked."""
    if row.ended_as == "failed":
        return "failed"
    return "blocked" if row.record.meaning == "blocked" else ""


def _agent_progress(shown: AgentCells, wide: int) -> list[Piece]:
    return [(" ", ""), *progress_pieces(shown.row.record.progress, shown.quiet)]


def _load_of(shown: AgentCells) -> Load | None:
    # The load of an ended session or process stays in `loads` until the next measurement.
    runs = shown.row.session is not None or shown.row.process is not None
    return shown.drawing.loads.get(shown.line.key) if runs else None


def _agent_cpu(shown: AgentCells, wide: int) -> list[Piece]:
    return [(_cpu(_load_of(shown)).rjust(wide), shown.quiet)]


def _agent_memory(shown: AgentCells, wide: int) -> list[Piece]:
    return [(_memory(_load_of(shown)).rjust(wide), shown.quiet)]


def _agent_last_activity(shown: AgentCells, wide: int) -> list[Piece]:
    last = shown.row.last_activity
    return [(age(None if last is None else shown.drawing.now - last).rjust(wide), shown.quiet)]


def _agent_session(shown: AgentCells, wide: int) -> list[Piece]:
    place = " " + fit_id(place_of(shown.row), wide - 1)
    return highlighted(place, "finished", shown.wanted, "session")


def _agent_task(shown: AgentCells, wide: int) -> list[Piece]:
    place = " " + fit_id(_place(shown.line.task), wide - 1)
    return highlighted(place, "finished", shown.wanted, "task")


def _place(name: str | None) -> str:
    return shown_name(name) if name else "-"


def _cpu(load: Load | None) -> str:
    return "-" if load is None or load.cpu is None else short_percent(load.cpu)


def _memory(load: Load | None) -> str:
    return "-" if load is None else short_size(load.memory)


def task_id_pieces(shown: TaskCells, cells: int | None = None) -> list[Piece]:
    """Returns a task's fold arrow and id.

    Args:
        shown: The task.
        cells: The largest width, if there is room for a readable id; None for no limit.
    """
    before, name = (
        f"  {'  ' * shown.line.level}{arrow(shown.line)}",
        shown_name(shown.task.task_id),
    )
    if cells is not None:
        name = fit_id(name, max(_SHORT_ID, min(width(name), cells - width(before)))).rstrip()
    return [
        (before, "task"),
        *highlighted(name, "task", shown.drawing.view.wanted, "task"),
    ]


def _task_head(shown: TaskCells, wide: int) -> list[Piece]:
    state = shown.task.state
    record = state.record
    phase = f"  {shown.task.phase}" if shown.task.phase else ""
    # A long id is cut, so that the phase is shown.
    head = task_id_pieces(shown, wide - len(phase) if phase else None)
    if record is not None and record.warnings:
        head.append((f"  ! {harmless(record.warnings[0], 200)}", "error"))
    elif _are_agents_unknown(shown.task):
        head.append(("  ! agents unknown", "error"))
    if phase:
        head.append((phase, "finished"))
    if state.description:
        text = f"  {harmless(state.description, 400)}"
        head += highlighted(text, "description", shown.drawing.view.wanted, "task")
    return exactly(head, wide)


def _are_agents_unknown(task: TaskRoll) -> bool:
    """Returns whether all agents of a task may be in a database that muster cannot read."""
    return not task.agents and not task.agents_known


def _task_status(shown: TaskCells, wide: int) -> list[Piece]:
    record = shown.task.state.record
    written = "?" if _are_agents_unknown(shown.task) else record.status if record else ""
    status = fit(harmless(written or "-", 40), wide - 1)
    return [(" ", ""), *highlighted(status, "finished", shown.drawing.view.wanted, "status")]


def _task_progress(shown: TaskCells, wide: int) -> list[Piece]:
    return [(" ", ""), *progress_pieces(shown.task.progress, "")]


def _task_completed(shown: TaskCells, wide: int) -> list[Piece]:
    task = shown.task
    done = "?" if _are_agents_unknown(task) else "-"
    done = f"{task.completed}/{len(task.agents)}" if task.agents else done
    return [(fit(f" {done:>{wide - 1}}", wide), "finished")]


def _task_limits(shown: TaskCells, wide: int) -> list[Piece]:
    return [(" " + fit(_limits(shown.task.state.record), wide - 1), "finished")]


def _blank(_: object, wide: int) -> list[Piece]:
    return [(" " * wide, "")]


def _nothing(_: object, wide: int) -> list[Piece]:
    """Returns an empty cell without padding. All cells to the right of it must be empty too."""
    return []


def _limits(record: TaskRecord | None) -> str:
    """Returns a task's limits in a few words."""
    if record is None:
        return ""
    limits = (
        ("agents", record.max_agents),
        ("at once", record.max_concurrent),
        ("deep", record.max_depth),
    )
    text = ", ".join(
        f"{most} {what}" for what, most in limits if most is not None and abs(most) < 1e6
    )
    return f"at most {text}" if text else ""


def _orphan_verdict(shown: OrphanCells, wide: int) -> list[Piece]:
    return _verdict(
        Verdict.ORPHAN, VERDICTS[Verdict.ORPHAN].glyph, wide, shown.drawing.view.wanted
    )


def _orphan_name(shown: OrphanCells, wide: int) -> list[Piece]:
    view = shown.drawing.view
    indent = "  " if view.sort is Sort.HIERARCHY else ""
    made = age(shown.drawing.now - shown.session.created)
    name = f"{indent}{shown_name(shown.session.name)}"
    pieces = [
        *highlighted(name, "agent", view.wanted, "session"),
        (f"  no registry lists it; made {made} ago", "finished"),
    ]
    return [(" ", ""), *exactly(pieces, wide - 1)]


def _orphan_cpu(shown: OrphanCells, wide: int) -> list[Piece]:
    return [(_cpu(shown.drawing.loads.get(shown.line.key)).rjust(wide), "")]


def _orphan_memory(shown: OrphanCells, wide: int) -> list[Piece]:
    return [(_memory(shown.drawing.loads.get(shown.line.key)).rjust(wide), "")]


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


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of the agent list.

    A cell has exactly the width of its column, including the gap before the cell's text.

    Attributes:
        title: The title in the heading.
        width: The width in cells; 0 for AGENT, which takes the remaining room.
        agent: Makes the cell on an agent's line.
        task: Makes the cell on a task's line. If None, the cell to the left is wider instead.
        orphan: Makes the cell on an orphan's line. If None, the cell to the left is wider instead.
        gap: The number of empty cells before the text.
        right: Whether the title is aligned to the right.
        priority: 0 for a column that is always shown. Other columns are added if there is room,
            the lowest priority first. Columns of equal priority are added together.
        room: The least width of AGENT, in cells, for which this column is added.
        share: Whether the width is also limited to two fifths of the width of AGENT.
        sorts: The sort orders in which the column can be shown.
        needed_by: The sort orders in which the column is shown even if AGENT is narrow.
        yields: Whether the column is removed if a column needs room because of `needed_by`.
    """

    title: str
    width: int
    agent: Callable[[AgentCells, int], list[Piece]]
    task: Callable[[TaskCells, int], list[Piece]] | None
    orphan: Callable[[OrphanCells, int], list[Piece]] | None
    gap: int = 1
    right: bool = False
    priority: int = 0
    room: int = 0
    share: bool = False
    sorts: frozenset[Sort] = frozenset(Sort)
    needed_by: frozenset[Sort] = frozenset()
    yields: bool = False


_TREE = frozenset({Sort.HIERARCHY})
_BY_LOAD = frozenset(sort for sort in Sort if sort.by_load)

COLUMNS = (
    Column("", 2, _mark, _task_head, _mark, gap=0),
    Column("VERDICT", 10, _agent_verdict, None, _orphan_verdict, gap=0),
    Column("AGENT", 0, _agent_name, None, _orphan_name),
    Column("STATUS", 12, _agent_status, _task_status, None),
    Column("PROGRESS", 1 + PROGRESS_WIDTH, _agent_progress, _task_progress, None, yields=True),
    Column(
        "CPU", 6, _agent_cpu, _blank, _orphan_cpu,
        right=True, priority=1, room=46, needed_by=_BY_LOAD,
    ),
    Column(
        "MEM", 6, _agent_memory, _blank, _orphan_memory,
        right=True, priority=1, room=46, needed_by=_BY_LOAD,
    ),
    Column("HEARD", 6, _agent_last_activity, _task_completed, _nothing, right=True),
    Column(
        "SESSION", 53, _agent_session, _task_limits, _nothing,
        priority=2, room=68, share=True, sorts=_TREE,
    ),
    Column(
        "TASK", 53, _agent_task, _task_limits, _nothing,
        priority=2, room=46, share=True, sorts=frozenset(Sort) - _TREE,
    ),
)  # fmt: skip
"""All columns, from the left to the right."""


@lru_cache(64)
def layout(cells: int, sort: Sort = Sort.HIERARCHY) -> tuple[tuple[Column, int], ...]:
    """Returns the columns that have room in a line, each with its width in cells.

    Args:
        cells: The width of a line.
        sort: The sort order of the lines.
    """
    shown = {column: column.width for column in COLUMNS if column.priority == 0}
    gaps = sum(column.gap for column in COLUMNS if column.width == 0)
    rest = max(_LEAST, cells - sum(shown.values()) - gaps - _MARGIN)
    offered = [column for column in COLUMNS if column.priority and sort in column.sorts]
    for priority in sorted({column.priority for column in offered}):
        group = {
            column: min(column.width, rest * 2 // 5 + column.gap) if column.share else column.width
            for column in offered
            if column.priority == priority
        }
        if rest >= max(column.room for column in group):
            shown |= group
            rest -= sum(group.values())
        elif any(sort in column.needed_by for column in group):
            # The value that the lines are sorted by must be visible.
            for column in [column for column in shown if column.yields]:
                rest += shown.pop(column)
            shown |= group
            rest -= sum(group.values())
    return tuple(
        (column, shown[column] or rest + column.gap) for column in COLUMNS if column in shown
    )


@lru_cache(64)
def task_cells(
    cells: int, sort: Sort
) -> tuple[tuple[Callable[[TaskCells, int], list[Piece]], int], ...]:
    """Returns the functions for the cells of a task's line, each with the width of the cell."""
    return _extended([(column.task, wide) for column, wide in layout(cells, sort)])


@lru_cache(64)
def orphan_cells(
    cells: int, sort: Sort
) -> tuple[tuple[Callable[[OrphanCells, int], list[Piece]], int], ...]:
    """Returns the functions for the cells of an orphan's line, each with the width of the cell."""
    return _extended([(column.orphan, wide) for column, wide in layout(cells, sort)])


def _extended(cells: Iterable[tuple[_Cell | None, int]]) -> tuple[tuple[_Cell, int], ...]:
    """Extends each cell over the columns to the right of it that have no cell."""
    done: list[tuple[_Cell, int]] = []
    for cell, wide in cells:
        if cell is not None:
            done.append((cell, wide))
        else:
            last, before = done[-1]
            done[-1] = last, before + wide
    return tuple(done)
