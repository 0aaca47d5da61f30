"""The Overview tab of the details panel: everything about the selected line, as rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from registry.schema import TaskRecord, parse_time
from registry.sources import Dialect
from registry.text import shown_name
from tui.details.fields import Field, agent_fields, places, session_fields, task_of, when
from tui.details.rows import Row, row
from tui.details.sources import Fields
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, RollCall, TaskRoll, WorkspaceRoll
from tui.model.warnings import storage_note
from tui.text.sanitize import age_in_words, harmless, some
from tui.view.outline import Line

_LABEL = 11
"""The widest label, in cells, that moves the values to the right."""


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
        return _aligned(agent_fields(item, task_of(item, roll), more, now))
    if isinstance(item, TaskRoll):
        return _aligned(_task(item, now))
    if isinstance(item, WorkspaceRoll):
        return _aligned(_workspace(item))
    if isinstance(item, Session):
        return _aligned(_orphan(item, now))
    return (row("Sessions that are named like an agent's session, but that no registry lists."),)


def _aligned(fields: Iterable[Field]) -> tuple[Row, ...]:
    """Returns a row for each field that has a line; the values are below each other."""
    shown = [field for field in fields if field.label or field.value]
    labels = (len(field.label) for field in shown if field.value and not field.level)
    return tuple(map(partial(_row, wide=min(_LABEL, max(labels, default=0))), shown))


def _row(fact: Field, wide: int) -> Row:
    before = "  " * fact.level
    if not fact.label:
        return row(before + fact.value, hang=2)
    if not fact.value:
        return row((before + fact.label, "dim"), hang=2 + 2 * fact.level)
    style = "error" if fact.problem else "link" if fact.link is not None else ""
    label = fact.label if fact.level else fact.label.ljust(wide)
    hang = 2 + 2 * fact.level if fact.level else 2 + wide
    return row((f"{before}{label}  ", "dim"), (fact.value, style), hang=hang, target=fact.link)


def _workspace(item: WorkspaceRoll) -> Iterator[Field]:
    yield Field("workspace", shown_name(item.path) + storage_note(item))
    if item.error:
        yield Field("error", harmless(item.error), problem=True)
    if item.hot_journal:
        yield Field("warning", f"global registry: {harmless(item.hot_journal)}", problem=True)
    if item.database:
        yield Field("warning", harmless(str(item.database)), problem=True)
    yield Field("tasks", str(len(item.tasks)))


def _orphan(item: Session, now: float) -> Iterator[Field]:
    yield Field("orphan", shown_name(item.name))
    yield Field("", "No registry that muster reads lists this session. `x` ends it.")
    yield from session_fields(item, now)


def _task(task: TaskRoll, now: float) -> Iterator[Field]:
    state = task.state
    record = state.record
    if state.description:
        yield Field("description", " ".join(harmless(state.description).split()))
    yield Field("task", shown_name(task.task_id))
    if state.error is not None:
        yield Field("error", harmless(state.error), problem=True)
        if record is not None:
            yield Field("", f"This content was read {age_in_words(now - state.read_at)} ago.")
    if state.hot_journal is not None:
        yield Field("warning", harmless(state.hot_journal), problem=True)
    if state.database is not None:
        yield Field("warning", harmless(str(state.database)), problem=True)
    # If a database with the agents cannot be read, the registry is left from the task's creation.
    unknown = not task.agents and not task.agents_known
    if record is not None:
        if record.status and not unknown:
            yield Field("status", harmless(record.status, 80))
        if task.phase:
            yield Field("phase", _phase(task, record))
        if created := when(record.created_at, parse_time(record.created_at), now):
            yield Field("created", created)
        if state.source.dialect is Dialect.JSON and not unknown:
            yield from _numbers(
                "counters",
                (record.total_spawned, "spawned"),
                (record.active_count, "active"),
                (record.completed_count, "completed"),
            )
        yield from _numbers(
            "limits",
            (record.max_agents, "agents"),
            (record.max_concurrent, "at once"),
            (record.max_depth, "deep"),
        )
        for warning in record.warnings:
            yield Field("warning", harmless(warning), problem=True)
    if task.progress is not None:
        agents = some(len(task.agents), "agent")
        progress = f"{task.completed} of {agents} completed, {task.progress:.0f} % on average"
        yield Field("progress", progress)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in task.counts.items() if count)
    yield Field("roll", counts or ("agents unknown" if unknown else "no agents"))
    yield from (Field(label, value) for label, value in places(task))


def _phase(task: TaskRoll, record: TaskRecord) -> str:
    present = record.phases.get(record.phase) if record.phase is not None else None
    place = task.phase.removeprefix("phase ")
    if present is None:
        return place
    return f"{place}, {harmless(present.name or '-', 200)}: {harmless(present.status, 80)}"


def _numbers(label: str, *numbers: tuple[int | None, str]) -> Iterator[Field]:
    """Yields a line with the known numbers; no line if none is known."""
    known = [
        f"{harmless(str(number), 40)} {what}" for number, what in numbers if number is not None
    ]
    if known:
        yield Field(label, ", ".join(known))
