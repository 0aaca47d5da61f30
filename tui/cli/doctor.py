"""`muster doctor`: what is wrong, and setting it right."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from tui.cli.context import find, policy_of, refuse_if_read_only, tmux_of
from tui.cli.help import Page
from tui.cli.output import NOT_ALL_DONE, say
from tui.cli.parser import (
    add_asking,
    add_json,
    add_settings,
    add_socket,
    add_workspace_option,
    add_workspaces,
)
from tui.errors import UsageError
from tui.text.sanitize import as_json

if TYPE_CHECKING:
    from tui.actions.outcome import Outcome

PAGE = Page(
    """\
Looks for what is wrong: zombies, leaked, orphaned and stalled agents; counters,
statuses and lists of the two registries that do not agree; parents, loops and ids
that nobody can follow; files that cannot be read, and commits that were cut off.
Every finding names the file and the field, and what --fix writes, or what to do.

--fix shows the plan, asks, and sets right just that, if it still is so; on record,
so that `muster undo` takes it back. It ends no session: `muster kill` does.""",
    (("muster doctor --fix --dry-run", "what would it write?"),),
    "0 healthy; 1 findings; 2 could not tell (tmux gave no answer and agents are\n"
    "  active, or a file cannot be read) or wrong usage. With --fix: of what is left",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    # Takes workspaces as `list` does, and as the commands do that it stands beside.
    add_workspaces(parser)
    add_workspace_option(parser, "named")
    parser.add_argument("--fix", action="store_true", help="set right what can be")
    add_asking(parser)
    add_json(parser)
    # Its other codes say what was found.
    parser.set_defaults(code_without_reader=128 + signal.SIGPIPE)


def run(options: argparse.Namespace) -> int:
    """`muster doctor`."""
    from tui.cli.confirm import propose
    from tui.cli.format_examination import (
        examination_json,
        examination_lines,
        exit_code,
        fix_json,
    )
    from tui.doctor.describe import propose_fix
    from tui.doctor.examine import examine
    from tui.doctor.fix import carry_out_fix
    from tui.doctor.location import where_of
    from tui.live.collector import take_roll

    options.workspaces += options.named
    if options.fix:
        options.code_without_reader = NOT_ALL_DONE
        refuse_if_read_only(options)
    elif options.dry_run or options.yes or options.reason:
        raise UsageError("--dry-run, --yes and --reason go with --fix")
    tmux = tmux_of(options)
    workspaces = find(options)
    where = where_of(workspaces, tmux.socket)
    examination = examine(workspaces, take_roll(workspaces, tmux, policy_of(options)), where)
    if not options.fix:
        if options.json:
            print(as_json(examination_json(examination)))
        else:
            say(examination_lines(examination))
        return exit_code(examination)
    carried_out: list[Outcome] = []

    def do() -> Outcome:
        carried_out.append(carry_out_fix(examination, tmux, options.reason))
        return carried_out[0]

    propose(propose_fix(examination), fix_json(examination), do, options)
    if carried_out:
        examination = examine(workspaces, take_roll(workspaces, tmux, policy_of(options)), where)
    if not options.json and (carried_out or not examination.findings):
        say(examination_lines(examination))
    return exit_code(examination)
