"""The panel that tells all about the line under the cursor."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.host.sessions import Session
from tui.outline import Key, Line
from tui.roll import AgentRow, TaskRoll, WorkspaceRoll
from tui.text import age_in_words, harmless, harmless_lines, some

# Shown by name above; whatever else the registry holds follows under its own name.
_SHOWN = frozenset(
    {
        "id",
        "type",
        "tmux_session",
        "parent",
        "depth",
        "status",
        "started_at",
        "last_update",
        "progress",
        "prompt",
    }
)

_Field = tuple[str, str]


class Details(VerticalScroll, can_focus=True):
    """Fields of an agent, a task, a workspace or an orphaned session."""

    DEFAULT_CSS = """
    Details { background: $surface; padding: 0 1; }
    Details > Static { height: auto; }
    """
    BORDER_TITLE = "Details"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._body = Static("", markup=False)
        self._drawn: Content | None = None
        self._key: Key | None = None

    def compose(self) -> Iterator[Static]:
        """The text, which scrolls."""
        yield self._body

    def show(self, line: Line | None, more: dict[str, Any] | None) -> None:
        """Shows a line.

        Args:
            line: The line under the cursor.
            more: Every field of the agent's entry, once it was read; else None.
        """
        fields: list[_Field] = []
        if line is not None:
            fields = list(_fields(line, more or {}, time.time()))
        parts: list[tuple[str, str] | str] = []
        for name, value in fields:
            if parts:
                parts.append("\n")
            if name:
                parts.append((f"{name}  ", "dim"))
            parts.append((value, "$error bold" if name in ("error", "warning") else ""))
        content = Content.assemble(*parts)
        if self._drawn is None or not content.is_same(self._drawn):
            self._drawn = content
            self._body.update(content)
        key = line.key if line is not None else None
        if key != self._key:
            self._key = key
            self.scroll_home(animate=False, immediate=True)


def _fields(line: Line, more: dict[str, Any], now: float) -> Iterator[_Field]:
    item = line.item
    if isinstance(item, AgentRow):
        yield from _agent(item, more, now)
    elif isinstance(item, TaskRoll):
        yield from _task(item, now)
    elif isinstance(item, WorkspaceRoll):
        yield "workspace", harmless(str(item.path))
        if item.error:
            yield "error", harmless(item.error)
        if item.cut_off:
            yield "warning", f"global registry: {harmless(item.cut_off)}"
        yield "tasks", str(len(item.tasks))
    elif isinstance(item, Session):
        yield "orphan", harmless(item.name)
        yield "", "No registry that muster sees lists this session. `k` ends it."
        yield from _session(item, now)
    else:
        yield "", "Sessions that are named like an agent's but that no registry lists."


def _when(written: str | None, parsed: float | None, now: float) -> str:
    if written is None:
        return "-"
    if parsed is None:
        return f"{harmless(written, 60)} (not a time)"
    return f"{harmless(written, 40)} ({_ago(now - parsed)})"


def _agent(row: AgentRow, more: dict[str, Any], now: float) -> Iterator[_Field]:
    record = row.record
    yield "agent", harmless(record.id or "(no id)", 256)
    yield "verdict", row.verdict.value + (f": {harmless(row.note, 400)}" if row.note else "")
    progress = "" if record.progress is None else f", {record.progress:g} %"
    yield "status", f"{harmless(record.status or '-', 80)}{progress}"
    yield "type", harmless(record.type or "-", 256)
    depth = "" if record.depth is None else f", depth {record.depth}"
    yield "parent", f"{harmless(record.parent or '-', 256)}{depth}"
    if row.children:
        yield "children", str(row.children)
    yield "started", _when(record.started_at, record.started, now)
    yield "updated", _when(record.last_update, record.updated, now)
    yield "session", harmless(record.tmux_session or "-", 256)
    if row.session is not None:
        yield from _session(row.session, now)
    elif row.taken_by is not None:
        yield "", "Another session has that name now:"
        yield from _session(row.taken_by, now)
    for name, value in more.items():
        if name not in _SHOWN:
            yield harmless(name, 40), harmless(_compact(value), 600)
    prompt = more.get("prompt")
    if isinstance(prompt, str):
        yield "prompt", "\n".join(harmless_lines(prompt, 2000))
    yield "registry", harmless(str(row.key.registry))


def _ago(seconds: float) -> str:
    if seconds < -60:
        return f"in {age_in_words(-seconds)}: another clock or zone"
    return f"{age_in_words(seconds)} ago"


def _compact(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return "(too deep to show)"


def _session(session: Session, now: float) -> Iterator[_Field]:
    pids = ", ".join(str(pid) for pid in session.pids)
    attached = f", {some(session.attached, 'client')} attached" if session.attached else ""
    yield "tmux", f"{session.id}, pid {pids}{attached}"
    yield "made", _ago(now - session.created)
    yield "output", _ago(now - session.activity)


def _task(task: TaskRoll, now: float) -> Iterator[_Field]:
    state = task.state
    record = state.record
    yield "task", harmless(task.task_id)
    if state.error is not None:
        yield "error", harmless(state.error)
        if record is not None:
            yield "", f"Shown as it was {age_in_words(now - state.read_at)} ago."
    if state.cut_off is not None:
        yield "warning", harmless(state.cut_off)
    description = (record.description if record else "") or state.listed_description
    yield "description", harmless(description or "-")
    if record is not None:
        yield "status", harmless(record.status or "-", 80)
        yield "created", harmless(record.created_at or "-", 60)
        yield (
            "counters",
            f"{_count(record.total_spawned)} spawned, {_count(record.active_count)} active, "
            f"{_count(record.completed_count)} completed",
        )
        for warning in record.warnings:
            yield "warning", harmless(warning)
    found = ", ".join(f"{count} {verdict}" for verdict, count in task.counts.items() if count)
    yield "roll", found or "no agents"
    yield "registry", harmless(str(state.registry))
    if state.global_registry is not None:
        yield "global", harmless(str(state.global_registry))


def _count(written: int | None) -> str:
    return "?" if written is None else harmless(str(written), 40)
