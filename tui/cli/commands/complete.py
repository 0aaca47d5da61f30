"""`muster complete`: gives agents a terminal status."""

from __future__ import annotations

import argparse

from tui.cli.context import find_all, policy_of, refuse_if_read_only, tmux_of
from tui.cli.help import Page
from tui.cli.parser import (
    add_asking,
    add_json,
    add_settings,
    add_socket,
    add_workspace_option,
)
from tui.errors import UsageError

PAGE = Page(
    """\
Gives active agents a terminal status in both registries. No session is changed.
An agent that reported its end, and that is gone, gets the status and the message of its
report.
Shows the plan and asks first. A zombie is not changed if its session has come back after
the plan was made.""",
    (("muster complete --zombies --as terminated", "clean up after a crash"),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("agents", nargs="*", metavar="AGENT", help="the complete id of an agent")
    add_asking(parser)
    parser.add_argument("--zombies", action="store_true", help="all zombies")
    parser.add_argument(
        "--as",
        dest="status",
        choices=("completed", "terminated"),
        help="the new status (default: what the agent itself reported, or else completed)",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Runs `muster complete`."""
    from tui.actions.plan_complete import checked_complete
    from tui.cli.confirm import carry_out_plan
    from tui.cli.lookup import exit_code_if_all_found
    from tui.cli.suggest import nearest
    from tui.live.once import take_roll
    from tui.model.roll import Verdict
    from tui.model.select import rows_of

    refuse_if_read_only(options)
    if bool(options.agents) == options.zombies:
        raise UsageError("complete takes either the ids of agents or --zombies")
    tmux = tmux_of(options)
    roll = take_roll(find_all(options), tmux, policy_of(options))
    if options.zombies:
        rows = [row for row in roll.agents() if row.verdict is Verdict.ZOMBIE]
    else:
        rows, problems = rows_of(roll, options.agents)
        if problems:
            raise UsageError(*problems, *nearest(roll, options.agents, problems))
    plan = checked_complete(
        roll,
        rows,
        options.status or "completed",
        by_verdict=options.zombies,
        as_reported=options.status is None,
    )
    done = carry_out_plan(plan, tmux, options)
    if options.zombies:
        return max(done, exit_code_if_all_found(roll, rows, "zombie", options))
    return done
