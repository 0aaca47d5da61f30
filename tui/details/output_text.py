"""Formats an agent's reports, findings and log as text and JSON, ordered by time. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from registry.agent_output import AgentFinding, AgentLine, Batch, LogKind, LogLine, ProgressReport
from tui.text.sanitize import harmless, harmless_lines

if TYPE_CHECKING:
    from tui.details.sources import Tail

_LINES = 12
"""How many lines of one text are shown."""

_SHOWN = 2000
"""How many characters of one text are shown."""

_CLOCK = 19


def merged(batches: Mapping[str, Batch[Any] | Tail[Any]]) -> Iterator[tuple[str, AgentLine]]:
    """Yields the records of several files, ordered by time, each with the name of its file.

    The records of one file keep their order. A record without a time follows the record before it.
    If the first records of a file have no time, they get the first time in the file. In a file
    without times, all records get the time of the file's last change.
    """
    return (
        (name, record)
        for _, name, record in heapq.merge(
            *(_timed(name, batch) for name, batch in batches.items()), key=lambda timed: timed[0]
        )
    )


def _timed(name: str, batch: Batch[Any] | Tail[Any]) -> list[tuple[float, str, AgentLine]]:
    records: Sequence[AgentLine] = batch.records
    times = (record.at for record in records if record.at is not None)
    moment = next(times, batch.modified or 0.0)
    timed = []
    for record in records:
        moment = moment if record.at is None else record.at
        timed.append((moment, name, record))
    return timed


def record_json(source: str, record: AgentLine) -> dict[str, Any]:
    """Returns the object of a record in `muster tail --json`."""
    return {"source": source, **asdict(record)}


def record_lines(record: AgentLine) -> Iterator[str]:
    """Yields the lines of a record; the first line has the time and the title."""
    when = f"{_clock(record):{_CLOCK}}  "
    title, text = _title_and_text(record)
    first, *further = _cut(text)
    yield f"{when}{title}{': ' if title and first else ''}{first}".rstrip()
    yield from (f"{' ' * len(when)}{line}".rstrip() for line in further)


def _clock(record: AgentLine) -> str:
    if record.at is None:
        return harmless(record.timestamp or "", _CLOCK - 1)
    try:
        return f"{datetime.fromtimestamp(record.at):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return harmless(record.timestamp or "", _CLOCK - 1)


def _title_and_text(record: AgentLine) -> tuple[str, str]:
    match record:
        case ProgressReport(status=status, progress=progress, message=message):
            percent = "" if progress is None else f" {progress:g} %"
            return f"▸ {harmless(status or '-', 40)}{percent}", message
        case AgentFinding(type=type_, severity=severity, message=message, data=data):
            text = f"{message}\n{data}" if data else message
            return f"! {harmless(severity or '-', 40)} {harmless(type_, 40)}".rstrip(), text
        case LogLine(kind=kind, name=name, text=text, is_error=failed):
            return _log_title(kind, harmless(name, 80), failed), text


def _log_title(kind: LogKind, name: str, failed: bool) -> str:
    if kind in (LogKind.ASSISTANT, LogKind.RAW, LogKind.OTHER):
        return ""
    if kind is LogKind.TOOL_USE:
        return f"$ {name}"
    title = kind.value.replace("_", " ")
    return f"{title}{f' {name}' if name else ''}{' (failed)' if failed else ''}"


def _cut(text: str) -> list[str]:
    lines = harmless_lines(text.strip("\n"), _SHOWN)
    if len(lines) <= _LINES:
        return lines
    return [*lines[: _LINES - 1], f"… {len(lines) - _LINES + 1} more lines"]
