"""`muster demo`: runs the monitor on a temporary workspace and a private tmux server."""

from __future__ import annotations

import argparse

from tui.cli.context import settings_of
from tui.cli.help import Page
from tui.cli.output import need_screen
from tui.cli.parser import add_screen, add_settings

PAGE = Page(
    """\
Creates a temporary workspace and a private tmux server, and starts about twenty agents
that work, stall, die and leak. Then opens the monitor. When you quit, muster ends the
agents and removes the workspace. The demo never uses your own tmux server.

With --sqlite, two of the three tasks are in a SQLite database, as today's orchestrator
keeps them. They have phases and a reviewer. The third task is in JSON files.""",
    (("muster demo --sqlite", "a workspace of today's orchestrator"),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_screen(parser)
    parser.add_argument(
        "--sqlite", action="store_true", help="keep most agents in a SQLite database"
    )


def run(options: argparse.Namespace) -> int:
    """Runs `muster demo`."""
    need_screen("the demo")
    from tui.demo.run import run_demo

    return run_demo(settings_of(options), sqlite=options.sqlite)
