"""The columns of the agent list: what they hold, how wide they are, and when they are shown. Pure.

A wider line never has fewer or narrower columns: `_GROWTH` lists the steps in which the columns
grow, and a line takes as many of the first steps as it has room for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from registry.dataclass import dataclass
from tui.app.widgets import roll_cells as cell
from tui.app.widgets.roll_cells import AgentCells, OrphanCells, TaskCells
from tui.app.widgets.styled_text import BAR_AND_PERCENT, PERCENT, Piece
from tui.model.roll import AgentRow
from tui.text.sanitize import fit
from tui.view.outline import Line
from tui.view.view import Sort, View

_Cell = TypeVar("_Cell")

# The empty cells at the right edge.
_MARGIN = 1

_UNLIMITED = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of the agent list.

    A cell has exactly the width of its column, including the gap before the cell's text.

    Attributes:
        title: The title in the heading, which also names the column.
        least: The least width in cells, including the gap.
        agent: Makes the cell on an agent's line.
        task: Makes the cell on a task's line. If None, the cell to the left is wider instead.
        orphan: Makes the cell on an orphan's line. If None, the cell to the left is wider instead.
        short: The title where `title` has no room.
        gap: The number of empty cells before the text.
        right: Whether the title is aligned to the right.
        always: Whether the column is shown in every line.
        by_load: Whether the column is shown in every line if the lines are sorted by load.
        sort: The sort order that a click on the title chooses, or None.
        sorts: The sort orders in which the column can be shown.
    """

    title: str
    least: int
    agent: Callable[[AgentCells, int], list[Piece]]
    task: Callable[[TaskCells, int], list[Piece]] | None
    orphan: Callable[[OrphanCells, int], list[Piece]] | None
    short: str = ""
    gap: int = 1
    right: bool = False
    always: bool = True
    by_load: bool = False
    sort: Sort | None = None
    sorts: frozenset[Sort] = frozenset(Sort)


_TREE = frozenset({Sort.HIERARCHY})

COLUMNS = (
    Column("", 2, cell.mark, cell.task_head, cell.mark, gap=0),
    Column(
        "VERDICT", 10, cell.agent_verdict, None, cell.orphan_verdict, gap=0, sort=Sort.URGENCY
    ),
    Column("AGENT", 13, cell.agent_name, None, cell.orphan_name, sort=Sort.HIERARCHY),
    Column("STATUS", 11, cell.agent_status, cell.task_status, None, sort=Sort.STATUS),
    Column(
        "PROGRESS", PERCENT, cell.agent_progress, cell.task_progress, None,
        short="DONE", sort=Sort.PROGRESS,
    ),
    Column(
        "CPU", 6, cell.agent_cpu, cell.blank, cell.orphan_cpu,
        right=True, always=False, by_load=True, sort=Sort.CPU,
    ),
    Column(
        "MEM", 6, cell.agent_memory, cell.blank, cell.orphan_memory,
        right=True, always=False, by_load=True, sort=Sort.MEMORY,
    ),
    Column(
        "HEARD", 7, cell.agent_last_activity, cell.task_last_activity, cell.orphan_last_activity,
        right=True, sort=Sort.HEARD,
    ),
    Column("REPORT", 13, cell.agent_report, cell.nothing, cell.nothing, always=False),
    Column(
        "SESSION", 21, cell.agent_session, cell.nothing, cell.nothing,
        always=False, sorts=_TREE,
    ),
    Column(
        "TASK", 21, cell.agent_task, cell.nothing, cell.nothing,
        always=False, sorts=frozenset(Sort) - _TREE,
    ),
)  # fmt: skip
"""All columns, from the left to the right."""

_GROWTH = (
    ("AGENT", 25), ("REPORT", 27), ("AGENT", 29), ("PROGRESS", BAR_AND_PERCENT), ("REPORT", 35),
    ("STATUS", 16), ("AGENT", 37), ("CPU", 6), ("MEM", 6), ("REPORT", 45), ("AGENT", 45),
    ("REPORT", 61), ("SESSION", 45), ("TASK", 45), ("REPORT", _UNLIMITED),
)  # fmt: skip
"""The steps in which the columns grow: a column, and its width after the step, in cells."""

# These columns grow by a whole step; the others by single cells.
_WHOLE = frozenset({"PROGRESS"})


def heading(cells: int, view: View | Sort = Sort.HIERARCHY) -> str:
    """Returns the line with the titles of the columns, with an arrow at the sorted column.

    Args:
        cells: The cells that the columns may take.
        view: The sort order of the lines, or the view with this order.
    """
    if isinstance(view, Sort):
        view = View(sort=view)
    titles = (_title(column, wide, view) for column, wide in layout(cells, view.sort))
    return fit("".join(titles), cells)


def _title(column: Column, wide: int, view: View) -> str:
    end = ""
    if column.sort is view.sort and column.sort is not Sort.HIERARCHY:
        end = "▴" if view.reverse else "▾"
    title = column.title if len(column.title) + column.gap <= wide else column.short
    if column.right:
        return (title + end).rjust(wide)
    gap = column.gap if len(title + end) + column.gap <= wide else 0
    return fit(" " * gap + title + end, wide)


def column_at(x: int, cells: int, sort: Sort) -> Column | None:
    """Returns the column at a position in the heading, or None."""
    end = 0
    for column, wide in layout(cells, sort):
        end += wide
        if x < end:
            return column
    return None


def shows_loads(cells: int, sort: Sort) -> bool:
    """Returns whether lines of this width and sort order have the column CPU."""
    return any(column.title == "CPU" for column, _ in layout(cells, sort))


def fold_column(line: Line, cells: int) -> int:
    """Returns the number of cells to the left of a line's fold arrow."""
    if not isinstance(line.item, AgentRow):
        return 2 + 2 * line.level
    at = 0
    for column, wide in layout(cells):
        if column.title == "AGENT":
            return at + column.gap + cell.indent(line.level, wide - column.gap)
        at += wide
    raise AssertionError("no column has the agent")


@lru_cache(64)
def layout(cells: int, sort: Sort = Sort.HIERARCHY) -> tuple[tuple[Column, int], ...]:
    """Returns the columns that have room in a line, each with its width in cells.

    Args:
        cells: The cells that the columns may take.
        sort: The sort order of the lines.
    """
    offered = {column.title: column for column in COLUMNS if sort in column.sorts}
    # The value that the lines are sorted by must be visible.
    widths = {
        title: column.least
        for title, column in offered.items()
        if column.always or (column.by_load and sort.by_load)
    }
    room = cells - _MARGIN - sum(widths.values())
    for title, end in _GROWTH:
        if title not in offered:
            continue
        now = widths.get(title, 0)
        least = end if title in _WHOLE else max(offered[title].least, now)
        if least - now > room:
            break
        wide = min(max(end, now), now + room)
        widths[title] = wide
        room -= wide - now
        if wide < end:
            break
    return tuple((column, widths[title]) for title, column in offered.items() if title in widths)


@lru_cache(64)
def task_cells(
    cells: int, sort: Sort
) -> tuple[tuple[Callable[[TaskCells, int], list[Piece]], int], ...]:
    """Returns the functions for the cells of a task's line, each with the width of the cell."""
    return _extended((column.task, wide) for column, wide in layout(cells, sort))


@lru_cache(64)
def orphan_cells(
    cells: int, sort: Sort
) -> tuple[tuple[Callable[[OrphanCells, int], list[Piece]], int], ...]:
    """Returns the functions for the cells of an orphan's line, each with the width of the cell."""
    return _extended((column.orphan, wide) for column, wide in layout(cells, sort))


def _extended(cells: Iterable[tuple[_Cell | None, int]]) -> tuple[tuple[_Cell, int], ...]:
    """Extends each cell over the columns to the right of it that have no cell."""
    done: list[tuple[_Cell, int]] = []
    for drawn, wide in cells:
        if drawn is not None:
            done.append((drawn, wide))
        else:
            last, before = done[-1]
            done[-1] = last, before + wide
    return tuple(done)
