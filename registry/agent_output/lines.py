"""What an agent writes of itself, line by line, as frozen records. Pure.

Three files, one JSON object a line: progress reports, findings, and the stream log,
which is the raw output of the program that the agent is. Reading a line never fails
on its shape: what cannot be understood is None, or is kept as compact JSON. All text
is as the agent wrote it, untrusted; whoever shows it makes it harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from registry.schema.layout import agent_file
from registry.schema.records import number_of, parse_time, text_of
from registry.storage.interruption import hand_on

TEXT_AT_MOST = 64 * 1024
"""Characters of one text that a record keeps; a text that was cut ends in ``…``."""

SEVERITIES = ("critical", "high", "medium", "low")
"""Of findings, the worst first; others are kept as written."""


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """One progress report.

    Attributes:
        timestamp: As written, or None.
        at: The same in seconds since the epoch, or None.
        status: As written, known word or not; empty when missing.
        progress: Percent as written, not clamped, or None.
        message: In the agent's words; may be empty.
    """

    timestamp: str | None
    at: float | None
    status: str
    progress: float | None
    message: str


@dataclass(frozen=True, slots=True)
class AgentFinding:
    """One finding.

    Attributes:
        timestamp: As written, or None.
        at: The same in seconds since the epoch, or None.
        type: As written (``issue``, ``solution``, …); empty when missing.
        severity: As written, one of `SEVERITIES` or not; empty when missing.
        message: In the agent's words; may be empty.
        data: What came with it as compact JSON; empty when there is nothing.
    """

    timestamp: str | None
    at: float | None
    type: str
    severity: str
    message: str
    data: str


class LogKind(StrEnum):
    """What a line of the stream log is."""

    ASSISTANT = "assistant"
    """The model's words."""
    THINKING = "thinking"
    TOOL_USE = "tool_use"
    TOOL_RESULT = "tool_result"
    USER = "user"
    RESULT = "result"
    """How the run ended."""
    SYSTEM = "system"
    OTHER = "other"
    """JSON of another shape, compact."""
    RAW = "raw"
    """Not JSON: as written, an error message of a program for example."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One thing that was said or done; a line of the file can hold several.

    Attributes:
        timestamp: As written, or None; many programs write none.
        at: The same in seconds since the epoch, or None.
        name: Of the tool that is used, or what kind of result or system message; may
            be empty.
        text: What was said; of a tool its input, as compact JSON.
        is_error: Whether a tool, or the run, failed.
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
    """One kind of an agent's files.

    Attributes:
        name: What it is called on a command line.
        folder: The folder beneath the task's directory.
        suffix: What the agent's id has behind it in the file's name.
        read: Makes records of one line without its end; None if it is malformed.
        raw: Makes records of a malformed line, where that is worth showing.
    """

    name: str
    folder: str
    suffix: str
    read: Callable[[bytes], tuple[Line, ...] | None]
    raw: Callable[[bytes], tuple[Line, ...]]

    def parts(self, agent_id: str) -> tuple[str, str]:
        """The folder and the name of an agent's file, unchecked."""
        return self.folder, agent_file(agent_id, self.suffix)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        decoded = json.loads(line)
    except (ValueError, RecursionError) as error:
        hand_on(error)
        return None
    return decoded if isinstance(decoded, dict) else None


def is_whole(line: bytes) -> bool:
    """Whether a last line that has no line end yet is nevertheless complete."""
    return line.rstrip().endswith(b"}") and _object(line) is not None


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_AT_MOST else text[:TEXT_AT_MOST] + "…"


def compact(value: object) -> str:
    """A decoded JSON value on one line, cut at `TEXT_AT_MOST`."""
    try:
        return _cut(json.dumps(value, ensure_ascii=False))
    except (ValueError, TypeError, RecursionError) as error:
        hand_on(error)
        return "(too deep to show)"


def _words(value: object) -> str:
    """A field that should be text; anything else as compact JSON."""
    if value is None:
        return ""
    return _cut(value) if isinstance(value, str) else compact(value)


def _when(entry: Mapping[str, Any]) -> tuple[str | None, float | None]:
    written = text_of(entry.get("timestamp"))
    return (written and written[:80]), parse_time(written)


def read_progress(line: bytes) -> tuple[ProgressReport, ...] | None:
    """A line of a progress file; None if it is no JSON object."""
    entry = _object(line)
    if entry is None:
        return None
    status, progress = _words(entry.get("status")), number_of(entry.get("progress"))
    return (ProgressReport(*_when(entry), status, progress, _words(entry.get("message"))),)


def read_finding(line: bytes) -> tuple[AgentFinding, ...] | None:
    """A line of a findings file; None if it is no JSON object."""
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
    """A line of a stream log, as programs like Claude write them; None if it is no JSON object.

    A message has several parts (words, tools that are used, what they gave), each of
    which becomes a record.
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
    """A line of a stream log that is no JSON object."""
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
        said = entry.get("result", entry.get("error"))
        yield (
            LogKind.RESULT,
            _words(entry.get("subtype")),
            _rest(entry) if said is None else _words(said),
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
    """What a tool gave: text, or a list of blocks of which some are text."""
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
