"""What the tabs of the panel show of an agent, as rows: harmless text. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from registry.agent_output import SEVERITIES, AgentFinding, LogKind, LogLine, ProgressReport
from registry.audit import Entry
from tui.actions.audit_text import entry_details, entry_title, unread
from tui.details.ansi import screen_rows
from tui.details.chart import Point, chart
from tui.details.rows import Row, row
from tui.details.sources import Record, Screen, Tail
from tui.text.sanitize import age, fit, harmless, harmless_lines, size, some, width

_CHART_WIDEST = 100
_CHART_LINES = 3
_LINES_OF_ONE = 12
"""Lines of one log record that are shown."""

_SEVERITY_STYLES = {"critical": "error", "high": "error", "medium": "warning", "low": ""}


def _clock(at: float | None, written: str | None) -> str:
    """A time of day on this host's clock, or what is written instead."""
    if at is None:
        return harmless(written, 24) if written else ""
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return harmless(written or "", 24)


def _around(
    tail: Tail[ProgressReport] | Tail[AgentFinding] | Tail[LogLine], what: str
) -> Iterator[Row]:
    """What is to be said of a file besides its records."""
    if tail.error is not None:
        yield row((harmless(tail.error, 400), "error"))
    elif tail.size is None:
        yield row((f"There is no file of {what} yet; one that comes shows up by itself.", "dim"))
    elif not (tail.records or tail.malformed or tail.torn):
        yield row((f"No {what} yet.", "dim"))
    if tail.malformed:
        yield row(
            (f"{some(tail.malformed, 'line')} cannot be understood, or is too long", "warning")
        )
    if tail.torn:
        yield row(("A line is being written …", "dim"))


def timeline(
    tail: Tail[ProgressReport], wide: int, now: float, *, ascii_only: bool
) -> tuple[Row, ...]:
    """Progress as a chart, then the reports, the newest first."""
    return tuple(_timeline(tail, wide, now, ascii_only))


def _timeline(
    tail: Tail[ProgressReport], wide: int, now: float, ascii_only: bool
) -> Iterator[Row]:
    points: list[Point] = sorted(
        (each.at, each.progress)
        for each in tail.records
        if each.at is not None and each.progress is not None
    )
    if points:
        yield from _chart(points, wide, ascii_only)
    yield from _around(tail, "progress reports")
    for each in reversed(tail.records):
        percent = "" if each.progress is None else f"{each.progress:.4g} %"
        ago = "" if each.at is None else f"  {age(now - each.at)} ago"
        yield row(
            (f"{_clock(each.at, each.timestamp)}  ", "dim"),
            (f"{harmless(percent, 12):>6}  ", "success"),
            (harmless(each.status or "-", 40), "bold"),
            (ago, "dim"),
        )
        for text in harmless_lines(each.message, 2000) if each.message else ():
            yield row(f"  {text}", hang=2)
    if tail.earlier:
        yield row(("Earlier reports are in the file: `o` opens it.", "dim"))


def _chart(points: list[Point], wide: int, ascii_only: bool) -> Iterator[Row]:
    cells = max(1, min(_CHART_WIDEST, wide - 6))
    lines = chart(points, cells, _CHART_LINES, ascii_only=ascii_only)
    labels = ("100 % ", "      ", "  0 % ")
    for label, line in zip(labels, lines, strict=True):
        yield Row(((label, "dim"), (line, "success")), wrap=False)
    first, last = _clock(points[0][0], None), _clock(points[-1][0], None)
    if cells >= width(first) + width(last) + 2:
        between = " " * (cells - width(first) - width(last))
        yield Row(((f"      {first}{between}{last}", "dim"),), wrap=False)
    yield row("")


def findings(tail: Tail[AgentFinding]) -> tuple[Row, ...]:
    """Findings, the worst first, of the same severity the newest first."""
    return tuple(_findings(tail))


def _findings(tail: Tail[AgentFinding]) -> Iterator[Row]:
    yield from _around(tail, "findings")

    def urgency(each: AgentFinding) -> int:
        severity = each.severity.casefold()
        return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)

    newest_first = list(reversed(tail.records))
    for each in sorted(newest_first, key=urgency):
        severity = each.severity.casefold()
        yield row(
            (fit(harmless(each.severity or "-", 20), 10), _SEVERITY_STYLES.get(severity, "dim")),
            (harmless(each.type or "-", 40), "bold"),
            (f"  {_clock(each.at, each.timestamp)}", "dim"),
        )
        for text in harmless_lines(each.message, 3000) if each.message else ():
            yield row(f"  {text}", hang=2)
        if each.data:
            yield row((f"  {harmless(each.data, 1000)}", "dim"), hang=2)
    if tail.earlier:
        yield row(("Earlier findings are in the file: `o` opens it.", "dim"))


def log(tail: Tail[LogLine]) -> tuple[Row, ...]:
    """The end of the stream log, the newest last."""
    return tuple(_log(tail))


def _log(tail: Tail[LogLine]) -> Iterator[Row]:
    if tail.earlier and tail.size is not None:
        said = f"The last {len(tail.records)} records of {size(tail.size)}: `o` opens all of it."
        yield row((said, "dim"))
    for each in tail.records:
        yield from _said(each)
    yield from _around(tail, "log")


_QUIET = (LogKind.THINKING, LogKind.SYSTEM, LogKind.OTHER, LogKind.TOOL_RESULT)


def _said(line: LogLine) -> Iterator[Row]:
    name = f" {harmless(line.name, 60)}" if line.name else ""
    kind = "" if line.kind is LogKind.RAW else f"{line.kind.value.replace('_', ' ')}{name}  "
    when = _clock(line.at, line.timestamp)
    loud = "error" if line.is_error else "bold" if line.kind is LogKind.ASSISTANT else "link"
    first, *rest = harmless_lines(line.text, 4000)
    style = "dim" if line.kind in _QUIET and not line.is_error else ""
    stamp = ((f"{when}  ", "dim"),) if when else ()
    yield row(*stamp, (kind, loud), (first, style), hang=2)
    for text in rest[: _LINES_OF_ONE - 1]:
        yield row((f"  {text}", style), hang=2)
    if len(rest) >= _LINES_OF_ONE:
        yield row((f"  and {some(len(rest) - _LINES_OF_ONE + 1, 'more line')}", "dim"))


def pane(screen: Screen) -> tuple[Row, ...]:
    """What a pane shows, without the empty lines at its end."""
    if screen.captured is None:
        return (
            row((f"The pane cannot be shown: {harmless(screen.error or '?', 400)}.", "error")),
        )
    rows = list(screen_rows(screen.captured.lines))
    while rows and not rows[-1].text.strip():
        rows.pop()
    if not rows:
        rows = [row(("The pane is empty.", "dim"))]
    if screen.more_panes:
        rows.append(row((f"({some(screen.more_panes, 'more pane')} in the session)", "dim")))
    return tuple(rows)


def audit(record: Record, agent_id: str | None, file: str | None) -> tuple[Row, ...]:
    """What was done to an agent, to a task or at all, the newest first.

    Args:
        record: What is on record.
        agent_id: The agent; None for everybody.
        file: The registry as the log calls it; None for all of them.
    """
    return tuple(_audit(record, agent_id, file))


def _concerns(entry: Entry, agent_id: str | None, file: str | None) -> bool:
    if agent_id is None:
        return file is None or any(each.file == file for each in entry.changes)
    if entry.session is not None and entry.session.agent == agent_id:
        return True
    # The global registry has an entry of the agent as well, under the same id.
    return any(each.agent == agent_id for each in entry.changes)


def _audit(record: Record, agent_id: str | None, file: str | None) -> Iterator[Row]:
    if record.error is not None:
        yield row((harmless(record.error, 400), "error"))
    undone = record.log.taken_back
    found = [each for each in record.log.entries if _concerns(each, agent_id, file)]
    if not found and record.error is None:
        yield row(("Nothing is on record: nobody changed it from here.", "dim"))
    for entry in reversed(found[-200:]):
        yield row((entry_title(entry, entry.place in undone), "bold"), hang=2)
        for detail in entry_details(entry):
            yield row(f"  {detail}", hang=4)
    if len(found) > 200:
        yield row((f"and {len(found) - 200} older ones: muster log --all", "dim"))
    for said in unread(record.log):
        yield row((said, "warning"))
