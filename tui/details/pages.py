"""The contents of the details panel's tabs, except Overview, as rows of safe text. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import cast

from registry.agent_output import SEVERITIES, AgentFinding, LogKind, LogLine, ProgressReport
from registry.audit import Entry
from tui.actions.audit_text import log_blocks, unread
from tui.details.ansi import screen_rows
from tui.details.chart import Point, chart
from tui.details.output_text import merged
from tui.details.rows import Piece, Row, row
from tui.details.sources import Record, Screen, Tail
from tui.model.roll import AgentKey
from tui.text.sanitize import age, fit, harmless, harmless_lines, named, size, some, width

_CHART_WIDEST = 100
_CHART_LINES = 3
_MERGED_AT_MOST = 500
"""How many records of all agents of a task are shown."""

_LINES_OF_ONE = 12
"""How many lines of one log record are shown."""

_SEVERITY_STYLES = {"critical": "error", "high": "error", "medium": "warning", "low": ""}


def _clock(at: float | None, written: str | None) -> str:
    """Returns the time `at` in the local time zone, or the safe text `written` if `at` is None."""
    if at is None:
        return harmless(written, 24) if written else ""
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return harmless(written or "", 24)


def _around(
    tail: Tail[ProgressReport] | Tail[AgentFinding] | Tail[LogLine], what: str
) -> Iterator[Row]:
    """Yields messages about a file: an error, a missing file, or lines that are not shown."""
    if tail.error is not None:
        yield row((harmless(tail.error, 400), "error"))
    elif tail.size is None:
        yield row((f"The file of {what} does not exist yet.", "dim"))
    elif not (tail.records or tail.malformed or tail.torn):
        yield row((f"No {what} yet.", "dim"))
    if tail.malformed:
        yield row((f"{some(tail.malformed, 'line')} left out: invalid or too long", "warning"))
    if tail.torn:
        yield row(("The last line is incomplete …", "dim"))


def timeline(
    tail: Tail[ProgressReport], wide: int, now: float, *, ascii_only: bool
) -> tuple[Row, ...]:
    """Returns a chart of the progress, then the reports, the newest first."""
    return tuple(_timeline(tail, wide, now, ascii_only))


def _timeline(
    tail: Tail[ProgressReport], wide: int, now: float, ascii_only: bool
) -> Iterator[Row]:
    points: list[Point] = sorted(
        (report.at, report.progress)
        for report in tail.records
        if report.at is not None and report.progress is not None
    )
    if points:
        yield from _chart(points, wide, ascii_only)
    yield from _around(tail, "progress reports")
    for report in reversed(tail.records):
        yield from _report(report, now)
    if tail.earlier:
        yield row(("Earlier reports are in the file: `o` opens it.", "dim"))


def _report(report: ProgressReport, now: float, agent: AgentKey | None = None) -> Iterator[Row]:
    """Yields the rows of a report; with `agent`, also the agent's id, as a link."""
    percent = "" if report.progress is None else f"{report.progress:.4g} %"
    ago = "" if report.at is None else f"  {age(now - report.at)} ago"
    yield row(
        (f"{_clock(report.at, report.timestamp)}  ", "dim"),
        (f"{harmless(percent, 12):>6}  ", "success"),
        *_name(agent),
        (harmless(report.status or "-", 40), "bold"),
        (ago, "dim"),
        target=agent,
    )
    for text in harmless_lines(report.message, 2000) if report.message else ():
        yield row(f"  {text}", hang=2)


def _name(agent: AgentKey | None) -> tuple[Piece, ...]:
    return () if agent is None else ((f"{named(agent.id, 60)}  ", "link"),)


def task_timeline(
    tails: Mapping[str, Tail[ProgressReport]], registry: Path, now: float
) -> tuple[Row, ...]:
    """Returns the last reports of all agents of a task, the newest first.

    Args:
        tails: Maps the ids of agents to their reports.
        registry: The path of the task's registry.
        now: Seconds since the epoch.
    """
    records = list(merged(tails))[-_MERGED_AT_MOST:]
    if not records:
        return (row(("No agent of this task has reported yet.", "dim")),)
    return tuple(
        line
        for agent_id, report in reversed(records)
        for line in _report(cast(ProgressReport, report), now, AgentKey(registry, agent_id))
    )


def task_log(tails: Mapping[str, Tail[LogLine]], registry: Path) -> tuple[Row, ...]:
    """Returns the last records of the stream logs of all agents of a task, the newest last.

    Args:
        tails: Maps the ids of agents to their records.
        registry: The path of the task's registry.
    """
    records = list(merged(tails))[-_MERGED_AT_MOST:]
    if not records:
        return (row(("No agent of this task has a stream log yet.", "dim")),)
    return tuple(
        line
        for agent_id, record in records
        for line in _log_record(cast(LogLine, record), AgentKey(registry, agent_id))
    )


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
    """Returns the findings, the worst first; of equal severity, the newest first."""
    return tuple(_findings(tail))


def _findings(tail: Tail[AgentFinding]) -> Iterator[Row]:
    yield from _around(tail, "findings")

    def urgency(finding: AgentFinding) -> int:
        severity = finding.severity.casefold()
        return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)

    newest_first = list(reversed(tail.records))
    for finding in sorted(newest_first, key=urgency):
        style = _SEVERITY_STYLES.get(finding.severity.casefold(), "dim")
        yield row(
            (fit(harmless(finding.severity or "-", 20), 10), style),
            (harmless(finding.type or "-", 40), "bold"),
            (f"  {_clock(finding.at, finding.timestamp)}", "dim"),
        )
        for text in harmless_lines(finding.message, 3000) if finding.message else ():
            yield row(f"  {text}", hang=2)
        if finding.data:
            yield row((f"  {harmless(finding.data, 1000)}", "dim"), hang=2)
    if tail.earlier:
        yield row(("Earlier findings are in the file: `o` opens it.", "dim"))


def log(tail: Tail[LogLine]) -> tuple[Row, ...]:
    """Returns the last records of the stream log, the newest last."""
    return tuple(_log(tail))


def _log(tail: Tail[LogLine]) -> Iterator[Row]:
    if tail.earlier and tail.size is not None:
        records = f"the last {len(tail.records)} records of {size(tail.size)}"
        yield row((f"These are {records}. `o` opens the whole file.", "dim"))
    for line in tail.records:
        yield from _log_record(line)
    yield from _around(tail, "log")


_QUIET = (LogKind.THINKING, LogKind.SYSTEM, LogKind.OTHER, LogKind.TOOL_RESULT)


def _log_record(line: LogLine, agent: AgentKey | None = None) -> Iterator[Row]:
    name = f" {harmless(line.name, 60)}" if line.name else ""
    kind = "" if line.kind is LogKind.RAW else f"{line.kind.value.replace('_', ' ')}{name}  "
    when = _clock(line.at, line.timestamp)
    loud = "error" if line.is_error else "bold" if line.kind is LogKind.ASSISTANT else "link"
    first, *rest = harmless_lines(line.text, 4000)
    style = "dim" if line.kind in _QUIET and not line.is_error else ""
    stamp = ((f"{when}  ", "dim"),) if when else ()
    yield row(*stamp, *_name(agent), (kind, loud), (first, style), hang=2, target=agent)
    for text in rest[: _LINES_OF_ONE - 1]:
        yield row((f"  {text}", style), hang=2)
    if len(rest) >= _LINES_OF_ONE:
        yield row((f"  and {some(len(rest) - _LINES_OF_ONE + 1, 'more line')}", "dim"))


def pane(screen: Screen) -> tuple[Row, ...]:
    """Returns the content of a pane without the empty lines at its end."""
    if screen.captured is None:
        return (row((f"cannot show the pane: {harmless(screen.error or '?', 400)}", "error")),)
    rows = list(screen_rows(screen.captured.lines))
    while rows and not rows[-1].text.strip():
        rows.pop()
    if not rows:
        rows = [row(("The pane is empty.", "dim"))]
    if screen.more_panes:
        rows.append(row((f"({some(screen.more_panes, 'more pane')} in the session)", "dim")))
    return tuple(rows)


def audit(
    record: Record,
    agent_id: str | None,
    file: str | None,
    agents: Collection[str] | None = None,
) -> tuple[Row, ...]:
    """Returns the audited changes of an agent or a registry, the newest first.

    Args:
        record: The audit log.
        agent_id: The agent; None for all agents.
        file: The name of the registry in the log; None for all registries.
        agents: The ids of the agents of a task that shares `file` with other tasks; None for all
            agents in the file.
    """
    return tuple(_audit(record, agent_id, file, agents))


def _concerns(
    entry: Entry, agent_id: str | None, file: str | None, agents: Collection[str] | None
) -> bool:
    if agent_id is None:
        return file is None or any(
            change.file == file and (agents is None or change.agent in agents)
            for change in entry.changes
        )
    if entry.session is not None and entry.session.agent == agent_id:
        return True
    # The file does not matter, because the global registry also has an entry with the agent's id.
    return any(change.agent == agent_id for change in entry.changes)


def _audit(
    record: Record, agent_id: str | None, file: str | None, agents: Collection[str] | None
) -> Iterator[Row]:
    if record.error is not None:
        yield row((harmless(record.error, 400), "error"))
    entries = [entry for entry in record.log.entries if _concerns(entry, agent_id, file, agents)]
    if not entries and record.error is None:
        yield row(("The audit log has no changes of the selected line.", "dim"))
    for block in log_blocks(record.log, reversed(entries[-200:])):
        yield row((block.title, "bold"), hang=2)
        for line in block.lines:
            yield row(f"  {line}", hang=4)
    if len(entries) > 200:
        yield row((f"and {len(entries) - 200} older entries: muster log --all", "dim"))
    for problem in unread(record.log):
        yield row((problem, "warning"))
