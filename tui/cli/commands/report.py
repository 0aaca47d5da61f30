"""`muster report`: sets the status and progress of an agent. Does not query tmux."""

from __future__ import annotations

import argparse
import dataclasses

from registry.schema import ACTIVE_STATUSES, DATABASE_STATUSES, TERMINAL_STATUSES
from registry.text import quoted_name
from tui.cli.context import find_all
from tui.cli.help import Page
from tui.cli.output import exit_code_after
from tui.cli.parser import add_json, add_settings, add_socket, add_workspace_option
from tui.text.sanitize import as_json

_EVERYWHERE = ", ".join(sorted(ACTIVE_STATUSES | TERMINAL_STATUSES))
_ONLY_THERE = ", ".join(sorted(DATABASE_STATUSES - ACTIVE_STATUSES - TERMINAL_STATUSES))

PAGE = Page(
    """\
Writes the status, the progress and a message of an agent to both registries, or to the
database, and to progress/AGENT_progress.jsonl. A terminal status also sets the end time
in the registries. The session is not changed.""",
    (("muster report fixer-215911-8c90c7 --progress 40 half way", ""),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("--task", metavar="ID", help="the task")
    parser.add_argument("agent", metavar="AGENT", help="the complete id of an agent")
    parser.add_argument("message", nargs="*", metavar="MESSAGE", help="any text")
    parser.add_argument(
        "--status",
        choices=sorted(DATABASE_STATUSES),
        metavar="STATUS",
        help=f"the new status: {_EVERYWHERE}; only in a database: {_ONLY_THERE} "
        "(default: unchanged)",
    )
    parser.add_argument("--progress", type=_percent, metavar="PERCENT", help="0 to 100")
    add_json(parser)


def _percent(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(
            f"must be a number from 0 to 100, not {quoted_name(text, 80)}"
        )
    return int(number) if number.is_integer() else number


def run(options: argparse.Namespace) -> int:
    """Runs `muster report`."""
    from tui.cli.lookup import task_with

    workspaces = find_all(options)
    task = task_with(workspaces, options.agent, options.task)
    report = task.report(
        options.agent,
        status=options.status,
        progress=options.progress,
        message=" ".join(options.message),
    )
    if options.json:
        print(as_json(dataclasses.asdict(report)))
    return exit_code_after(report.problems)
