"""Formats the roll call as text and as JSON. Pure; does not import Textual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry.schema import UnreadDatabase
from registry.text import shown_name
from tui.cli.format_columns import WITHOUT_REPORTS, Entry, Table, cells_of, cut
from tui.cli.output import StyledLine
from tui.details.last_report import report_json
from tui.model.roll import AgentKey, AgentRow, RollCall, TaskRoll, Verdict
from tui.model.verdicts import VERDICTS
from tui.model.warnings import notices, workspace_place
from tui.text.sanitize import harmless, some

if TYPE_CHECKING:
    from registry.agent_output import ProgressReport

SCHEMA = 2
"""The version of the JSON; increased when a field changes its meaning or is removed."""

_WARNING = "$warning bold"


def roll_json(
    roll: RollCall,
    filtered: Mapping[str, Any] | None = None,
    reports: Mapping[AgentKey, ProgressReport] | None = None,
) -> dict[str, Any]:
    """Returns the document of `muster list --json`.

    Args:
        roll: The roll call, or a part of it. The counts are always those of the whole roll call.
        filtered: The result of `chosen_by` for a part; None for the whole roll call.
        reports: The last report of each agent; None if the reports were not read, which leaves
            the field out.
    """
    return {
        "schema": SCHEMA,
        "filter": filtered,
        "host": roll.host,
        "tmux": {
            "state": roll.answer.state.value,
            "detail": roll.answer.detail,
            "advice": roll.answer.advice or None,
            "socket": str(roll.answer.socket),
        },
        "workspaces": [
            {
                "path": str(workspace.path),
                "error": workspace.error,
                "cut_off": workspace.hot_journal,
                "database": _database_json(workspace.database),
                "storage": [dialect.value for dialect in workspace.formats],
                "tasks": [_task_json(task, reports) for task in workspace.tasks],
            }
            for workspace in roll.workspaces
        ],
        "orphans": [
            {"session": session.name, "created": session.created} for session in roll.orphans
        ],
        "agents_known": roll.agents_known,
        "orphans_known": roll.orphans_known,
        "databases_beside": [_database_json(database) for database in roll.nearby_databases],
        "mass_death": mass_death_json(roll),
        "counts": {verdict.value: roll.counts[verdict] for verdict in VERDICTS},
    }


def chosen_by(where: Sequence[str], *, hide_finished: bool = False) -> dict[str, Any]:
    """Returns the conditions that choose a part of a roll call, as JSON."""
    return {"where": list(where), "hide_finished": hide_finished}


def _database_json(database: UnreadDatabase | None) -> dict[str, Any] | None:
    """Returns JSON about a database that muster cannot read; None (null) without a database."""
    if database is None:
        return None
    return {"path": str(database.path), "readable": False, "detail": str(database)}


def mass_death_json(roll: RollCall) -> dict[str, int] | None:
    """Returns how many agents died at once, and how many were active before, as JSON.

    Returns None (null) if no mass death happened.
    """
    death = roll.mass_death
    return {"gone": death.gone, "of": death.of} if death is not None else None


def _task_json(
    task: TaskRoll, reports: Mapping[AgentKey, ProgressReport] | None
) -> dict[str, Any]:
    record = task.state.record
    return {
        "task_id": task.task_id,
        "description": task.state.description,
        "status": record.status if record else None,
        "registry": str(task.state.registry),
        "storage": task.state.source.dialect.value,
        "phase": _phase_json(task),
        "error": task.state.error,
        "cut_off": task.state.hot_journal,
        "warnings": list(record.warnings) if record else [],
        "agents_known": task.agents_known,
        "agents": [_agent_json(row) | _report_json(row, reports) for row in task.agents],
    }


def _report_json(
    row: AgentRow, reports: Mapping[AgentKey, ProgressReport] | None
) -> dict[str, Any]:
    return {} if reports is None else {"last_report": report_json(reports.get(row.key))}


def _phase_json(task: TaskRoll) -> dict[str, Any] | None:
    record = task.state.record
    if record is None or not record.phases:
        return None
    present = record.phases.get(record.phase) if record.phase is not None else None
    return {
        "index": record.phase,
        "count": len(record.phases),
        "name": present.name if present is not None else None,
        "status": present.status if present is not None else None,
    }


def _agent_json(row: AgentRow) -> dict[str, Any]:
    record = row.record
    return {
        "id": record.id,
        "type": record.type,
        "parent": record.parent,
        "depth": record.depth,
        "status": record.status,
        "verdict": row.verdict.value,
        "ended_as": row.ended_as,
        "note": row.note or None,
        "tmux_session": record.tmux_session,
        "pid": record.cursor_pid,
        "taken_by": (
            {"session": row.name_reused_by.name, "created": row.name_reused_by.created}
            if row.name_reused_by is not None
            else None
        ),
        "progress": record.progress,
        "phase": record.phase,
        "reviewer": record.is_reviewer,
        "started_at": record.started_at,
        "last_update": record.last_update,
    }


def roll_table(
    roll: RollCall,
    now: float,
    columns: int | None,
    filtered: str = "",
    names: Sequence[str] = WITHOUT_REPORTS,
    reports: Mapping[AgentKey, ProgressReport] | None = None,
) -> Iterator[str]:
    """Yields the roll call as lines of text.

    Args:
        roll: The roll call, or a part of it. The counts are always those of the whole roll call.
        now: Seconds since the epoch.
        columns: The largest width of a line, in cells; None for no limit.
        filtered: The filter in words, if `roll` is a part; empty for the whole roll call.
        names: The names of the columns of agents.
        reports: The last report of each agent; None if the reports were not read.
    """
    counts = ", ".join(
        f"{roll.counts[verdict]} {verdict}" for verdict in VERDICTS if roll.counts[verdict]
    )
    without = "no agents" if roll.agents_known else "agents unknown"
    yield cut(f"{harmless(roll.host)}: {counts or without}", columns)
    if roll.unreadable:
        line = cut(f"! {some(roll.unreadable, 'registry', 'registries')} unreadable", columns)
        yield StyledLine(line, 0, len(line), _WARNING)
    if not roll.orphans_known:
        yield cut("orphans: unknown; a registry that may list them was not read", columns)
    yield cut(f"tmux: {roll.answer.state} ({harmless(roll.answer.detail)})", columns)
    # Never cut: a warning ends with the remedy.
    for notice in notices(roll):
        line = f"! {harmless(notice)}"
        yield StyledLine(line, 0, len(line), _WARNING)
    if filtered:
        shown = some(len(tuple(roll.agents())), "agent")
        orphans = f" and {some(len(roll.orphans), 'orphan')}" if roll.orphans else ""
        yield cut(f"shown: {shown}{orphans}; {harmless(filtered)}", columns)
    cells = {
        row.key: cells_of(Entry(row, task, (reports or {}).get(row.key), now), names)
        for task in roll.tasks()
        for row in task.agents
    }
    table = Table(names, cells.values(), columns, "    ")
    if cells:
        yield ""
        yield table.title()
    for number, workspace in enumerate(roll.workspaces):
        if number or not cells:
            yield ""
        place = cut(workspace_place(workspace, columns), columns)
        yield StyledLine(place, 0, len(place), "bold")
        if workspace.error:
            yield cut(f"  error: {harmless(workspace.error)}", columns)
        if workspace.hot_journal:
            yield cut(f"  global registry: {harmless(workspace.hot_journal)}", columns)
        for task in workspace.tasks:
            yield cut(f"  {_task_title(task)}", columns)
            if task.state.error:
                yield cut(f"    error: {harmless(task.state.error)}", columns)
            if task.state.hot_journal:
                yield cut(f"    {harmless(task.state.hot_journal)}", columns)
            for warning in task.state.record.warnings if task.state.record else ():
                yield cut(f"    warning: {harmless(warning)}", columns)
            for row in task.agents:
                yield table.line(cells[row.key], row.verdict)
                if row.name_reused_by is not None:
                    yield cut(f"      ! {harmless(row.note)}", columns)
    if roll.orphans:
        yield ""
        yield cut("orphaned sessions", columns)
        for session in roll.orphans:
            line = cut(f"    {Verdict.ORPHAN}  {shown_name(session.name)}", columns)
            yield StyledLine(line, 4, 4 + len(Verdict.ORPHAN), VERDICTS[Verdict.ORPHAN].style)


def _task_title(task: TaskRoll) -> str:
    description = task.state.description
    agents = some(len(task.agents), "agent") if task.state.record else "not readable"
    if task.state.record and not task.agents and not task.agents_known:
        # The agents may be in the database, which muster cannot read.
        agents = "agents unknown"
    title = f"{shown_name(task.task_id)}  {agents}"
    if task.phase:
        title += f"  {task.phase}"
    return f"{title}  {harmless(description)}" if description else title
