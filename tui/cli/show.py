"""`muster show`: everything about one agent."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tui.cli.context import find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, say
from tui.cli.parser import add_json, add_settings, add_socket, add_workspace_option
from tui.errors import UsageError
from tui.text.sanitize import as_json

if TYPE_CHECKING:
    from tui.model.roll import RollCall

PAGE = Page(
    """\
Prints all that is known of one agent: the verdict and why, every field of its entry
with times in words, its session and processes, parent and children, its files, its
last reports and findings, and what was done to it with muster. AGENT is a whole id.
Of agents that are there twice under one id, the one that is at work.""",
    (
        ("muster show fixer-215911-8c90c7", "why is it a zombie?"),
        ("muster show fixer-215911-8c90c7 --json | jq .entry.prompt", "one field of it"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("agent", metavar="AGENT", help="an agent's whole id")
    parser.add_argument("--task", metavar="ID", help="which task, if several have such an agent")
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


def run(options: argparse.Namespace) -> int:
    """`muster show`."""
    from tui.cli.format_agent import about_json, about_lines, gather
    from tui.cli.suggest import nearest
    from tui.live.collector import take_roll
    from tui.model.select import rows_of

    roll = take_roll(find(options), tmux_of(options), policy_of(options))
    rows, problems = rows_of(_of_task(roll, options.task), [options.agent])
    if problems:
        raise UsageError(*problems, *nearest(roll, [options.agent], problems))
    about = gather(roll, rows[0])
    if options.json:
        print(as_json(about_json(about)))
    else:
        say(about_lines(about, time.time()))
    return DONE


def _of_task(roll: RollCall, task_id: str | None) -> RollCall:
    """The part of a roll call that is one task's, if one is named."""
    if task_id is None:
        return roll
    workspaces = tuple(
        replace(
            each,
            tasks=tuple(
                task
                for task in each.tasks
                if task_id in (task.task_id, task.state.registry.parent.name)
            ),
        )
        for each in roll.workspaces
    )
    return replace(roll, workspaces=workspaces)
