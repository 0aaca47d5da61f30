"""What an agent wrote of itself, in words and as JSON, merged by time. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from registry.agent_output import AgentFinding, AgentLine, Batch, LogKind, LogLine, ProgressReport
from tui.text.sanitize import harmless, harmless_lines

_LINES = 12
"""Lines of one text that are shown."""

_SHOWN = 2000
"""Characters of one text that are shown."""

_CLOCK = 19


def merged(batches: Mapping[str, Batch[Any]]) -> Iterator[tuple[str, AgentLine]]:
    """Records of several files in the order of their times, each with its file's name.

    Those of one file stay in its order. One without a time stands with the one before
    it, or else with the next; if no record of the file has a time, they are as old as
    the file's last change.
    """
    return (
        (name, record)
        for _, name, record in heapq.merge(
            *(_timed(name, batch) for name, batch in batches.items()), key=lambda each: each[0]
        )
    )


def _timed(name: str, batch: Batch[Any]) -> list[tuple[float, str, AgentLine]]:
    records: Sequence[AgentLine] = batch.records
    moment = next((each.at for each in records if each.at is not None), batch.modified or 0.0)
    timed = []
    for each in records:
        moment = moment if each.at is None else each.at
        timed.append((moment, name, each))
    return timed


def record_json(source: str, record: AgentLine) -> dict[str, Any]:
    """A record in the shape that `muster tail --json` promises."""
    return {"source": source, **asdict(record)}


def record_lines(record: AgentLine) -> Iterator[str]:
    """A record as harmless lines: when, what, and its text with further lines beneath."""
    when = f"{_clock(record):{_CLOCK}}  "
    what, text = _said(record)
    first, *further = _cut(text)
    yield f"{when}{what}{': ' if what and first else ''}{first}".rstrip()
    yield from (f"{' ' * len(when)}{each}".rstrip() for each in further)


def _clock(record: AgentLine) -> str:
    if record.at is None:
        return harmless(record.timestamp or "", _CLOCK - 1)
    try:
        return f"{datetime.fromtimestamp(record.at):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return harmless(record.timestamp or "", _CLOCK - 1)


def _said(record: AgentLine) -> tuple[str, str]:
    match record:
        case ProgressReport(status=status, progress=progress, message=message):
            percent = "" if progress is None else f" {progress:g} %"
            return f"▸ {harmless(status or '-', 40)}{percent}", message
        case AgentFinding(type=type_, severity=severity, message=message, data=data):
            said = f"{message}\n{data}" if data else message
            return f"! {harmless(severity or '-', 40)} {harmless(type_, 40)}".rstrip(), said
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
