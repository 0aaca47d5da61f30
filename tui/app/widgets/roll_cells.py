"""A line of the roll as pieces of text with a style's name each. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

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

Piece = tuple[str, str]
"""Text that is safe to show, and the names of its styles, blanks between them."""

NOTHING = Filter()

_VERDICT = 10
_STATUS = 11
_BAR = 6
_PROGRESS = _BAR + 5
_HEARD = 5
_CPU = 5
_MEMORY = 5
_LOAD = _CPU + 1 + _MEMORY
_GAP = 1

# Cells for the agent from which there is room for what it costs, and for its session.
_ROOMY = 34
_SPACIOUS = 68

# Cells that a fold's arrow and an id need to be told from others.
_READABLE = 24


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide each column is, in cells; 0 leaves one out.

    Attributes:
        place: The session, or the task where lines are sorted.
    """

    agent: int
    progress: int
    load: int
    place: int


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


def columns(cells: int, sort: Sort = Sort.HIERARCHY) -> Columns:
    """Divides a line's width: what is left over goes to the agent and its place."""
    fixed = 2 + _VERDICT + _STATUS + _PROGRESS + _HEARD + 5 * _GAP
    rest = max(12, cells - fixed)
    load, progress = 0, _PROGRESS
    if rest >= _ROOMY + _LOAD + _GAP:
        load = _LOAD
        rest -= _LOAD + _GAP
    elif sort.by_load:
        # What lines are sorted by must be seen.
        load, progress = _LOAD, 0
    if rest < _SPACIOUS and (sort is Sort.HIERARCHY or rest < _ROOMY + 12):
        return Columns(rest, progress, load, 0)
    place = min(52, rest * 2 // 5)
    return Columns(rest - place - _GAP, progress, load, place)


def heading(cells: int, sort: Sort = Sort.HIERARCHY) -> str:
    """The line above the roll."""
    wide = columns(cells, sort)
    parts = ["  ", fit("VERDICT", _VERDICT), " ", fit("AGENT", wide.agent), " "]
    parts.append(fit("STATUS", _STATUS))
    if wide.progress:
        parts += [" ", fit("PROGRESS", wide.progress)]
    if wide.load:
        parts.append(f" {'CPU':>{_CPU}} {'MEM':>{_MEMORY}}")
    parts.append(f" {'HEARD':>{_HEARD}} ")
    parts.append(fit("SESSION" if sort is Sort.HIERARCHY else "TASK", wide.place))
    return fit("".join(parts), cells)


def shows_loads(cells: int, sort: Sort) -> bool:
    """Whether there is a place for what sessions cost."""
    return columns(cells, sort).load > 0


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
    if isinstance(line.item, AgentRow):
        return 2 + _VERDICT + _GAP + _indent(line.level, columns(cells).agent)
    return 2 + 2 * line.level


def _mark(marked: bool) -> Piece:
    return ("▌ " if marked else "  ", "mark")


def _verdict(verdict: Verdict, wanted: Filter = NOTHING) -> list[Piece]:
    text = fit(f"{VERDICTS[verdict].glyph} {verdict.value}", _VERDICT)
    return _lit(text, verdict.value, wanted, "verdict")


def _agent(line: Line, row: AgentRow, drawing: Drawing, marked: bool) -> list[Piece]:
    sort, wanted = drawing.view.sort, drawing.view.wanted if not line.leads else NOTHING
    wide = columns(drawing.cells, sort)
    record = row.record
    quiet = "finished" if row.verdict is Verdict.FINISHED or line.leads else ""
    name = named(record.id)
    if record.type and not record.id.startswith(record.type):
        name = f"{name} ({harmless(record.type, 60)})"
    before = ""
    if sort is Sort.HIERARCHY:
        before = " " * _indent(line.level, wide.agent) + _arrow(line)
    name = before + fit_id(name, wide.agent - len(before))
    last_activity = None if row.last_activity is None else drawing.now - row.last_activity
    pieces = [
        _mark(marked),
        *_verdict(row.verdict, wanted),
        (" ", ""),
        *_lit(name, quiet or "agent", wanted, "id", "type"),
        (" ", ""),
        *_lit(fit(harmless(record.status or "-", 40), _STATUS), quiet, wanted, "status"),
    ]
    if wide.progress:
        pieces += [(" ", ""), *_progress(record.progress, quiet)]
    if wide.load:
        # What a session cost that is gone is known until the next look.
        load = drawing.loads.get(line.key) if row.session is not None else None
        pieces.append((_load(load), quiet))
    pieces.append((f" {age(last_activity):>{_HEARD}}", quiet))
    if wide.place:
        of_session = sort is Sort.HIERARCHY
        place = _place(record.tmux_session if of_session else line.task)
        shown = " " + fit_id(place, wide.place)
        pieces += _lit(shown, "finished", wanted, "session" if of_session else "task")
    return pieces


def _place(name: str | None) -> str:
    return shown_name(name) if name else "-"


def _load(load: Load | None) -> str:
    if load is None:
        return f" {'-':>{_CPU}} {'-':>{_MEMORY}}"
    cpu = "-" if load.cpu is None else short_percent(load.cpu)
    return f" {cpu:>{_CPU}} {short_size(load.memory):>{_MEMORY}}"


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
    record = state.record
    wanted = drawing.view.wanted
    head: list[Piece] = [
        (f"  {'  ' * line.level}{_arrow(line)}", "task"),
        *_lit(shown_name(task.task_id), "task", wanted, "task"),
    ]
    if state.error is not None:
        stale = f"as of {age(drawing.now - state.read_at)} ago: " if record else ""
        return [*head, (f"  ! {stale}{harmless(state.error, 400)}", "error")]
    if state.hot_journal is not None:
        return [*head, (f"  ! {harmless(state.hot_journal, 400)}", "error")]
    if record is not None and record.warnings:
        head.append((f"  ! {harmless(record.warnings[0], 200)}", "error"))
    description = (record.description if record else "") or state.listed_description
    if description:
        shown = f"  {harmless(description, 400)}"
        head += _lit(shown, "description", wanted, "task")
    room = 2 + _VERDICT + _GAP + columns(drawing.cells).agent
    return [*_exactly(head, room), *_standing(task, drawing)]


def _standing(task: TaskRoll, drawing: Drawing) -> list[Piece]:
    """How a task stands, beneath the headings of its agents."""
    wide = columns(drawing.cells)
    record = task.state.record
    status = harmless((record.status if record else "") or "-", 40)
    pieces = [(" ", ""), *_lit(fit(status, _STATUS), "finished", drawing.view.wanted, "status")]
    pieces += [(" ", ""), *_progress(task.progress, "")]
    if wide.load:
        pieces.append((" " * (wide.load + _GAP), ""))
    done = f"{task.completed}/{len(task.agents)}" if task.agents else "-"
    pieces.append((fit(f" {done:>{_HEARD}}", _HEARD + _GAP), "finished"))
    if wide.place:
        pieces.append((" " + fit(_limits(record), wide.place), "finished"))
    return pieces


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
    wide = columns(drawing.cells, drawing.view.sort)
    wanted = drawing.view.wanted
    sorted_ = drawing.view.sort is not Sort.HIERARCHY
    made = age(drawing.now - session.created)
    indent = "" if sorted_ else "  "
    room = wide.agent + _GAP + _STATUS + (_GAP + wide.progress if wide.progress else 0)
    said = [
        *_lit(f"{indent}{shown_name(session.name)}", "agent", wanted, "session"),
        (f"  no registry lists it; made {made} ago", "finished"),
    ]
    pieces = [
        _mark(marked),
        *_verdict(Verdict.ORPHAN, wanted),
        (" ", ""),
        *_exactly(said, room),
    ]
    if wide.load:
        pieces.append((_load(drawing.loads.get(line.key)), ""))
    return pieces
