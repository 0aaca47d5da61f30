"""The Overview tab of the details panel: everything about the selected line, as rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from registry.schema import TaskRecord
from registry.sources import Dialect
from registry.text import shown_name
from tui.details.fields import Field, agent_fields, session_fields, task_of
from tui.details.rows import Row, row
from tui.details.sources import Fields
from tui.host.tmux_types import Session
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.model.warnings import storage_note
from tui.text.sanitize import age_in_words, harmless, some
from tui.view.outline import Line


def overview(
    line: Line | None, roll: RollCall | None, more: Fields, now: float
) -> tuple[Row, ...]:
    """Returns the rows about the agent, task, workspace or session of a line.

    Args:
        line: The line under the cursor; None if there is no line, which gives no rows.
        roll: The roll call that contains the line.
        more: Data from an agent's files and registries; only used for an agent's line.
        now: Seconds since the epoch.
    """
    item = line.item if line is not None else None
    if line is None:
        return ()
    if isinstance(item, AgentRow):
        return tuple(map(_row, agent_fields(item, task_of(item, roll), more, now)))
    if isinstance(item, TaskRoll):
        return tuple(_task(item, now))
    if isinstance(item, WorkspaceRoll):
        return tuple(_workspace(item))
    if isinstance(item, Session):
        return tuple(_orphan(item, now))
    return (row("Sessions that are named like an agent's session, but that no registry lists."),)


def field(
    name: str, value: str, style: str = "", target: AgentKey | None = None, level: int = 0
) -> Row:
    """Returns a row with a name and a value, or with only the name if the value is empty.

    Args:
        name: The name; `error` and `warning` give the row the style of errors.
        value: The value; safe text.
        style: The style of the value.
        target: The agent to which the row links, or None.
        level: The number of nested levels, for the indentation.
    """
    if name in ("error", "warning"):
        style = "error"
    if not value:
        return row((name, "dim"), hang=2 + 2 * level)
    return row((f"{name}  ", "dim"), (value, style), hang=2 + 2 * level, target=target)


def _workspace(item: WorkspaceRoll) -> Iterator[Row]:
    yield field("workspace", shown_name(item.path) + storage_note(item))
    if item.error:
        yield field("error", harmless(item.error))
    if item.hot_journal:
        yield field("warning", f"global registry: {harmless(item.hot_journal)}")
    if item.database:
        yield field("warning", harmless(str(item.database)))
    yield field("tasks", str(len(item.tasks)))


def _orphan(item: Session, now: float) -> Iterator[Row]:
    yield field("orphan", shown_name(item.name))
    yield row("No registry that muster reads lists this session. `x` ends it.")
    yield from map(_row, session_fields(item, now))


def _row(fact: Field) -> Row:
    """Returns the row of a field of an agent or a session."""
    if not fact.label:
        return row("  " * fact.level + fact.value, hang=2)
    style = "error" if fact.problem else "link" if fact.link is not None else ""
    return field("  " * fact.level + fact.label, fact.value, style, fact.link, fact.level)


def _task(task: TaskRoll, now: float) -> Iterator[Row]:
    state = task.state
    record = state.record
    yield field("task", shown_name(task.task_id))
    if state.error is not None:
        yield field("error", harmless(state.error))
        if record is not None:
            yield row(f"This content was read {age_in_words(now - state.read_at)} ago.")
    if state.hot_journal is not None:
        yield field("warning", harmless(state.hot_journal))
    if state.database is not None:
        yield field("warning", harmless(str(state.database)))
    yield field("description", harmless(state.description or "-"))
    # If a database with the agents cannot be read, the registry is left from the task's creation.
    unknown = not task.agents and not task.agents_known
    if record is not None:
        yield field("status", "?" if unknown else harmless(record.status or "-", 80))
        if task.phase:
            yield field("phase", _phase(task, record))
        yield field("created", harmless(record.created_at or "-", 60))
        if state.source.dialect is Dialect.JSON and not unknown:
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
        agents = some(len(task.agents), "agent")
        progress = f"{task.completed} of {agents} completed, {task.progress:.0f} % on average"
        yield field("progress", progress)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in task.counts.items() if count)
    yield field("roll", counts or ("agents unknown" if unknown else "no agents"))
    for file in state.source.files[:1]:
        yield field(file.name, shown_name(file.path))
    if state.source.global_registry is not None:
        yield field("global", shown_name(state.source.global_registry))


def _phase(task: TaskRoll, record: TaskRecord) -> str:
    present = record.phases.get(record.phase) if record.phase is not None else None
    if present is None:
        return task.phase
    return f"{task.phase}, {harmless(present.name or '-', 200)}: {harmless(present.status, 80)}"


def _count(written: int | None) -> str:
    return "?" if written is None else harmless(str(written), 40)
