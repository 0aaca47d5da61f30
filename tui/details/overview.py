"""All that is known of the line under the cursor, as rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from registry.agent_output.files import FileFacts
from registry.text import shown_name
from tui.details.rows import Row, row
from tui.details.sources import Fields
from tui.host.tmux_types import HIDDEN_PROCESSES, Session
from tui.model.hierarchy import children_of, parent_of
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.text.sanitize import age_in_words, harmless, harmless_lines, named, size, some
from tui.view.outline import Line

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

_ROWS_AT_MOST = 200
"""Rows of one field of the registry; more are not shown."""

_DEEPEST = 6


def overview(
    line: Line | None, roll: RollCall | None, more: Fields, now: float
) -> tuple[Row, ...]:
    """Everything about one line.

    Args:
        line: The line under the cursor.
        roll: The roll call that it is of.
        more: What was read of an agent.
        now: Seconds since the epoch.
    """
    item = line.item if line is not None else None
    if line is None:
        return ()
    if isinstance(item, AgentRow):
        return tuple(_agent(item, roll, more, now))
    if isinstance(item, TaskRoll):
        return tuple(_task(item, now))
    if isinstance(item, WorkspaceRoll):
        return tuple(_workspace(item))
    if isinstance(item, Session):
        return tuple(_orphan(item, now))
    return (row("Sessions that are named like an agent's but that no registry lists."),)


def field(name: str, value: str, style: str = "", target: AgentKey | None = None) -> Row:
    """A named value."""
    if name in ("error", "warning"):
        style = "error"
    return row((f"{name}  ", "dim"), (value, style), hang=2, target=target)


def _workspace(item: WorkspaceRoll) -> Iterator[Row]:
    yield field("workspace", shown_name(item.path))
    if item.error:
        yield field("error", harmless(item.error))
    if item.hot_journal:
        yield field("warning", f"global registry: {harmless(item.hot_journal)}")
    if item.database:
        yield field("warning", harmless(str(item.database)))
    yield field("tasks", str(len(item.tasks)))


def _orphan(item: Session, now: float) -> Iterator[Row]:
    yield field("orphan", shown_name(item.name))
    yield row("No registry that muster sees lists this session. `k` ends it.")
    yield from _session(item, now)


def _when(written: str | None, parsed: float | None, now: float) -> str:
    if written is None:
        return "-"
    if parsed is None:
        return f"{harmless(written, 60)} (not a time)"
    return f"{harmless(written, 40)} ({_ago(now - parsed)})"


def _exactly(moment: float, now: float) -> str:
    """A time on this host's clock, and how long ago it was."""
    try:
        local = f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        local = str(moment)
    return f"{local} ({_ago(now - moment)})"


def _ago(seconds: float) -> str:
    if seconds < -60:
        return f"in {age_in_words(-seconds)}: another clock or zone"
    return f"{age_in_words(seconds)} ago"


def _agent(item: AgentRow, roll: RollCall | None, more: Fields, now: float) -> Iterator[Row]:
    record = item.record
    yield field("agent", named(record.id))
    note = f": {harmless(item.note, 400)}" if item.note else ""
    yield field("verdict", item.verdict.value + note)
    progress = "" if record.progress is None else f", {record.progress:g} %"
    yield field("status", f"{harmless(record.status or '-', 80)}{progress}")
    yield field("type", harmless(record.type or "-", 256))
    depth = "" if record.depth is None else f", depth {record.depth}"
    parent, children = relatives(item, roll)
    leads = ("link", parent.key) if parent is not None else ("", None)
    yield field("parent", f"{_name(record.parent)}{depth}", *leads)
    for each in children:
        said = f"{named(each.record.id)}, {each.verdict.value}"
        yield field("child", said, "link", each.key)
    yield field("started", _when(record.started_at, record.started, now))
    yield field("updated", _when(record.last_update, record.updated, now))
    yield field("session", _name(record.tmux_session))
    if item.session is not None:
        yield from _session(item.session, now)
    elif item.name_reused_by is not None:
        yield row("Another session has that name now:")
        yield from _session(item.name_reused_by, now)
    entry = more.entry or {}
    for name, value in entry.items():
        if name not in _SHOWN:
            yield from _value(harmless(name, 40), value, 0, [_ROWS_AT_MOST])
    prompt = entry.get("prompt")
    if isinstance(prompt, str):
        first, *rest = harmless_lines(prompt, 2000)
        yield field("prompt", first)
        yield from (row(f"  {each}", hang=2) for each in rest)
    for facts in more.files:
        yield from _file(facts, now)
    yield field("registry", shown_name(item.key.registry))


def relatives(item: AgentRow, roll: RollCall | None) -> tuple[AgentRow | None, list[AgentRow]]:
    """Who started an agent, if that is an agent, and whom it started."""
    for task in roll.tasks() if roll is not None else ():
        if task.state.registry != item.key.registry:
            continue
        for agent in task.agents:
            if agent.key == item.key:
                return parent_of(task, agent), children_of(task, agent)
    return None, []


def _value(name: str, value: Any, depth: int, left: list[int]) -> Iterator[Row]:
    """A field of the registry, in as many rows as it has parts."""
    if left[0] <= 0:
        return
    left[0] -= 1
    indent = "  " * depth
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict) and depth < _DEEPEST:
        parts = [(harmless(key, 60), each) for key, each in value.items()]
    elif isinstance(value, list) and depth < _DEEPEST:
        parts = [("-", each) for each in value]
    if not parts:
        said = harmless(_compact(value), 600)
        yield row((f"{indent}{name}  ", "dim"), said, hang=2 + 2 * depth)
        return
    yield row((f"{indent}{name}", "dim"))
    for key, each in parts:
        yield from _value(key, each, depth + 1, left)
    if depth == 0 and left[0] <= 0:
        yield row(("  and more; the registry has it all", "dim"))


def _compact(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return "(too deep to show)"


def _file(facts: FileFacts, now: float) -> Iterator[Row]:
    name = f"{facts.name} file"
    if facts.error is not None:
        yield field(name, harmless(facts.error, 400), "error")
    elif facts.size is not None and facts.modified is not None:
        written = _exactly(facts.modified, now)
        shown = shown_name(f"{facts.path.parent.name}/{facts.path.name}")
        yield field(name, f"{shown}, {size(facts.size)}, {written}")


def _session(session: Session, now: float) -> Iterator[Row]:
    pids = ", ".join(str(pid) for pid in session.pids)
    attached = f", {some(session.attached, 'client')} attached" if session.attached else ""
    processes = f"pid {pids}" if pids else HIDDEN_PROCESSES
    yield field("tmux", f"{session.id}, {processes}{attached}")
    yield field("made", _exactly(session.created, now))
    yield field("output", _exactly(session.activity, now))


def _task(task: TaskRoll, now: float) -> Iterator[Row]:
    state = task.state
    record = state.record
    yield field("task", shown_name(task.task_id))
    if state.error is not None:
        yield field("error", harmless(state.error))
        if record is not None:
            yield row(f"Shown as it was {age_in_words(now - state.read_at)} ago.")
    if state.hot_journal is not None:
        yield field("warning", harmless(state.hot_journal))
    if state.database is not None:
        yield field("warning", harmless(str(state.database)))
    yield field("description", harmless(state.description or "-"))
    if record is not None:
        yield field("status", harmless(record.status or "-", 80))
        yield field("created", harmless(record.created_at or "-", 60))
        yield field(
            "counters",
            f"{_count(record.total_spawned)} spawned, {_count(record.active_count)} active, "
            f"{_count(record.completed_count)} completed",
        )
        yield field(
            "limits",
            f"{_count(record.max_agents)} agents, {_count(record.max_concurrent)} at once, "
            f"{_count(record.max_depth)} deep",
        )
        for warning in record.warnings:
            yield field("warning", harmless(warning))
    if task.progress is not None:
        many = some(len(task.agents), "agent")
        said = f"{task.completed} of {many} completed, {task.progress:.0f} % in the mean"
        yield field("progress", said)
    found = ", ".join(f"{count} {verdict}" for verdict, count in task.counts.items() if count)
    yield field("roll", found or "no agents")
    yield field("registry", shown_name(state.registry))
    if state.global_registry is not None:
        yield field("global", shown_name(state.global_registry))


def _name(name: str | None) -> str:
    return shown_name(name) if name else "-"


def _count(written: int | None) -> str:
    return "?" if written is None else harmless(str(written), 40)
