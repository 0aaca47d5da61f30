"""`muster show`: prints everything about one agent."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from registry.errors import RegistryError
from tui.cli.context import find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, say
from tui.cli.parser import (
    add_agent,
    add_json,
)
from tui.text.sanitize import as_json

if TYPE_CHECKING:
    from registry.agent_output import Line, Source
    from registry.audit import Entry
    from tui.cli.format_agent import About
    from tui.model.roll import AgentRow, RollCall

_LAST = 5
"""How many progress reports, and how many findings, are shown."""

Value = TypeVar("Value")

PAGE = Page(
    """\
Prints everything about one agent: the verdict and its reason, every field of its
entry, its session and processes, parent and children, and its files. Then prints its
last reports and findings, and its actions in the audit log. If several entries have the
id, the active entry is shown.""",
    (
        ("muster show fixer", "why is the fixer a zombie?"),
        ("muster show fixer-215911-8c90c7 --json | jq .entry.prompt", "one field of the entry"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_agent(parser)
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster show`."""
    from tui.cli.format_agent import about_json, about_lines
    from tui.cli.lookup import find_row
    from tui.live.once import take_roll

    roll = take_roll(find(options), tmux_of(options), policy_of(options))
    about = gather(roll, find_row(roll, options.agent, options.task))
    now = time.time()
    if options.json:
        print(as_json(about_json(about, now)))
    else:
        say(about_lines(about, now))
    return DONE


def gather(roll: RollCall, row: AgentRow) -> About:
    """Reads everything about an agent; read errors become messages in `About.problems`."""
    from registry.agent_output import FINDINGS, PROGRESS
    from registry.audit import Log, read_logs
    from tui.actions.undo import logs_of
    from tui.cli.format_agent import About
    from tui.details.sources import Fields, last_report, stored_report
    from tui.host.process.process_tree import (
        origin_of,
        processes_from,
        session_processes,
    )

    task = next(task for task in roll.tasks() if row in task.agents)
    state, task_source, agent = task.state, task.state.source, row.key
    problems = [] if state.database is None else [str(state.database)]

    def read(function: Callable[[], Value], default: Value) -> Value:
        try:
            return function()
        except (RegistryError, ValueError) as error:
            problems.append(str(error))
            return default

    def last(source: Source[Line]) -> tuple[Line, ...]:
        with task_source.output(agent.id, source) as file:
            return file.last(_LAST).records

    entry = read(lambda: task_source.entry(agent.id, agent.ordinal), None)
    listed = read(lambda: task_source.listed_entry(agent.id), None)
    log = read(lambda: read_logs(logs_of([state], [state.workspace])), Log((), ()))
    problems += log.unread
    report = read(lambda: last_report(task_source, agent.id), None) or stored_report(entry)
    answer, session = roll.answer, row.session
    processes = None
    if session is not None and not answer.foreign_pids:
        processes = session_processes(origin_of(session, answer))
    elif row.process is not None and row.process.identity is not None:
        processes = processes_from({None: row.process.identity})[None].processes
    return About(
        row=row,
        task=task,
        more=Fields(entry, task_source.output_facts(agent.id), listed, processes, report),
        reports=read(lambda: last(PROGRESS), ()),
        findings=read(lambda: last(FINDINGS), ()),
        log=log,
        actions=tuple(entry for entry in log.entries if _concerns(entry, agent.id)),
        problems=tuple(problems),
    )


def _concerns(entry: Entry, agent_id: str) -> bool:
    owner = entry.session.agent if entry.session is not None else None
    return owner == agent_id or any(change.agent == agent_id for change in entry.changes)
