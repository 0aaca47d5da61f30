"""A line of the roll as pieces of text with a style's name each. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar

from registry.schema.records import TaskRecord
from registry.text import shown_name
from tui.host.tmux_types import Session
from tui.host.usage import Load
from tui.model.roll import AgentRow, TaskRoll, Verdict, WorkspaceRoll
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import age, fit, fit_id, harmless, named, short_percent, short_size, width
from tui.view.filter import Filter
from tui.view.outline import EVERYTHING, Key, Line
from tui.view.view import Sort, View

_Cell = TypeVar("_Cell")

Piece = tuple[str, str]
"""Text that is safe to show, and the names of its styles, blanks between them."""

NOTHING = Filter()

# A bar, and behind it the percent.
_BAR = 6
_PROGRESS = _BAR + 5

# Cells that a fold's arrow and an id need to be told from others.
_READABLE = 24

# Cells for the agent that are left at least; and one that stays empty at the right.
_LEAST = 12
_MARGIN = 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """How lines are drawn, all of them alike.

    Attributes:
        cells: How wide they are; the pieces of each take exactly that.
        now: Seconds since the epoch, for ages.
        view: What is looked at: what was looked for is highlighted.
        loads: What sessions cost.
    """

    cells: int
    now: float
    view: View = EVERYTHING
    loads: Mapping[Key, Load] = field(default_factory=dict)


def heading(cells: int, sort: Sort = Sort.HIERARCHY) -> str:
    """The line above the roll."""
    return fit("".join(_title(column, wide) for column, wide in layout(cells, sort)), cells)


def _title(column: Column, wide: int) -> str:
    if column.right:
        return column.title.rjust(wide)
    return fit(" " * column.gap + column.title, wide)


def shows_loads(cells: int, sort: Sort) -> bool:
    """Whether there is a place for what sessions cost."""
    return any(column.title == "CPU" for column, _ in layout(cells, sort))


def line_pieces(line: Line, drawing: Drawing, marked: bool = False) -> list[Piece]:
    """One line of the roll.

    Args:
        line: What to show.
        drawing: How.
        marked: Whether it bears the operator's mark.
    """
    item = line.item
    if isinstance(item, AgentRow):
        pieces = _agent(line, item, drawing, marked)
    elif isinstance(item, TaskRoll):
        pieces = _task(line, item, drawing)
    elif isinstance(item, WorkspaceRoll):
        pieces = _workspace(line, item)
    elif isinstance(item, Session):
        pieces = _orphan(line, item, drawing, marked)
    else:
        pieces = [(f"  {_arrow(line)}orphaned sessions", "task")]
    return _exactly(pieces, drawing.cells)


def why_empty(view: View) -> str:
    """Why there is not a single line."""
    if view.narrows:
        return "Nothing matches the filter; Escape clears it."
    if view.hide_finished:
        return "Everybody is finished; h shows them."
    return "No task is here yet; one that comes shows up by itself."


def _lit(text: str, style: str, wanted: Filter, *keys: str) -> list[Piece]:
    """A text with what was looked for in it highlighted."""
    if not wanted:
        return [(text, style)]
    lit: set[int] = set()
    for key in keys:
        for start, end in wanted.spans(key, text):
            lit.update(range(start, end))
    pieces: list[Piece] = []
    for is_lit, run in itertools.groupby(range(len(text)), lambda at: at in lit):
        part = "".join(text[at] for at in run)
        pieces.append((part, f"{style} match".strip() if is_lit else style))
    return pieces


def _exactly(pieces: list[Piece], cells: int) -> list[Piece]:
    done: list[Piece] = []
    left = cells
    for text, style in pieces:
        wide = width(text)
        if wide > left:
            done.append((fit(text, left), style))
            return done
        done.append((text, style))
        left -= wide
    if left:
        done.append((" " * left, ""))
    return done


def _arrow(line: Line) -> str:
    return {None: "  ", True: "▸ ", False: "▾ "}[line.folded]


def _indent(level: int, room: int) -> int:
    """How far an agent is indented: however deep it is, its arrow and its id have room."""
    return 2 * max(0, min(level - 1, (room - _READABLE) // 2))


def fold_column(line: Line, cells: int) -> int:
    """Where on a line of so many cells its fold's arrow is."""
    if not isinstance(line.item, AgentRow):
        return 2 + 2 * line.level
    at = 0
    for column, wide in layout(cells):
        if column.width == 0:
            return at + column.gap + _indent(line.level, wide - column.gap)
        at += wide
    raise AssertionError("no column has the agent")


def _agent(line: Line, row: AgentRow, drawing: Drawing, marked: bool) -> list[Piece]:
    wanted = drawing.view.wanted if not line.leads else NOTHING
    quiet = "finished" if row.verdict is Verdict.FINISHED or line.leads else ""
    shown = _Agent(line, row, drawing, marked, wanted, quiet)
    pieces: list[Piece] = []
    for column, wide in layout(drawing.cells, drawing.view.sort):
        pieces += column.agent(shown, wide)
    return pieces


def _mark(shown: _Agent | _Orphan, wide: int) -> list[Piece]:
    return [(("▌" if shown.marked else " ").ljust(wide), "mark")]


def _agent_verdict(shown: _Agent, wide: int) -> list[Piece]:
    return _verdict(shown.row.verdict, wide, shown.wanted)


def _verdict(verdict: Verdict, wide: int, wanted: Filter) -> list[Piece]:
    text = fit(f"{VERDICTS[verdict].glyph} {verdict.value}", wide)
    return _lit(text, verdict.value, wanted, "verdict")


def _agent_name(shown: _Agent, wide: int) -> list[Piece]:
    record, room = shown.row.record, wide - 1
    name = named(record.id)
    if record.type and not record.id.startswith(record.type):
        name = f"{name} ({harmless(record.type, 60)})"
    before = ""
    if shown.drawing.view.sort is Sort.HIERARCHY:
        before = " " * _indent(shown.line.level, room) + _arrow(shown.line)
    name = before + fit_id(name, room - len(before))
    return [(" ", ""), *_lit(name, shown.quiet or "agent", shown.wanted, "id", "type")]


def _agent_status(shown: _Agent, wide: int) -> list[Piece]:
    status = fit(harmless(shown.row.record.status or "-", 40), wide - 1)
    return [(" ", ""), *_lit(status, shown.quiet, shown.wanted, "status")]


def _agent_progress(shown: _Agent, wide: int) -> list[Piece]:
    return [(" ", ""), *_progress(shown.row.record.progress, shown.quiet)]


def _load_of(shown: _Agent) -> Load | None:
    # What a session cost that is gone is known until the next look.
    return shown.drawing.loads.get(shown.line.key) if shown.row.session is not None else None


def _agent_cpu(shown: _Agent, wide: int) -> list[Piece]:
    return [(_cpu(_load_of(shown)).rjust(wide), shown.quiet)]


def _agent_memory(shown: _Agent, wide: int) -> list[Piece]:
    return [(_memory(_load_of(shown)).rjust(wide), shown.quiet)]


def _agent_heard(shown: _Agent, wide: int) -> list[Piece]:
    last = shown.row.last_activity
    return [(age(None if last is None else shown.drawing.now - last).rjust(wide), shown.quiet)]


def _agent_session(shown: _Agent, wide: int) -> list[Piece]:
    place = " " + fit_id(_place(shown.row.record.tmux_session), wide - 1)
    return _lit(place, "finished", shown.wanted, "session")


def _agent_task(shown: _Agent, wide: int) -> list[Piece]:
    place = " " + fit_id(_place(shown.line.task), wide - 1)
    return _lit(place, "finished", shown.wanted, "task")


def _place(name: str | None) -> str:
    return shown_name(name) if name else "-"


def _cpu(load: Load | None) -> str:
    return "-" if load is None or load.cpu is None else short_percent(load.cpu)


def _memory(load: Load | None) -> str:
    return "-" if load is None else short_size(load.memory)


def _progress(progress: float | None, quiet: str) -> list[Piece]:
    if progress is None:
        return [(fit("-", _PROGRESS), "finished")]
    percent = min(max(progress, 0.0), 100.0)
    full = round(percent / 100 * _BAR)
    return [
        ("━" * full, quiet or "bar"),
        ("─" * (_BAR - full), "finished"),
        (f"{percent:4.0f}%", quiet),
    ]


def _task(line: Line, task: TaskRoll, drawing: Drawing) -> list[Piece]:
    state = task.state
    shown = _Task(line, task, drawing)
    if state.error is not None:
        stale = f"as of {age(drawing.now - state.read_at)} ago: " if state.record else ""
        return [*_task_id(shown), (f"  ! {stale}{harmless(state.error, 400)}", "error")]
    if state.hot_journal is not None:
        return [*_task_id(shown), (f"  ! {harmless(state.hot_journal, 400)}", "error")]
    pieces: list[Piece] = []
    for cell, wide in _task_cells(drawing.cells, drawing.view.sort):
        pieces += cell(shown, wide)
    return pieces


def _task_id(shown: _Task) -> list[Piece]:
    return [
        (f"  {'  ' * shown.line.level}{_arrow(shown.line)}", "task"),
        *_lit(shown_name(shown.task.task_id), "task", shown.drawing.view.wanted, "task"),
    ]


def _task_head(shown: _Task, wide: int) -> list[Piece]:
    state = shown.task.state
    record = state.record
    head = _task_id(shown)
    if record is not None and record.warnings:
        head.append((f"  ! {harmless(record.warnings[0], 200)}", "error"))
    if state.description:
        text = f"  {harmless(state.description, 400)}"
        head += _lit(text, "description", shown.drawing.view.wanted, "task")
    return _exactly(head, wide)


def _task_status(shown: _Task, wide: int) -> list[Piece]:
    record = shown.task.state.record
    status = fit(harmless((record.status if record else "") or "-", 40), wide - 1)
    return [(" ", ""), *_lit(status, "finished", shown.drawing.view.wanted, "status")]


def _task_progress(shown: _Task, wide: int) -> list[Piece]:
    return [(" ", ""), *_progress(shown.task.progress, "")]


def _task_completed(shown: _Task, wide: int) -> list[Piece]:
    task = shown.task
    done = f"{task.completed}/{len(task.agents)}" if task.agents else "-"
    return [(fit(f" {done:>{wide - 1}}", wide), "finished")]


def _task_limits(shown: _Task, wide: int) -> list[Piece]:
    return [(" " + fit(_limits(shown.task.state.record), wide - 1), "finished")]


def _blank(_: object, wide: int) -> list[Piece]:
    return [(" " * wide, "")]


def _nothing(_: object, wide: int) -> list[Piece]:
    """A cell with only such cells to its right: the line ends before it."""
    return []


def _limits(record: TaskRecord | None) -> str:
    """What a task allows, in few words."""
    if record is None:
        return ""
    limits = (
        ("agents", record.max_agents),
        ("at once", record.max_concurrent),
        ("deep", record.max_depth),
    )
    said = ", ".join(
        f"{most} {what}" for what, most in limits if most is not None and abs(most) < 1e6
    )
    return f"at most {said}" if said else ""


def _workspace(line: Line, workspace: WorkspaceRoll) -> list[Piece]:
    pieces: list[Piece] = [
        (f"  {_arrow(line)}", "task"),
        (shown_name(workspace.path), "workspace"),
    ]
    problems = filter(None, (workspace.error, workspace.hot_journal, workspace.database))
    pieces += ((f"  ! {harmless(str(problem), 400)}", "error") for problem in problems)
    return pieces


def _orphan(line: Line, session: Session, drawing: Drawing, marked: bool) -> list[Piece]:
    shown = _Orphan(line, session, drawing, marked)
    pieces: list[Piece] = []
    for cell, wide in _orphan_cells(drawing.cells, drawing.view.sort):
        pieces += cell(shown, wide)
    return pieces


def _orphan_verdict(shown: _Orphan, wide: int) -> list[Piece]:
    return _verdict(Verdict.ORPHAN, wide, shown.drawing.view.wanted)


def _orphan_name(shown: _Orphan, wide: int) -> list[Piece]:
    view = shown.drawing.view
    indent = "  " if view.sort is Sort.HIERARCHY else ""
    made = age(shown.drawing.now - shown.session.created)
    name = f"{indent}{shown_name(shown.session.name)}"
    said = [
        *_lit(name, "agent", view.wanted, "session"),
        (f"  no registry lists it; made {made} ago", "finished"),
    ]
    return [(" ", ""), *_exactly(said, wide - 1)]


def _orphan_cpu(shown: _Orphan, wide: int) -> list[Piece]:
    return [(_cpu(shown.drawing.loads.get(shown.line.key)).rjust(wide), "")]


def _orphan_memory(shown: _Orphan, wide: int) -> list[Piece]:
    return [(_memory(shown.drawing.loads.get(shown.line.key)).rjust(wide), "")]


class _Agent(NamedTuple):
    """An agent's line while it is drawn."""

    line: Line
    row: AgentRow
    drawing: Drawing
    marked: bool
    wanted: Filter
    quiet: str


class _Task(NamedTuple):
    """A task's line while it is drawn."""

    line: Line
    task: TaskRoll
    drawing: Drawing


class _Orphan(NamedTuple):
    """An orphan's line while it is drawn."""

    line: Line
    session: Session
    drawing: Drawing
    marked: bool


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of the roll.

    A cell is exactly as wide as its column, the gap before its text included. None in
    place of a cell means that the cell to its left extends over it.

    Attributes:
        title: What the heading calls it.
        width: In cells; 0 for the column that gets what the others leave.
        agent, task, orphan: The cell on the line of each.
        gap: Cells before its text.
        right: Whether its title is aligned to the right.
        priority: 0 for a column that is always there. Others are added by their priority,
            lowest first, all columns of one priority together.
        room: How wide the agent's column must be for this one to be added.
        share: Whether `width` is a maximum: it gets two fifths of the agent's column.
        sorts: It is there only when the lines are sorted by one of these.
        needed_by: When the lines are sorted by one of these it is added without room.
        yields: Whether a column that is added without room takes the place of this one.
    """

    title: str
    width: int
    agent: Callable[[_Agent, int], list[Piece]]
    task: Callable[[_Task, int], list[Piece]] | None
    orphan: Callable[[_Orphan, int], list[Piece]] | None
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
    Column("PROGRESS", 1 + _PROGRESS, _agent_progress, _task_progress, None, yields=True),
    Column(
        "CPU", 6, _agent_cpu, _blank, _orphan_cpu,
        right=True, priority=1, room=46, needed_by=_BY_LOAD,
    ),
    Column(
        "MEM", 6, _agent_memory, _blank, _orphan_memory,
        right=True, priority=1, room=46, needed_by=_BY_LOAD,
    ),
    Column("HEARD", 6, _agent_heard, _task_completed, _nothing, right=True),
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
    """The columns that there is room for, each with its width.

    Args:
        cells: How wide a line is.
        sort: What the lines are sorted by.
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
            # What lines are sorted by must be seen.
            for column in [column for column in shown if column.yields]:
                rest += shown.pop(column)
            shown |= group
            rest -= sum(group.values())
    return tuple(
        (column, shown[column] or rest + column.gap) for column in COLUMNS if column in shown
    )


@lru_cache(64)
def _task_cells(
    cells: int, sort: Sort
) -> tuple[tuple[Callable[[_Task, int], list[Piece]], int], ...]:
    return _extended([(column.task, wide) for column, wide in layout(cells, sort)])


@lru_cache(64)
def _orphan_cells(
    cells: int, sort: Sort
) -> tuple[tuple[Callable[[_Orphan, int], list[Piece]], int], ...]:
    return _extended([(column.orphan, wide) for column, wide in layout(cells, sort)])


def _extended(cells: Iterable[tuple[_Cell | None, int]]) -> tuple[tuple[_Cell, int], ...]:
    """Cells with their widths; each extends over the columns without one to its right."""
    done: list[tuple[_Cell, int]] = []
    for cell, wide in cells:
        if cell is not None:
            done.append((cell, wide))
        else:
            last, before = done[-1]
            done[-1] = last, before + wide
    return tuple(done)
