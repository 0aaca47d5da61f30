"""`muster report`: says how far an agent is. Asks no tmux."""

from __future__ import annotations

import argparse
import dataclasses

from registry.schema import ACTIVE_STATUSES, TERMINAL_STATUSES
from registry.text import quoted_name
from tui.cli.context import find
from tui.cli.help import Page
from tui.cli.output import exit_code_after
from tui.cli.parser import add_json, add_settings, add_socket, add_workspace_option
from tui.text.sanitize import as_json

PAGE = Page(
    """\
Says how far an agent is: its status, its progress and a message, in both registries
and in progress/AGENT_progress.jsonl. A terminal status ends the agent there; no
session is touched.""",
    (("muster report fixer-215911-8c90c7 --progress 40 half way", ""),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("--task", metavar="ID", help="which task")
    parser.add_argument("agent", metavar="AGENT", help="an agent's whole id")
    parser.add_argument("message", nargs="*", metavar="MESSAGE", help="in words")
    statuses = sorted(ACTIVE_STATUSES | TERMINAL_STATUSES)
    parser.add_argument("--status", choices=statuses, help="its status (default: as it is)")
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
    """`muster report`."""
    from tui.cli.lookup import task_with

    workspaces = find(options)
    task = task_with(workspaces, options.agent, options.task)
    done = task.report(
        options.agent,
        status=options.status,
        progress=options.progress,
        message=" ".join(options.message),
    )
    if options.json:
        print(as_json(dataclasses.asdict(done)))
    return exit_code_after(done.problems)
