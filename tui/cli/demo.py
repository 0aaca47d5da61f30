"""`muster demo`: a workspace and a private tmux server to try it on."""

from __future__ import annotations

import argparse

from tui.cli.context import settings_of
from tui.cli.help import Page
from tui.cli.output import on_terminal
from tui.cli.parser import add_screen, add_settings
from tui.errors import UsageError

PAGE = Page(
    """\
Makes a temporary workspace and a private tmux server, deploys a dozen agents
that work, stall, die and leak, and opens the monitor on it. Everything is gone
when you quit. Your own tmux is never touched.""",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_screen(parser)


def run(options: argparse.Namespace) -> int:
    """`muster demo`."""
    if not on_terminal():
        raise UsageError("the demo needs a terminal")
    from tui.demo.run import run_demo

    return run_demo(settings_of(options))
