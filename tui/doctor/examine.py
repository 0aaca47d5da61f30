"""Examines workspaces and their agents, for the monitor and for `muster doctor`.

If the first reading finds problems, the registries are read a second time, and only problems of
both readings are reported. The reason: a writer changes the task's registry before the global
registry, so the two registries differ for a moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from registry.agent_output import TraceReader
from registry.checks import Issue, IssueKind
from registry.dataclass import dataclass, replace
from registry.schema import Workspace, is_active
from registry.sources import (
    Dialect,
    Found,
    Job,
    TaskSource,
    find_issues,
    unreadable,
    workspace_source,
)
from registry.text import command_line, shown_name, whole_name
from tui.actions.footprint import checked_kill
from tui.actions.plan import Plan
from tui.actions.plan_complete import checked_complete
from tui.actions.plan_kill import plan_kill
from tui.doctor.location import ANYWHERE, Where
from tui.host.tmux_types import TmuxState
from tui.live.separate_registries import NO_ANSWER
from tui.model.roll import AgentKey, AgentRow, RollCall, Verdict
from tui.model.select import rows_of
from tui.model.verdict import ENDING, JUST_STARTED
from tui.text.sanitize import some

if TYPE_CHECKING:
    from registry.agent_output import ReportedEnd

SETTLED = 0.75
"""Seconds between the two readings. A writer finishes a change in less time."""

_NAMED = 3
"""The largest number of agents that one message names. Further agents are only counted."""

_IS_DAMAGED = "muster does not write a damaged database: first restore a whole copy of it"


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of an examination.

    Attributes:
        files: The findings about whole files: unreadable files, and interrupted commits.
        tasks: The findings about each task.
        globals_: The findings about each global registry, which are repaired after all tasks.
        sessions: The differences between the registries and tmux.
        zombies: The plan that gives all zombies a terminal status.
        unsure: Messages about parts that could not be examined, with the reasons.
        roll: The roll call that was examined.
    """

    files: tuple[Issue, ...]
    tasks: tuple[Job, ...]
    globals_: tuple[Job, ...]
    sessions: tuple[Issue, ...]
    zombies: Plan
    unsure: tuple[str, ...]
    roll: RollCall

    @property
    def findings(self) -> tuple[Issue, ...]:
        """All findings in this order: files, tasks, global registries, sessions."""
        jobs = (*self.tasks, *self.globals_)
        return (*self.files, *(f for job in jobs for f in job.findings), *self.sessions)

    @property
    def fixable(self) -> tuple[Issue, ...]:
        """The findings that `--fix` repairs."""
        return tuple(finding for finding in self.findings if finding.fixable)


def examine(
    workspaces: Sequence[Workspace],
    roll: RollCall,
    where: Where = ANYWHERE,
    *,
    settled: float = SETTLED,
) -> Examination:
    """Examines workspaces. Blocks; changes nothing and acquires no lock.

    Args:
        workspaces: The workspaces of the roll call.
        roll: The roll call.
        where: The options that the commands in the advice need to find these workspaces.
        settled: Seconds between the two readings.
    """
    reader = TraceReader()
    look = _look(workspaces, roll, reader)
    if look.findings:
        time.sleep(settled)
        first = {finding.identity for finding in look.findings}
        look = _look(workspaces, roll, reader)
        look.files = list(_among(look.files, first))
        look.tasks = [replace(job, findings=_among(job.findings, first)) for job in look.tasks]
        look.globals_ = [
            replace(job, findings=_among(job.findings, first)) for job in look.globals_
        ]
    damaged = {finding.file for finding in look.files if finding.kind is IssueKind.DAMAGED}
    look.tasks = [
        replace(job, findings=_without_repairs(_without_ends(job, roll), damaged))
        for job in look.tasks
    ]
    places = {task.state.registry: _place(task.state.source) for task in roll.tasks()}
    zombies = [
        row
        for row in roll.agents()
        if row.verdict is Verdict.ZOMBIE and places[row.key.registry].file not in damaged
    ]
    plan = checked_complete(roll, zombies, "terminated", by_verdict=True, as_reported=True)
    sessions = _sessions(roll, plan, _endings(roll, where), places, where)
    return Examination(
        tuple(look.files),
        tuple(look.tasks),
        tuple(look.globals_),
        _without_repairs(tuple(sessions), damaged),
        plan,
        (*_unsure(look.files, roll), *look.unchecked),
        roll,
    )


def _among(findings: Iterable[Issue], first: set[tuple[object, ...]]) -> tuple[Issue, ...]:
    return tuple(finding for finding in findings if finding.identity in first)


def _without_ends(job: Job, roll: RollCall) -> tuple[Issue, ...]:
    """Returns the findings about a task, without statuses in a database that will change anyway.

    The repair of a zombie writes the end that the agent reported. The orchestrator writes the end
    of an agent that is ending within seconds.
    """
    if job.source.dialect is not Dialect.SQLITE:
        return job.findings
    ends = {
        row.key.id
        for row in roll.agents()
        if row.key.registry == job.source.path
        and (row.verdict is Verdict.ZOMBIE or row.note == ENDING)
    }
    return tuple(
        finding
        for finding in job.findings
        if finding.kind is not IssueKind.STATUS or finding.agent not in ends
    )


def _without_repairs(
    findings: tuple[Issue, ...], damaged: Collection[Path | None]
) -> tuple[Issue, ...]:
    """Returns findings; muster does not repair those in damaged databases."""
    return tuple(
        replace(finding, advice=_IS_DAMAGED)
        if finding.fixable and finding.file in damaged
        else finding
        for finding in findings
    )


def _unsure(files: Iterable[Issue], roll: RollCall) -> Iterator[str]:
    if roll.answer.state is TmuxState.UNKNOWN:
        active = sum(is_active(row.record.meaning) for row in roll.agents())
        if active:
            agents = f"{some(active, 'active agent')} {'lives' if active == 1 else 'live'}"
            yield f"unknown whether {agents}; tmux: {roll.answer.why}"
    by_note: dict[str, list[str]] = {}
    for row in roll.agents():
        if roll.answer.state is TmuxState.UNKNOWN or row.note in (JUST_STARTED, ENDING):
            continue
        if row.verdict is Verdict.UNKNOWN and is_active(row.record.meaning):
            by_note.setdefault(row.note, []).append(row.key.id)
    for note, ids in by_note.items():
        yield f"unknown whether {_named(ids)} {'lives' if len(ids) == 1 else 'live'}: {note}"
    unreadable_files = [finding for finding in files if finding.kind is IssueKind.UNREADABLE]
    listed = {finding.file for finding in unreadable_files}
    for database in dict.fromkeys((*roll.databases, *roll.nearby_databases)):
        if database.path not in listed:
            yield f"not examined: {database}"
    for finding in unreadable_files:
        yield f"not examined: {shown_name(finding.file)} {finding.says}"


def _named(ids: Sequence[str]) -> str:
    """Returns the first of some ids, and the number of the others."""
    names = ", ".join(map(shown_name, ids[:_NAMED]))
    return names if len(ids) <= _NAMED else f"{names} and {len(ids) - _NAMED} more"


def _look(workspaces: Sequence[Workspace], roll: RollCall, reader: TraceReader) -> Found:
    states = [task.state for task in roll.tasks()]
    unread = {
        state.registry: state.error
        for state in states
        if state.error is not None and state.hot_journal is None
    }
    # A workspace that did not answer the roll call would block this thread, too.
    hanging = {workspace.path for workspace in roll.workspaces if workspace.error == NO_ANSWER}
    sources = (state.source for state in states if state.workspace not in hanging)
    answering = (workspace for workspace in workspaces if workspace.path not in hanging)
    look = find_issues(map(workspace_source, answering), sources, unread, reader)
    look.files += [unreadable(path, NO_ANSWER) for path in sorted(hanging)]
    for workspace in roll.workspaces:
        if workspace.path in hanging:
            continue
        if workspace.error is not None and not os.access(workspace.path, os.R_OK | os.X_OK):
            look.files.append(unreadable(workspace.path, workspace.error))
    return look


# Findings about sessions


def _sessions(
    roll: RollCall,
    zombies: Plan,
    endings: Mapping[AgentKey, _Ending],
    places: Mapping[Path, _Place],
    where: Where,
) -> Iterator[Issue]:
    refused = dict(zombies.refused)
    ends = {step.row.key: step.end for step in zombies.steps if step.row is not None}
    for row in roll.agents():
        place = places[row.key.registry]
        if row.verdict is Verdict.ZOMBIE:
            yield _zombie(row, place, ends.get(row.key), refused)
        elif row.verdict in _OF_SESSIONS:
            yield _OF_SESSIONS[row.verdict](row, place, endings[row.key])
    for session in roll.orphans:
        yield Issue(
            IssueKind.ORPHAN,
            None,
            None,
            "session",
            session.name,
            "is named like an agent's session, but no registry lists this session",
            advice=f"if this session is not needed, end it: {_kill(session.name, where.options)}",
        )


class _Place(NamedTuple):
    """Where the agents of a task are recorded.

    Attributes:
        file: The path of the registry or database.
        table: The name of the table with a dot; empty for a registry.
    """

    file: Path
    table: str


def _place(source: TaskSource) -> _Place:
    table = "agents." if source.dialect is Dialect.SQLITE else ""
    return _Place(source.files[0].path, table)


def _kill(name: str, options: Iterable[tuple[str, str]]) -> str:
    command = command_line("muster", "kill", names=(name,), options=options)
    if command is not None:
        return command
    return f"select {whole_name(name)} in the monitor and press x; no shell command can name it"


class _Ending(NamedTuple):
    """How to end an agent's session.

    Attributes:
        command: The command; empty if muster refuses to end the session.
        refusal: Why muster refuses to end the session; empty if `command` is not empty.
    """

    command: str = ""
    refusal: str = ""

    def advice(self, lead: str) -> str:
        """Returns `lead` followed by the command, or only the refusal if there is no command."""
        return f"{lead}: {self.command}" if self.command else self.refusal


def _endings(roll: RollCall, where: Where) -> dict[AgentKey, _Ending]:
    """Maps each leaked or stalled agent to the way to end the agent's session."""
    rows = [row for row in roll.agents() if row.verdict in _OF_SESSIONS]
    plan = checked_kill(plan_kill(roll, rows), roll)
    planned = {step.row.key for step in plan.steps if step.row is not None}
    refused = dict(plan.refused)
    named = {row.key.id: row for row in rows_of(roll, [row.key.id for row in rows])[0]}
    endings: dict[AgentKey, _Ending] = {}
    for row in rows:
        chosen = named.get(row.key.id)
        if row.key not in planned:
            reason = refused.get(row.key.id, "the registry has two entries with the agent's id")
            endings[row.key] = _Ending(refusal=f"muster would not end the session: {reason}")
        elif chosen is not None and chosen.key != row.key:
            path = shown_name(row.key.registry)
            refusal = f"another entry of {path} has the same id; remove one of the entries"
            endings[row.key] = _Ending(refusal=refusal)
        else:
            options = where.options if chosen is not None else where.only(row.key.registry)
            endings[row.key] = _Ending(_kill(row.key.id, options))
    return endings


def _zombie(
    row: AgentRow, place: _Place, end: ReportedEnd | None, refused: Mapping[str, str]
) -> Issue:
    is_session = row.session is None and row.record.pid is None
    gone = "its session is gone" if is_session else row.note
    if end is not None:
        gone += f", and it reported {end.status}"
    return Issue(
        IssueKind.ZOMBIE,
        place.file,
        row.key.id,
        f"{place.table}status",
        row.record.status,
        f"is {row.record.status}, but {gone}",
        "terminated" if end is None else end.status,
        refused.get(row.key.id, ""),
        reported=end is not None,
    )


def _stalled(row: AgentRow, place: _Place, ending: _Ending) -> Issue:
    return Issue(
        IssueKind.STALLED,
        place.file,
        row.key.id,
        f"{place.table}last_update",
        row.record.last_update,
        f"is {row.record.status}, its {_what(row)}, and {row.note}",
        advice=ending.advice(f"if the agent does not wait for input, end its {_ended(row)}"),
    )


def _leaked(row: AgentRow, place: _Place, ending: _Ending) -> Issue:
    return Issue(
        IssueKind.LEAKED,
        place.file,
        row.key.id,
        f"{place.table}status",
        row.record.status,
        f"is {row.record.status}, but its {_what(row, 'still ')}",
        advice=ending.advice(f"end its {_ended(row)}"),
    )


def _what(row: AgentRow, still: str = "") -> str:
    if row.record.pid is None:
        return f"session {still}exists"
    return f"process {row.record.pid} {still}runs"


def _ended(row: AgentRow) -> str:
    return "session" if row.record.pid is None else "process"


_OF_SESSIONS = {
    Verdict.STALLED: _stalled,
    Verdict.LEAKED: _leaked,
}
