"""The columns of `muster list`, and its list with one line for each agent. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from registry.text import shown_name
from tui.cli.output import StyledLine
from tui.model.roll import REVIEWER, AgentRow, RollCall, TaskRoll, Verdict, place_of
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import age, fit, fit_id, harmless, named, width

if TYPE_CHECKING:
    from registry.agent_output import ProgressReport
    from tui.host.tmux_types import Session
    from tui.model.roll import AgentKey
    from tui.view.sort import Order

# The deepest level that is indented. Ten thousand levels would make lines too wide.
_DEEPEST = 20

# The cells that the last column gets, before the ids are cut. Ids are cut to no less than the
# second number.
_LAST_AT_LEAST, _ID_AT_LEAST = 24, 24

_GAP = "  "


class Entry(NamedTuple):
    """One agent in the list, with everything that its columns show.

    Attributes:
        row: The agent.
        task: The agent's task.
        report: The agent's last report, or None.
        now: The present time in seconds since the epoch.
    """

    row: AgentRow
    task: TaskRoll
    report: ProgressReport | None
    now: float


class Column(NamedTuple):
    """One column.

    Attributes:
        cell: Returns the text for a table.
        field: Returns the text for a program; None if it is the text for a table.
        right: Whether the text is at the right of the column.
    """

    cell: Callable[[Entry], str]
    field: Callable[[Entry], str] | None = None
    right: bool = False


def _agent(entry: Entry) -> str:
    record = entry.row.record
    reviewer = f" {REVIEWER}" if record.is_reviewer else ""
    return "  " * min(entry.row.level, _DEEPEST) + named(record.id, 128) + reviewer


def _percent(entry: Entry) -> str:
    progress = entry.row.record.progress
    return "" if progress is None else f"{min(max(progress, 0), 100):.0f}"


def _seconds(entry: Entry) -> float | None:
    last = entry.row.last_activity
    return None if last is None else entry.now - last


def _report(entry: Entry) -> str:
    from tui.details.last_report import report_text

    return report_text(entry.report)


COLUMNS: Mapping[str, Column] = {
    "verdict": Column(lambda entry: entry.row.verdict.value),
    "agent": Column(_agent, lambda entry: shown_name(entry.row.record.id or "", 128)),
    "type": Column(lambda entry: shown_name(entry.row.record.type or "-", 40)),
    "task": Column(lambda entry: shown_name(entry.task.task_id)),
    "status": Column(lambda entry: harmless(entry.row.record.status or "-", 20)),
    "progress": Column(
        lambda entry: f"{_percent(entry)}%" if _percent(entry) else "-", _percent, right=True
    ),
    "heard": Column(
        lambda entry: age(_seconds(entry)),
        lambda entry: "" if (seconds := _seconds(entry)) is None else f"{seconds:.0f}",
        right=True,
    ),
    "session": Column(lambda entry: place_of(entry.row)),
    "parent": Column(lambda entry: shown_name(entry.row.record.parent or "-", 128)),
    "workspace": Column(lambda entry: shown_name(entry.task.state.workspace)),
    "note": Column(lambda entry: harmless(entry.row.note) or "-"),
    "report": Column(_report),
}
"""All columns, by their names."""

# The titles that are not the names.
_TITLES = {"progress": "PROG"}

TABLE = ("verdict", "agent", "status", "progress", "heard", "report")
"""The columns of the table."""

WITHOUT_REPORTS = (*TABLE[:-1], "session")
"""The columns of a table for which no reports were read."""

FLAT = (*("verdict", "agent", "type", "task", "status", "progress", "heard", "session", "report"),)
"""The columns of the list with one line for each agent."""


class Table:
    """Formats the lines of agents.

    Args:
        names: The names of the columns.
        rows: The cells of each line.
        columns: The largest width of a line, in cells; None for no limit.
        indent: The blanks at the beginning of each line.
    """

    def __init__(
        self, names: Sequence[str], rows: Iterable[Sequence[str]], columns: int | None, indent: str
    ) -> None:
        self._names, self._columns, self._indent = names, columns, indent
        self._titles = [_TITLES.get(name, name.upper()) for name in names]
        cells = [self._titles, *rows]
        self._widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        if columns is not None and "agent" in names:
            last = min(self._widths[-1], _LAST_AT_LEAST)
            total = width(indent) + sum(self._widths[:-1]) + last + len(_GAP) * (len(names) - 1)
            place = names.index("agent")
            least = min(self._widths[place], _ID_AT_LEAST)
            self._widths[place] = max(least, self._widths[place] - max(0, total - columns))

    def title(self) -> str:
        """Returns the line with the names of the columns."""
        line = self.line(self._titles)
        return StyledLine(line, len(self._indent), len(line), "bold")

    def line(self, cells: Sequence[str], verdict: Verdict | None = None) -> str:
        """Returns the line of an agent or an orphan.

        Args:
            cells: The texts of all columns.
            verdict: The verdict, whose column gets the style of the verdict; None for no style.
        """
        parts = [
            self._fitted(*each) for each in zip(self._names, cells, self._widths, strict=True)
        ]
        line = cut(self._indent + _GAP.join(parts).rstrip(), self._columns)
        if verdict is None or "verdict" not in self._names:
            return line
        place = self._names.index("verdict")
        start = len(self._indent) + sum(len(part) + len(_GAP) for part in parts[:place])
        end = start + len(verdict.value)
        return StyledLine(line, start, end, VERDICTS[verdict].style)

    def _fitted(self, name: str, cell: str, wide: int) -> str:
        if COLUMNS[name].right:
            return " " * (wide - width(cell)) + cell
        if name != "agent":
            return fit(cell, wide)
        mark = f" {REVIEWER}" if cell.endswith(f" {REVIEWER}") and wide > 2 * len(REVIEWER) else ""
        return fit(fit_id(cell.removesuffix(mark), wide - len(mark)).rstrip() + mark, wide)


def cut(line: str, columns: int | None) -> str:
    """Returns a line that is not wider than `columns`; the whole line if `columns` is None."""
    return fit(line, columns).rstrip() if columns else line


def cells_of(entry: Entry, names: Iterable[str]) -> list[str]:
    """Returns the texts of an agent's columns for a table."""
    return [COLUMNS[name].cell(entry) for name in names]


def flat_lines(
    roll: RollCall,
    names: Sequence[str],
    reports: Mapping[AgentKey, ProgressReport],
    now: float,
    columns: int | None,
    order: Order | None = None,
) -> Iterator[str]:
    """Yields a title, and one line for each agent and orphan.

    The number of words in a line is the number of columns: an empty text is a dash, and blanks in
    a text are escaped. Only the last column may have more words.

    Args:
        roll: The roll call, or a part of it.
        names: The names of the columns.
        reports: The last report of each agent.
        now: Seconds since the epoch.
        columns: The largest width of a line, in cells; None for no limit.
        order: The order of all lines of agents; None for the order of the roll call.
    """
    entries = [
        Entry(row, task, reports.get(row.key), now) for task in roll.tasks() for row in task.agents
    ]
    if order is not None:
        from tui.view.sort import order_key

        key = order_key(order)
        entries.sort(key=lambda entry: key(entry.row))
    lines = [(_fields(entry, names), entry.row.verdict) for entry in entries]
    lines += [(_orphan(session, names, now), Verdict.ORPHAN) for session in roll.orphans]
    table = Table(names, (fields for fields, _ in lines), columns, "")
    yield table.title()
    for fields, verdict in lines:
        yield table.line(fields, verdict)


def _fields(entry: Entry, names: Sequence[str]) -> list[str]:
    made = (COLUMNS[name].field or COLUMNS[name].cell for name in names)
    return _words([field(entry) for field in made])


def _orphan(session: Session, names: Sequence[str], now: float) -> list[str]:
    known = {
        "verdict": Verdict.ORPHAN.value,
        "session": shown_name(session.name),
        "heard": f"{now - session.activity:.0f}",
    }
    return _words([known.get(name, "") for name in names])


def _words(texts: Sequence[str]) -> list[str]:
    *words, last = (text or "-" for text in texts)
    return [*(word.replace(" ", "\\x20") for word in words), last]
