"""Everything about one agent, gathered once, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from registry.agent_output.files import AgentFile, FileFacts, facts_of
from registry.agent_output.lines import FINDINGS, PROGRESS, AgentFinding, Line, ProgressReport
from registry.audit.entries import Entry, Log
from registry.audit.log import read_logs
from registry.errors import RegistryError
from registry.schema.records import agent_entries, parse_time
from registry.snapshots import read_registry
from registry.text import shown_name
from tui.actions.audit_text import log_lines
from tui.actions.undo import logs_of
from tui.cli.format_roll import SCHEMA
from tui.details.output_text import record_lines
from tui.host.process_tree import Process, origin_of, session_processes
from tui.host.tmux_types import HIDDEN_PROCESSES, Session
from tui.model.hierarchy import children_of, parent_of
from tui.model.roll import AgentRow, RollCall, TaskRoll
from tui.text.sanitize import age_in_words, harmless, harmless_lines, named, size, some

_LAST = 5
"""Reports, findings and actions that are shown."""

_PROCESSES = 10

# Shown by name; whatever else the registry holds follows under its own name.
_SHOWN = frozenset(
    {"id", "type", "tmux_session", "parent", "depth", "status", "progress", "prompt"}
)


@dataclass(frozen=True, slots=True)
class About:
    """Everything about one agent at one moment.

    Attributes:
        entry: Every field as the task's registry has it; empty if it cannot be read.
        listed: Its entry in the global registry, or None.
        parent: The agent that started it, or None.
        children: Those that it started itself.
        processes: All of its session; None without one, or where they cannot be seen.
        reports, findings: The last ones.
        log: All that is on record; `actions` are the ones about this agent.
        problems: What could not be read, in words.
    """

    row: AgentRow
    task: TaskRoll
    entry: Mapping[str, Any]
    listed: Mapping[str, Any] | None
    parent: AgentRow | None
    children: tuple[AgentRow, ...]
    processes: tuple[Process, ...] | None
    files: tuple[FileFacts, ...]
    reports: tuple[ProgressReport, ...]
    findings: tuple[AgentFinding, ...]
    log: Log
    actions: tuple[Entry, ...]
    problems: tuple[str, ...]


def gather(roll: RollCall, row: AgentRow) -> About:
    """Reads everything about an agent; what cannot be read is named, never an error."""
    task = next(each for each in roll.tasks() if row in each.agents)
    state, record = task.state, row.record
    problems = [] if state.database is None else [str(state.database)]
    entry: Mapping[str, Any] = {}
    listed: Mapping[str, Any] | None = None
    try:
        found = [e for id_, e in agent_entries(read_registry(state.registry)) if id_ == record.id]
        entry = found[row.key.ordinal] if len(found) > row.key.ordinal else {}
    except RegistryError as error:
        problems.append(str(error))
    if state.global_registry is not None:
        try:
            everybody = agent_entries(read_registry(state.global_registry))
            listed = next((e for id_, e in everybody if id_ == record.id), None)
        except RegistryError as error:
            problems.append(str(error))
    log = Log((), ())
    try:
        log = read_logs(logs_of([state], [state.workspace]))
    except RegistryError as error:
        problems.append(str(error))
    answer, session = roll.answer, row.session
    processes = None
    if session is not None and not answer.foreign_pids:
        processes = session_processes(origin_of(session, answer))
    directory = state.registry.parent
    return About(
        row=row,
        task=task,
        entry=entry,
        listed=listed,
        parent=parent_of(task, row),
        children=tuple(children_of(task, row)),
        processes=processes,
        files=facts_of(directory, record.id),
        reports=_last(AgentFile(directory, record.id, PROGRESS), problems),
        findings=_last(AgentFile(directory, record.id, FINDINGS), problems),
        log=log,
        actions=tuple(each for each in log.entries if _concerns(each, record.id)),
        problems=tuple(problems),
    )


def _last(file: AgentFile[Line], problems: list[str]) -> tuple[Line, ...]:
    try:
        with file:
            return file.last(_LAST).records
    except (RegistryError, ValueError) as error:
        problems.append(str(error))
        return ()


def _concerns(entry: Entry, agent_id: str) -> bool:
    whose = entry.session.agent if entry.session is not None else None
    return whose == agent_id or any(change.agent == agent_id for change in entry.changes)


# As JSON


def about_json(about: About) -> dict[str, Any]:
    """In the shape that `muster show --json` promises."""
    row, task = about.row, about.task
    keys = {(each.action_id, each.part) for each in about.actions}
    return {
        "schema": SCHEMA,
        "id": row.record.id,
        "verdict": row.verdict.value,
        "note": row.note or None,
        "started": row.record.started,
        "updated": row.record.updated,
        "workspace": str(task.state.workspace),
        "task": {
            "task_id": task.task_id,
            "registry": str(task.state.registry),
            "global_registry": str(task.state.global_registry or "") or None,
            "error": task.state.error,
        },
        "entry": about.entry,
        "listed": about.listed,
        "session": None if row.session is None else _session_json(row.session),
        "processes": None
        if about.processes is None
        else {
            "count": len(about.processes),
            "memory": sum(each.memory for each in about.processes),
            "all": [{"pid": p.pid, "name": p.name, "memory": p.memory} for p in about.processes],
        },
        "parent": None if about.parent is None else _relative_json(about.parent),
        "children": [_relative_json(each) for each in about.children],
        "files": [asdict(each) | {"path": str(each.path)} for each in about.files],
        "progress": [asdict(each) for each in about.reports],
        "findings": [asdict(each) for each in about.findings],
        "audit": [r for r in about.log.records if (r.get("id"), r.get("part")) in keys],
        "problems": list(about.problems),
    }


def _session_json(session: Session) -> dict[str, Any]:
    return {
        "name": session.name,
        "id": session.id,
        "created": session.created,
        "activity": session.activity,
        "attached": session.attached,
        "panes": list(session.panes),
        "pids": list(session.pids),
    }


def _relative_json(row: AgentRow) -> dict[str, Any]:
    return {"id": row.record.id, "verdict": row.verdict.value, "status": row.record.status}


# As text


def about_lines(about: About, now: float) -> Iterator[str]:
    """Line by line, harmless.

    Args:
        about: The agent.
        now: Seconds since the epoch.
    """
    yield from _columns(_facts(about, now))
    prompt = about.entry.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        yield from _section("prompt", harmless_lines(prompt.strip(), 4000))
    yield from _section("files", _columns(_files(about, now)))
    for name, records in (("progress", about.reports), ("findings", about.findings)):
        lines = [line for each in records for line in record_lines(each)]
        yield from _section(f"{name}, the last {len(records)}", lines)
    done = about.actions[-_LAST:]
    yield from _section(
        f"done with muster, the last {len(done)} of {len(about.actions)}",
        log_lines(about.log, done),
    )
    yield from _section("problems", map(harmless, about.problems))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    shown = list(lines)
    if shown:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}".rstrip() for line in shown)


def _columns(fields: Iterable[tuple[str, str]]) -> Iterator[str]:
    shown = list(fields)
    wide = max((len(name) for name, _ in shown), default=0)
    return (f"{name:<{wide}}  {value}".rstrip() for name, value in shown)


def _facts(about: About, now: float) -> Iterator[tuple[str, str]]:
    row, task = about.row, about.task
    record, session = row.record, row.session
    yield "agent", named(record.id)
    yield "verdict", row.verdict.value + (f": {harmless(row.note, 400)}" if row.note else "")
    progress = "" if record.progress is None else f", {record.progress:g} %"
    yield "status", f"{harmless(record.status or '-', 80)}{progress}"
    if about.listed is not None and about.listed.get("status") not in (None, record.status):
        yield "  global", f"{_compact(about.listed['status'], 80)} in the global registry"
    yield "type", harmless(record.type or "-", 256)
    yield "task", shown_name(task.task_id)
    depth = "" if record.depth is None else f", depth {record.depth}"
    parent = f" ({_standing(about.parent)})" if about.parent is not None else ""
    yield "parent", f"{_name(record.parent)}{parent}{depth}"
    for each in about.children:
        yield "child", f"{named(each.record.id)} ({_standing(each)})"
    yield "session", _name(record.tmux_session)
    if session is not None:
        yield from _session(session, now)
    if about.processes is not None:
        yield from _processes(about.processes)
    for name, value in about.entry.items():
        if name not in _SHOWN:
            yield harmless(name, 40), _field(name, value, now)


def _name(name: str | None) -> str:
    return shown_name(name) if name else "-"


def _standing(row: AgentRow) -> str:
    return f"{row.verdict}, {harmless(row.record.status or '-', 40)}"


def _session(session: Session, now: float) -> Iterator[tuple[str, str]]:
    attached = f", {some(session.attached, 'client')} attached" if session.attached else ""
    renamed = f"{shown_name(session.name)}, "
    panes = ", ".join(session.panes)
    yield "  tmux", f"{renamed}{session.id}, panes {harmless(panes, 200)}{attached}"
    pids = ", ".join(map(str, session.pids))
    yield "  pids", harmless(pids, 200) if pids else HIDDEN_PROCESSES
    yield "  made", _moment(session.created, now)
    yield "  output", _moment(session.activity, now)


def _processes(processes: tuple[Process, ...]) -> Iterator[tuple[str, str]]:
    memory = size(sum(each.memory for each in processes))
    yield "processes", f"{len(processes)}, {memory} resident"
    for each in processes[:_PROCESSES]:
        yield "", f"{each.pid} {harmless(each.name, 60)}, {size(each.memory)}"
    if len(processes) > _PROCESSES:
        yield "", f"… {len(processes) - _PROCESSES} more"


def _moment(seconds: float, now: float) -> str:
    try:
        exact = f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "-"
    return f"{exact} ({_ago(now - seconds)})"


def _ago(seconds: float) -> str:
    if seconds < -60:
        return f"in {age_in_words(-seconds)}: another clock or zone"
    return f"{age_in_words(seconds)} ago"


def _field(name: str, value: Any, now: float) -> str:
    timed = parse_time(value) if name.endswith("_at") or name == "last_update" else None
    written = _compact(value, 2000)
    return written if timed is None else f"{written} ({_ago(now - timed)})"


def _compact(value: Any, limit: int) -> str:
    if isinstance(value, str):
        return harmless(value, limit)
    try:
        return harmless(json.dumps(value, ensure_ascii=False), limit)
    except (ValueError, RecursionError):
        return "(too deep to show)"


def _files(about: About, now: float) -> Iterator[tuple[str, str]]:
    yield "registry", shown_name(about.task.state.registry)
    if about.task.state.global_registry is not None:
        yield "global", shown_name(about.task.state.global_registry)
    for each in about.files:
        if each.error is not None:
            said = f"cannot be read: {harmless(each.error)}"
        elif each.size is None:
            said = "not there"
        else:
            said = f"{size(each.size)}, written {_ago(now - (each.modified or now))}"
        yield each.name, f"{shown_name(each.path)} ({said})"
