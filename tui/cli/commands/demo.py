"""`muster demo`: runs the monitor on a temporary workspace and a private tmux server."""

from __future__ import annotations

import argparse

from tui.cli.context import settings_of
from tui.cli.help import Page
from tui.cli.output import on_terminal
from tui.cli.parser import add_screen, add_settings
from tui.errors import UsageError

PAGE = Page(
    """\
Creates a temporary workspace and a private tmux server, and starts about twenty agents
that work, stall, die and leak. Then opens the monitor. When you quit, muster ends the
agents and removes the workspace. The demo never uses your own tmux server.""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_screen(parser)


def run(options: argparse.Namespace) -> int:
    """Runs `muster demo`."""
    if not on_terminal():
        raise UsageError("the demo needs a terminal")
    from tui.demo.run import run_demo

    return run_demo(settings_of(options))
