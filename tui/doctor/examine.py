"""What is wrong with workspaces and their agents, and setting it right; the same everywhere.

Registries are read twice where the first look finds something in them: a writer
changes the task's registry and then the global one, and between the two they differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from registry.checks import Issue, IssueKind
from registry.schema import Workspace, is_active
from registry.sources import Found, Job, find_issues, unreadable, workspace_source
from registry.text import command_line, shown_name, whole_name
from tui.actions.footprint import checked_kill
from tui.actions.plan import Plan
from tui.actions.plan_complete import checked_complete
from tui.actions.plan_kill import plan_kill
from tui.doctor.location import ANYWHERE, Where
from tui.host.tmux_types import TmuxState
from tui.model.roll import AgentKey, AgentRow, RollCall, Verdict
from tui.model.select import rows_of
from tui.model.verdict import JUST_STARTED
from tui.text.sanitize import some

SETTLED = 0.75
"""Seconds between two looks; what a writer is in the middle of is through by then."""


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that was found.

    Attributes:
        files: What is wrong with whole files: unreadable, or with a hot journal.
        tasks: By task.
        globals_: By workspace; set right after all tasks.
        sessions: What is wrong between registries and tmux.
        zombies: How those that are dead are written down.
        unsure: Why something could not be told.
        roll: The roll that it was worked out from.
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
        """All of them, in the order of the roll."""
        jobs = (*self.tasks, *self.globals_)
        return (*self.files, *(f for job in jobs for f in job.findings), *self.sessions)

    @property
    def fixable(self) -> tuple[Issue, ...]:
        """Those that can be set right."""
        return tuple(each for each in self.findings if each.fixable)


def examine(
    workspaces: Sequence[Workspace],
    roll: RollCall,
    where: Where = ANYWHERE,
    *,
    settled: float = SETTLED,
) -> Examination:
    """Looks at everything. Blocks; changes nothing, and waits for no lock.

    Args:
        workspaces: What the roll was called of.
        roll: The roll call.
        where: What a command that is offered needs to find the same.
        settled: Seconds until the second look.
    """
    look = _look(workspaces, roll)
    if look.findings:
        time.sleep(settled)
        first = {each.identity for each in look.findings}
        look = _look(workspaces, roll)
        look.files = list(_among(look.files, first))
        look.tasks = [replace(job, findings=_among(job.findings, first)) for job in look.tasks]
        look.globals_ = [
            replace(job, findings=_among(job.findings, first)) for job in look.globals_
        ]
    zombies = [row for row in roll.agents() if row.verdict is Verdict.ZOMBIE]
    plan = checked_complete(roll, zombies, "terminated", by_verdict=True)
    return Examination(
        tuple(look.files),
        tuple(look.tasks),
        tuple(look.globals_),
        tuple(_sessions(roll, dict(plan.refused), _endings(roll, where), where)),
        plan,
        tuple(_unsure(look.files, roll)),
        roll,
    )


def _among(findings: Iterable[Issue], first: set[tuple[object, ...]]) -> tuple[Issue, ...]:
    return tuple(each for each in findings if each.identity in first)


def _unsure(files: Iterable[Issue], roll: RollCall) -> Iterator[str]:
    if roll.answer.state is TmuxState.UNKNOWN:
        active = sum(is_active(row.record.status) for row in roll.agents())
        if active:
            whom = f"{some(active, 'active agent')} {'lives' if active == 1 else 'live'}"
            yield f"nobody can tell whether {whom}; tmux: {roll.answer.why}"
    for row in roll.agents():
        if roll.answer.state is TmuxState.UNKNOWN or row.note == JUST_STARTED:
            continue
        if row.verdict is Verdict.UNKNOWN and is_active(row.record.status):
            yield f"nobody can tell whether {shown_name(row.key.id)} lives: {row.note}"
    for database in dict.fromkeys((*roll.databases, *roll.nearby_databases)):
        yield f"not examined: {database}"
    for each in files:
        if each.kind is IssueKind.UNREADABLE:
            yield f"nobody can tell what is wrong in {shown_name(each.file)}: it {each.says}"


def _look(workspaces: Sequence[Workspace], roll: RollCall) -> Found:
    states = [task.state for task in roll.tasks()]
    unread = {
        each.registry: each.error
        for each in states
        if each.error is not None and each.hot_journal is None
    }
    look = find_issues(map(workspace_source, workspaces), (each.source for each in states), unread)
    for workspace in roll.workspaces:
        if workspace.error is not None and not os.access(workspace.path, os.R_OK | os.X_OK):
            look.files.append(unreadable(workspace.path, workspace.error))
    return look


# --- sessions -----------------------------------------------------------------


def _sessions(
    roll: RollCall,
    refused: Mapping[str, str],
    endings: Mapping[AgentKey, _Ending],
    where: Where,
) -> Iterator[Issue]:
    for row in roll.agents():
        if row.verdict is Verdict.ZOMBIE:
            yield _zombie(row, refused)
        elif row.verdict in _OF_SESSIONS:
            yield _OF_SESSIONS[row.verdict](row, endings[row.key])
    for session in roll.orphans:
        yield Issue(
            IssueKind.ORPHAN,
            None,
            None,
            "session",
            session.name,
            "is named like an agent's, and in no registry",
            advice=f"if it is nobody's, end it: {_kill(session.name, where.options)}",
        )


def _kill(name: str, options: Iterable[tuple[str, str]]) -> str:
    command = command_line("muster", "kill", names=(name,), options=options)
    if command is not None:
        return command
    return f"select {whole_name(name)} in the monitor and press k; its name cannot be typed"


class _Ending(NamedTuple):
    """What ends an agent's session, or why muster would not."""

    command: str = ""
    why: str = ""

    def advice(self, lead: str) -> str:
        return f"{lead}: {self.command}" if self.command else self.why


def _endings(roll: RollCall, where: Where) -> dict[AgentKey, _Ending]:
    """How to end the sessions of agents that are of no use any more."""
    rows = [row for row in roll.agents() if row.verdict in _OF_SESSIONS]
    plan = checked_kill(plan_kill(roll, rows), roll)
    planned = {step.row.key for step in plan.steps if step.row is not None}
    refused = dict(plan.refused)
    named = {row.key.id: row for row in rows_of(roll, [row.key.id for row in rows])[0]}
    found: dict[AgentKey, _Ending] = {}
    for row in rows:
        one = named.get(row.key.id)
        if row.key not in planned:
            why = refused.get(row.key.id, "it is in its registry twice")
            found[row.key] = _Ending(why=f"muster would not end its session: {why}")
        elif one is not None and one.key != row.key:
            path = shown_name(row.key.registry)
            why = f"its id is taken for another entry of {path}: mend that"
            found[row.key] = _Ending(why=why)
        else:
            options = where.options if one is not None else where.only(row.key.registry)
            found[row.key] = _Ending(_kill(row.key.id, options))
    return found


def _zombie(row: AgentRow, refused: Mapping[str, str]) -> Issue:
    return Issue(
        IssueKind.ZOMBIE,
        row.key.registry,
        row.key.id,
        "status",
        row.record.status,
        f"is {row.record.status}, and its session is gone",
        "terminated",
        refused.get(row.key.id, ""),
    )


def _stalled(row: AgentRow, ending: _Ending) -> Issue:
    return Issue(
        IssueKind.STALLED,
        row.key.registry,
        row.key.id,
        "last_update",
        row.record.last_update,
        f"is {row.record.status}, its session lives, and {row.note}",
        advice=ending.advice("if it waits for nobody, end it"),
    )


def _leaked(row: AgentRow, ending: _Ending) -> Issue:
    return Issue(
        IssueKind.LEAKED,
        row.key.registry,
        row.key.id,
        "status",
        row.record.status,
        f"is {row.record.status}, and its session is there still",
        advice=ending.advice("end its session"),
    )


_OF_SESSIONS = {
    Verdict.STALLED: _stalled,
    Verdict.LEAKED: _leaked,
}
