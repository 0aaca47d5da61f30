"""Decodes the lines of an agent's output files to frozen records. Pure.

An agent has three files with one JSON object per line: progress reports, findings, and the stream
log. The stream log is the raw output of the agent's program. A value of unknown structure becomes
None or compact JSON. All text is untrusted: a caller that shows the text must sanitize it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from registry.dataclass import dataclass
from registry.schema.layout import agent_file
from registry.schema.records import number_of, text_of
from registry.schema.timestamps import parse_time
from registry.storage.files.interruption import hand_on

TEXT_AT_MOST = 64 * 1024
"""The largest length of a text in a record, in characters. A longer text is cut, with a ``…``."""

SEVERITIES = ("critical", "high", "medium", "low")
"""The known severities of findings, the worst severity first. Other words are possible."""


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """One progress report.

    Attributes:
        timestamp: The time in the file, or None.
        at: The time in seconds since the epoch, or None.
        status: The status in the file, which may be an unknown word; empty if the field is
            missing.
        progress: The percentage in the file, which may be out of range, or None.
        message: The agent's message; may be empty.
    """

    timestamp: str | None
    at: float | None
    status: str
    progress: float | None
    message: str


@dataclass(frozen=True, slots=True)
class AgentFinding:
    """One finding that an agent reported.

    Attributes:
        timestamp: The time in the file, or None.
        at: The time in seconds since the epoch, or None.
        type: The type, such as ``issue`` or ``solution``; empty if the field is missing.
        severity: One of `SEVERITIES` or another word; empty if the field is missing.
        message: The agent's message; may be empty.
        data: Additional data as compact JSON; empty if there are no data.
    """

    timestamp: str | None
    at: float | None
    type: str
    severity: str
    message: str
    data: str


class LogKind(StrEnum):
    """The kind of a record of the stream log."""

    ASSISTANT = "assistant"
    """Text of the model."""
    THINKING = "thinking"
    TOOL_USE = "tool_use"
    TOOL_RESULT = "tool_result"
    USER = "user"
    RESULT = "result"
    """The result of the run."""
    SYSTEM = "system"
    OTHER = "other"
    """JSON with an unknown structure, in compact form."""
    RAW = "raw"
    """A line that is not JSON, for example an error message of a program."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One message, tool call or result in a stream log.

    A line of the log can contain several of these records.

    Attributes:
        timestamp: The time in the file, or None; many programs write no time.
        at: The time in seconds since the epoch, or None.
        kind: The kind of the record.
        name: The name of the tool, or the subtype of a result or system message; may be empty.
        text: The text; for a tool call, the tool's input as compact JSON.
        is_error: Whether the tool or the run failed.
    """

    timestamp: str | None
    at: float | None
    kind: LogKind
    name: str
    text: str
    is_error: bool = False


AgentLine: TypeAlias = ProgressReport | AgentFinding | LogLine

Line = TypeVar("Line", bound=ProgressReport | AgentFinding | LogLine)


@dataclass(frozen=True, slots=True)
class Source(Generic[Line]):
    """One kind of an agent's output files.

    Attributes:
        name: The name of the kind on the command line.
        folder: The name of the folder in the task's directory.
        suffix: The part of the file's name after the agent's id and ``_``.
        read: A function that decodes one line without the line end, and returns the records; None
            if the line is malformed.
        raw: A function that returns the records to show for a malformed line; may be empty.
    """

    name: str
    folder: str
    suffix: str
    read: Callable[[bytes], tuple[Line, ...] | None]
    raw: Callable[[bytes], tuple[Line, ...]]

    def parts(self, agent_id: str) -> tuple[str, str]:
        """Returns the names of the folder and of the agent's file. Does not check the id."""
        return self.folder, agent_file(agent_id, self.suffix)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        decoded = json.loads(line)
    except (ValueError, RecursionError) as error:
        hand_on(error)
        return None
    return decoded if isinstance(decoded, dict) else None


def is_whole(line: bytes) -> bool:
    """Returns whether a last line without a line end is a complete JSON object."""
    return line.rstrip().endswith(b"}") and _object(line) is not None


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_AT_MOST else text[:TEXT_AT_MOST] + "…"


def compact(value: object) -> str:
    """Returns a decoded JSON value on one line, cut at `TEXT_AT_MOST` characters."""
    try:
        return _cut(json.dumps(value, ensure_ascii=False))
    except (ValueError, TypeError, RecursionError) as error:
        hand_on(error)
        return "(too deep to show)"


def _words(value: object) -> str:
    """Returns a text field, or any other value as compact JSON."""
    if value is None:
        return ""
    return _cut(value) if isinstance(value, str) else compact(value)


def _when(entry: Mapping[str, Any]) -> tuple[str | None, float | None]:
    written = text_of(entry.get("timestamp"))
    return (written and written[:80]), parse_time(written)


def read_progress(line: bytes) -> tuple[ProgressReport, ...] | None:
    """Decodes a line of a progress file; returns None if the line is not a JSON object."""
    entry = _object(line)
    return None if entry is None else (report_of(entry),)


def report_of(entry: Mapping[str, Any]) -> ProgressReport:
    """Returns the report in a decoded line, or in a row of a database."""
    status, progress = _words(entry.get("status")), number_of(entry.get("progress"))
    return ProgressReport(*_when(entry), status, progress, _words(entry.get("message")))


def read_finding(line: bytes) -> tuple[AgentFinding, ...] | None:
    """Decodes a line of a findings file; returns None if the line is not a JSON object."""
    entry = _object(line)
    if entry is None:
        return None
    data = entry.get("data")
    return (
        AgentFinding(
            *_when(entry),
            _words(entry.get("finding_type")),
            _words(entry.get("severity")),
            _words(entry.get("message")),
            "" if data in (None, {}, [], "") else _words(data),
        ),
    )


def read_log(line: bytes) -> tuple[LogLine, ...] | None:
    """Decodes a line of a stream log in Claude's format; None if the line is not a JSON object.

    Each part of a message (text, tool call, tool result) becomes one record.
    """
    entry = _object(line)
    if entry is None:
        return None
    timestamp, at = _when(entry)
    return tuple(
        LogLine(timestamp, at, kind, name, text, is_error)
        for kind, name, text, is_error in _parts_of(entry)
    )


def raw_log(line: bytes) -> tuple[LogLine, ...]:
    """Returns one record of the kind `RAW` with the text of a line that is not a JSON object."""
    return (LogLine(None, None, LogKind.RAW, "", _cut(line.decode("utf-8", "replace"))),)


_Part: TypeAlias = tuple[LogKind, str, str, bool]

_SPEAKERS = {"assistant": LogKind.ASSISTANT, "user": LogKind.USER}


def _parts_of(entry: Mapping[str, Any]) -> Iterator[_Part]:
    kind, message = entry.get("type"), entry.get("message")
    speaker = _SPEAKERS.get(kind) if isinstance(kind, str) else None
    content = message.get("content") if isinstance(message, dict) else message
    if speaker is not None and isinstance(content, str):
        yield speaker, "", _cut(content), False
    elif speaker is not None and isinstance(content, list) and content:
        for block in content:
            yield _block(speaker, block)
    elif kind in ("tool_use", "tool_result"):
        yield _block(LogKind.OTHER, entry)
    elif kind == "result":
        result = entry.get("result", entry.get("error"))
        yield (
            LogKind.RESULT,
            _words(entry.get("subtype")),
            _rest(entry) if result is None else _words(result),
            entry.get("is_error") is True,
        )
    elif kind == "system":
        yield LogKind.SYSTEM, _words(entry.get("subtype")), _rest(entry), False
    else:
        yield LogKind.OTHER, "", compact(entry), False


def _rest(entry: Mapping[str, Any]) -> str:
    shown = ("type", "subtype", "timestamp")
    rest = {name: value for name, value in entry.items() if name not in shown}
    return compact(rest) if rest else ""


def _block(speaker: LogKind, block: object) -> _Part:
    if isinstance(block, str):
        return speaker, "", _cut(block), False
    if isinstance(block, dict):
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            return speaker, "", _cut(block["text"]), False
        if kind == "thinking" and isinstance(block.get("thinking"), str):
            return LogKind.THINKING, "", _cut(block["thinking"]), False
        if kind == "tool_use":
            return LogKind.TOOL_USE, _words(block.get("name")), _words(block.get("input")), False
        if kind == "tool_result":
            failed = block.get("is_error") is True
            return LogKind.TOOL_RESULT, "", _result(block.get("content")), failed
    return LogKind.OTHER, "", compact(block), False


def _result(content: object) -> str:
    """Returns the text of a tool's result, which is a text or a list of blocks."""
    if not isinstance(content, list):
        return _words(content)
    texts = (
        block["text"]
        if isinstance(block, dict) and isinstance(block.get("text"), str)
        else compact(block)
        for block in content
    )
    return _cut("\n".join(texts))


def _nothing(_: bytes) -> tuple[()]:
    return ()


PROGRESS: Source[ProgressReport] = Source(
    "progress", "progress", "progress", read_progress, _nothing
)
FINDINGS: Source[AgentFinding] = Source("findings", "findings", "findings", read_finding, _nothing)
STREAM_LOG: Source[LogLine] = Source("log", "logs", "stream", read_log, raw_log)
