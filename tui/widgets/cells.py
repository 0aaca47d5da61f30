"""A line of the roll as pieces of text with a style's name each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tui.host.sessions import Session
from tui.outline import Line
from tui.roll import AgentRow, TaskRoll, Verdict, WorkspaceRoll
from tui.text import age, fit, fit_id, harmless, some, width

Piece = tuple[str, str]
"""Text that is safe to show, and the name of its style."""

GLYPHS = {
    Verdict.LIVE: "●",
    Verdict.STALLED: "◐",
    Verdict.ZOMBIE: "✗",
    Verdict.LEAKED: "▲",
    Verdict.ORPHAN: "◆",
    Verdict.UNKNOWN: "?",
    Verdict.FINISHED: "✓",
}

_VERDICT = 10
_STATUS = 10
_BAR = 6
_PROGRESS = _BAR + 5
_HEARD = 5
_GAP = 1


@dataclass(frozen=True, slots=True)
class Columns:
    """How wide each column is, in cells; 0 leaves one out."""

    agent: int
    session: int


def columns(cells: int) -> Columns:
    """Divides a line's width: what is left over goes to the agent and its session."""
    fixed = 2 + _VERDICT + _STATUS + _PROGRESS + _HEARD + 5 * _GAP
    rest = max(12, cells - fixed)
    if rest < 68:
        return Columns(rest, 0)
    session = min(52, rest * 2 // 5)
    return Columns(rest - session - _GAP, session)


def heading(cells: int) -> str:
    """The line above the roll."""
    wide = columns(cells)
    parts = [
        "  ",
        fit("VERDICT", _VERDICT),
        " ",
        fit("AGENT", wide.agent),
        " ",
        fit("STATUS", _STATUS),
        " ",
        fit("PROGRESS", _PROGRESS),
        " ",
        f"{'HEARD':>{_HEARD}}",
        " ",
        fit("SESSION", wide.session),
    ]
    return fit("".join(parts), cells)


def line_pieces(line: Line, cells: int, now: float, marked: bool) -> list[Piece]:
    """One line of the roll.

    Args:
        line: What to show.
        cells: How wide it is; the pieces take exactly that.
        now: Seconds since the epoch, for ages.
        marked: Whether it bears the operator's mark.
    """
    item = line.item
    if isinstance(item, AgentRow):
        pieces = _agent(line, item, cells, now, marked)
    elif isinstance(item, TaskRoll):
        pieces = _task(line, item, cells, now)
    elif isinstance(item, WorkspaceRoll):
        pieces = _workspace(line, item)
    elif isinstance(item, Session):
        pieces = _orphan(item, marked, now)
    else:
        pieces = [(f"  {_arrow(line)}orphaned sessions", "task")]
    return _exactly(pieces, cells)


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


def fold_column(line: Line) -> int:
    """Where on the line its fold's arrow is, in cells."""
    if isinstance(line.item, AgentRow):
        return 2 + _VERDICT + _GAP + 2 * (line.level - 1)
    return 2 + 2 * line.level


def _mark(marked: bool) -> Piece:
    return ("▌ " if marked else "  ", "mark")


def _verdict(verdict: Verdict) -> Piece:
    return (fit(f"{GLYPHS[verdict]} {verdict.value}", _VERDICT), verdict.value)


def _agent(line: Line, row: AgentRow, cells: int, now: float, marked: bool) -> list[Piece]:
    wide = columns(cells)
    record = row.record
    quiet = "finished" if row.verdict is Verdict.FINISHED else ""
    name = harmless(record.id or "(no id)", 200)
    if record.type and not record.id.startswith(record.type):
        name = f"{name} ({harmless(record.type, 60)})"
    label = "  " * (line.level - 1) + _arrow(line) + name
    heard = None if row.heard is None else now - row.heard
    pieces = [
        _mark(marked),
        _verdict(row.verdict),
        (" ", ""),
        (fit_id(label, wide.agent), quiet or "agent"),
        (" ", ""),
        (fit(harmless(record.status or "-", 40), _STATUS), quiet),
        (" ", ""),
        *_progress(record.progress, quiet),
        (f" {age(heard):>{_HEARD}}", quiet),
    ]
    if wide.session:
        session = harmless(record.tmux_session or "-", 200)
        pieces.append((" " + fit_id(session, wide.session), "finished"))
    return pieces


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


def _task(line: Line, task: TaskRoll, cells: int, now: float) -> list[Piece]:
    state = task.state
    record = state.record
    indent = "  " * line.level
    pieces: list[Piece] = [
        (f"  {indent}{_arrow(line)}", "task"),
        (harmless(task.task_id, 100), "task"),
    ]
    if state.error is not None:
        stale = f"as of {age(now - state.read_at)} ago: " if record else ""
        pieces.append((f"  ! {stale}{harmless(state.error, 400)}", "error"))
        return pieces
    if state.cut_off is not None:
        pieces.append((f"  ! {harmless(state.cut_off, 400)}", "error"))
        return pieces
    done = sum(row.record.status == "completed" for row in task.agents)
    agents = (
        f"{done} of {some(len(task.agents), 'agent')} completed" if task.agents else "no agents"
    )
    pieces.append((f"  {agents}", "finished"))
    description = (record.description if record else "") or state.listed_description
    if record and record.warnings:
        pieces.append((f"  ! {harmless(record.warnings[0], 200)}", "error"))
    if description:
        pieces.append((f"  {harmless(description, 400)}", "description"))
    return pieces


def _workspace(line: Line, workspace: WorkspaceRoll) -> list[Piece]:
    pieces: list[Piece] = [
        (f"  {_arrow(line)}", "task"),
        (harmless(str(workspace.path), 400), "workspace"),
    ]
    problems = filter(None, (workspace.error, workspace.cut_off))
    pieces += ((f"  ! {harmless(problem, 400)}", "error") for problem in problems)
    return pieces


def _orphan(session: Session, marked: bool, now: float) -> list[Piece]:
    return [
        _mark(marked),
        _verdict(Verdict.ORPHAN),
        (f"   {harmless(session.name, 200)}", "agent"),
        (f"  no registry lists it; made {age(now - session.created)} ago", "finished"),
    ]
