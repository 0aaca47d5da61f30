"""`muster undo`: takes back a change of the registries."""

from __future__ import annotations

import argparse

from tui.cli.context import refuse_if_read_only, task_states
from tui.cli.help import Page
from tui.cli.output import NOT_ALL_DONE, USAGE, complain, lines_of
from tui.cli.parser import (
    add_asking,
    add_json,
    add_settings,
    add_socket,
    add_workspace_option,
)
from tui.text.sanitize import as_json_line

PAGE = Page(
    """\
Takes back the last change of the registries, or the change with the given ID (see
`muster log`). Restores each field and counter in both registries. A field that another
process has changed after the action is not restored, and neither is a killed agent.
Shows the plan and asks first.""",
    (("muster undo --dry-run", "what would that take back?"),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspace_option(parser)
    parser.add_argument("action_id", nargs="?", metavar="ID", help="the action's id")
    add_asking(parser, of_deaths=False)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Runs `muster undo`."""
    from tui.actions.undo import (
        NoSuchActionError,
        NothingToUndoError,
        carry_out_undo,
        plan_undo,
        undo_refusal,
    )
    from tui.cli.confirm import propose
    from tui.cli.format_plan import undo_json

    refuse_if_read_only(options)
    states, workspaces = task_states(options)
    try:
        plan = plan_undo(states, workspaces, options.action_id)
    except NothingToUndoError as error:
        if options.json:
            print(as_json_line({"action": "undo", "error": str(error)}))
        else:
            complain(*lines_of(error))
        return USAGE if isinstance(error, NoSuchActionError) else NOT_ALL_DONE
    if not plan.preview.steps and not options.json:
        complain(f"cannot be undone: {undo_refusal(plan)}")
        return NOT_ALL_DONE
    return propose(
        plan.preview,
        undo_json(plan.action_id, plan.preview),
        lambda: carry_out_undo(plan, options.reason),
        options,
    )
