"""The facts about one agent, as one list for the overview, `muster show` and its JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.agent_output import FileFacts
from registry.dataclass import dataclass, field
from registry.schema import parse_time
from registry.text import shown_name
from tui.details.last_report import report_json, report_text, since_start
from tui.details.load_history import Points, graph
from tui.details.sources import Fields
from tui.host.tmux_types import HIDDEN_PROCESSES, Session
from tui.model.hierarchy import children_of, parent_of
from tui.model.roll import REVIEWER, AgentKey, AgentRow, RollCall, TaskRoll
from tui.text.sanitize import (
    age,
    age_in_words,
    harmless,
    harmless_lines,
    named,
    short_percent,
    short_size,
    size,
    some,
)

if TYPE_CHECKING:
    from tui.host.process.process_tree import Process

# These fields of an entry have their own lines; the others are shown under their names.
_SHOWN = frozenset(
    {
        "id",
        "agent_id",
        "task_id",
        "phase_index",
        "latest",
        "type",
        "tmux_session",
        "cursor_pid",
        "parent",
        "depth",
        "status",
        "started_at",
        "last_update",
        "progress",
        "prompt",
    }
)

_PARTS_AT_MOST = 200
"""How many lines of one registry field are shown."""

_DEEPEST = 6
"""How many nested levels are shown as lines; deeper values are shown as JSON."""

_PROCESSES_AT_MOST = 10

_GRAPH = 20
"""The width of the graphs of CPU and memory, in cells."""

# The percentage of one CPU for which a graph has its full height, if no value is higher.
_LITTLE_CPU = 10.0

_PROMPT_AT_MOST = 4000


@dataclass(frozen=True, slots=True)
class Field:
    """One line about an agent.

    Attributes:
        label: The name of the fact; empty if the line continues the line before.
        value: Safe text on one line; empty if the following lines show the value. If the label is
            empty too, there is no line, only JSON data.
        link: The agent that the line links to, or None.
        data: The JSON data of this line; empty if the data of another line contains this fact.
        level: The number of levels by which the line is indented.
        problem: Whether the line reports a problem.
    """

    label: str
    value: str
    link: AgentKey | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    level: int = 0
    problem: bool = False


def agent_fields(
    row: AgentRow, task: TaskRoll | None, more: Fields, now: float
) -> Iterator[Field]:
    """Yields everything about an agent.

    Args:
        row: The agent.
        task: The agent's task with all agents; None if the agent is no longer in the roll call.
        more: Data from the agent's files and registries.
        now: Seconds since the epoch.
    """
    return (
        field
        for field in _agent_fields(row, task, more, now)
        if field.label or field.value or field.data
    )


def _agent_fields(
    row: AgentRow, task: TaskRoll | None, more: Fields, now: float
) -> Iterator[Field]:
    record = row.record
    report = since_start(more.report, record)
    ago = "" if report is None or report.at is None else f" ({_ago(now - report.at)})"
    said = report_text(report)
    yield _known("report", "" if said == "-" else said + ago, {"last_report": report_json(report)})
    yield Field("agent", named(record.id), data={"id": record.id})
    note = f": {harmless(row.note, 400)}" if row.note else ""
    yield Field(
        "verdict",
        row.verdict.value + note,
        data={
            "verdict": row.verdict.value,
            "ended_as": row.ended_as,
            "note": row.note or None,
        },
    )
    progress = "" if record.progress is None else f"{record.progress:g} %"
    status = harmless(record.status, 80)
    yield _known("status", ", ".join(filter(None, (status, progress))))
    if more.listed is not None and more.listed.get("status") not in (None, record.status):
        status = _compact(more.listed["status"])
        yield Field("global status", f"{harmless(status, 80)} in the global registry")
    yield _known("phase", _phase(row, task))
    reviewer = REVIEWER if record.is_reviewer else ""
    yield _known("type", " ".join(filter(None, (harmless(record.type, 256), reviewer))))
    if task is not None and task.state.description:
        yield Field("task", task.title)
    yield from _relatives(row, task)
    yield _known(
        "started", when(record.started_at, record.started, now), {"started": record.started}
    )
    yield _known(
        "updated", when(record.last_update, record.updated, now), {"updated": record.updated}
    )
    yield from _session_of(row, more.processes, now)
    yield from _loads(more.loads, now)
    entry = more.entry or {}
    for name, value in entry.items():
        if name not in _SHOWN and value not in (None, "", [], {}):
            yield from _parts(harmless(name, 40), value, now)
    prompt = entry.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        first, *rest = harmless_lines(prompt.strip(), _PROMPT_AT_MOST)
        yield Field("prompt", first)
        yield from (Field("", line, level=1) for line in rest)
    yield from (_file(facts, now) for facts in more.files)
    yield from _place(row, task, more.files)


def _known(label: str, value: str, data: Mapping[str, Any] | None = None) -> Field:
    """Returns a field; without a value, only its JSON data."""
    return Field(label if value else "", value, data=data or {})


def _phase(row: AgentRow, task: TaskRoll | None) -> str:
    """Returns the phase for which an agent works, in words; empty if it is not known."""
    phases = task.state.record.phases if task is not None and task.state.record else {}
    number = row.record.phase
    if number is None or number not in phases:
        return ""
    name = harmless(phases[number].name, 200)
    place = f"{list(phases).index(number) + 1} of {len(phases)}"
    return f"{place}, {name}" if name else place


def task_of(row: AgentRow, roll: RollCall | None) -> TaskRoll | None:
    """Returns the task of an agent in a roll call, or None."""
    for task in roll.tasks() if roll is not None else ():
        if task.state.registry == row.key.registry:
            return task
    return None


def relatives(row: AgentRow, task: TaskRoll | None) -> tuple[AgentRow | None, list[AgentRow]]:
    """Returns the parent of an agent, or None, and its children.

    Args:
        row: The agent, perhaps from an older roll call than the task.
        task: The agent's task; None if the task is no longer in the roll call.
    """
    for agent in task.agents if task is not None else ():
        if task is not None and agent.key == row.key:
            return parent_of(task, agent), children_of(task, agent)
    return None, []


def _relatives(row: AgentRow, task: TaskRoll | None) -> Iterator[Field]:
    """Yields a line for the parent and a line for each child.

    The JSON data of all relatives is in the parent's line.
    """
    record = row.record
    parent, children = relatives(row, task)
    standing = f" ({_standing(parent)})" if parent is not None else ""
    depth = "" if record.depth is None else f", depth {record.depth}"
    name = shown_name(record.parent) if record.parent else ""
    data = {
        "parent": None if parent is None else _relative_json(parent),
        "children": [_relative_json(child) for child in children],
    }
    if name:
        link = parent.key if parent is not None else None
        yield Field("parent", f"{name}{standing}{depth}", link, data)
    else:
        yield Field("", "", data=data)
    for child in children:
        yield Field("child", f"{named(child.record.id)} ({_standing(child)})", child.key)


def _standing(row: AgentRow) -> str:
    return f"{row.verdict}, {harmless(row.record.status or '-', 40)}"


def _relative_json(row: AgentRow) -> dict[str, Any]:
    return {"id": row.record.id, "verdict": row.verdict.value, "status": row.record.status}


def _session_of(
    row: AgentRow, processes: tuple[Process, ...] | None, now: float
) -> Iterator[Field]:
    """Yields a line for the session's name and a line for each fact about the session.

    The JSON data of all facts is in the first line.
    """
    name, session, other = row.record.tmux_session, row.session, row.name_reused_by
    data = {
        "session": None if session is None else _session_json(session),
        "taken_by": None if other is None else {"session": other.name, "created": other.created},
        "processes": None if processes is None else _processes_json(processes),
    }
    pid = row.record.cursor_pid
    yield _known("session", shown_name(name) if name else "", data)
    if pid is not None:
        began = row.process.began if row.process is not None else None
        since = f", began {exactly(began, now)}" if began is not None else ""
        yield Field("pid", f"{pid}{since}", data={"pid": pid})
    if session is not None:
        yield from session_fields(session, now)
    elif other is not None:
        yield Field("", "Another session has this name now:")
        yield from session_fields(other, now)
    if processes is None:
        return
    memory = size(sum(process.memory for process in processes))
    yield Field("processes", f"{len(processes)}, {memory} resident")
    for process in processes[:_PROCESSES_AT_MOST]:
        name = harmless(process.name, 60)
        yield Field("", f"{process.pid} {name}, {size(process.memory)}", level=1)
    if len(processes) > _PROCESSES_AT_MOST:
        yield Field("", f"… {len(processes) - _PROCESSES_AT_MOST} more", level=1)


def _loads(points: Points, now: float) -> Iterator[Field]:
    """Yields graphs of the CPU and the memory of the last ten minutes."""
    cpu = [(at, load.cpu) for at, load in points if load.cpu is not None]
    memory = [(at, float(load.memory)) for at, load in points]
    for label, values, least, words in (
        ("cpu", cpu, _LITTLE_CPU, short_percent),
        ("memory", memory, 1.0, lambda value: short_size(int(value))),
    ):
        if values:
            most = max(value for _, value in values)
            line = graph(values, now, _GRAPH, max(most, least), ascii_only=False)
            if line:
                yield Field(label, f"{line} {words(values[-1][1])}, at most {words(most)}")


def session_fields(session: Session, now: float) -> Iterator[Field]:
    """Yields the facts that tmux reports about a session, without its name.

    Args:
        session: The session of an agent, or an orphan.
        now: Seconds since the epoch.
    """
    pids = ", ".join(map(str, session.pids))
    panes = f", panes {', '.join(session.panes)}" if session.panes else ""
    attached = f", {some(session.attached, 'client')} attached" if session.attached else ""
    processes = f"pid {pids}" if pids else HIDDEN_PROCESSES
    yield Field("tmux", harmless(f"{session.id}, {processes}{panes}", 400) + attached)
    yield Field("made", exactly(session.created, now))
    yield Field("output", exactly(session.activity, now))


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


def _processes_json(processes: tuple[Process, ...]) -> dict[str, Any]:
    return {
        "count": len(processes),
        "memory": sum(process.memory for process in processes),
        "all": [{"pid": p.pid, "name": p.name, "memory": p.memory} for p in processes],
    }


def _parts(name: str, value: Any, now: float) -> Iterator[Field]:
    """Yields a field of the registry, and a line for each part of its value."""
    left = [_PARTS_AT_MOST]
    if isinstance(value, str) and (name.endswith("_at") or name == "last_update"):
        yield Field(name, when(value, parse_time(value), now))
        return
    yield from _part(name, value, 0, left)
    if left[0] <= 0:
        yield Field("", "… more; see the registry file", level=1)


def _part(name: str, value: Any, level: int, left: list[int]) -> Iterator[Field]:
    if left[0] <= 0:
        return
    left[0] -= 1
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict) and level < _DEEPEST:
        parts = [(harmless(key, 60), part) for key, part in value.items()]
    elif isinstance(value, list) and level < _DEEPEST:
        parts = [("-", part) for part in value]
    yield Field(name, "" if parts else harmless(_compact(value), 600), level=level)
    for key, part in parts:
        yield from _part(key, part, level + 1, left)


def _compact(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "(nested too deeply to be shown)"


def _file(facts: FileFacts, now: float) -> Field:
    label = facts.name
    if facts.error is not None:
        return Field(label, harmless(facts.error, 400), problem=True)
    shown = shown_name(f"{facts.path.parent.name}/{facts.path.name}")
    if facts.size is None or facts.modified is None:
        return Field("", "")
    return Field(label, f"{shown}, {size(facts.size)}, {exactly(facts.modified, now)}")


def _place(row: AgentRow, task: TaskRoll | None, files: tuple[FileFacts, ...]) -> Iterator[Field]:
    """Yields lines for the task and its registries. Their JSON data includes the agent's files."""
    registry = str(row.key.registry)
    files_json = {"files": [asdict(facts) | {"path": str(facts.path)} for facts in files]}
    if task is None:
        yield Field("registry", shown_name(registry), data=files_json)
        return
    state = task.state
    task_json = {
        "task_id": task.task_id,
        "registry": registry,
        "global_registry": str(state.source.global_registry or "") or None,
        "error": state.error,
    }
    data = {"workspace": str(state.workspace), "task": task_json}
    yield Field("task id", shown_name(task.task_id), data=data)
    first, *others = places(task)
    yield Field(*first, data=files_json)
    yield from (Field(label, value) for label, value in others)


def places(task: TaskRoll) -> Iterator[tuple[str, str]]:
    """Yields the names and paths of a task's files and its workspace.

    The paths of files are relative to the workspace, if they are in the workspace.
    """
    workspace = task.state.workspace
    own = task.state.source.files[0]
    yield own.name, _relative(own.path, workspace)
    if task.state.source.global_registry is not None:
        yield "global", _relative(task.state.source.global_registry, workspace)
    yield "workspace", shown_name(workspace)


def _relative(path: Path, workspace: Path) -> str:
    return shown_name(path.relative_to(workspace) if path.is_relative_to(workspace) else path)


def when(written: str | None, parsed: float | None, now: float) -> str:
    """Returns a time of a registry in the local time zone, and how long ago this time was.

    Args:
        written: The time in the registry, or None.
        parsed: The time in seconds since the epoch; None if it is not valid.
        now: The present time, in seconds since the epoch.

    Returns:
        The words; empty without a time.
    """
    if not written:
        return ""
    if parsed is None:
        return f"{harmless(written, 60)} (not a time)"
    return exactly(parsed, now)


def exactly(moment: float, now: float) -> str:
    """Returns a time in the local time zone, and how long ago this time was.

    Args:
        moment: The time, seconds since the epoch.
        now: The present time, in seconds since the epoch.
    """
    try:
        local = f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        local = str(moment)
    return f"{local}, {_ago(now - moment)}"


def _ago(seconds: float) -> str:
    if seconds < -60:
        return f"in {age_in_words(-seconds)}: from another clock or time zone"
    return f"{age(seconds)} ago"
