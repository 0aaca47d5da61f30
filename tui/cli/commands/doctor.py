"""`muster doctor`: examines the registries and sessions, and repairs the registries."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from tui.cli.context import find, find_all, policy_of, refuse_if_read_only, tmux_of
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
Reports these problems:

  zombies; leaked, orphaned and stalled sessions
  counters, statuses and lists that differ between the two registries
  statuses in a database that differ from the agents' newer reports
  parents in a database that differ from its hierarchy, and missing tasks
  statuses that muster does not know
  missing parents, parents in a loop, and ids that occur twice
  agents that have files, but that no registry lists
  files that cannot be read, damaged databases, and interrupted commits

Every finding names the file and the field, and what --fix writes or what you can do.

--fix shows the plan, asks, and repairs the findings that are still present. The
audit log records the repair, so `muster undo` can take it back. --fix ends no
session; use `muster kill`.""",
    (("muster doctor --fix --dry-run", "what would --fix write?"),),
    "0 healthy; 1 findings; 2 unknown (a file cannot be read, or tmux did not answer\n"
    "  and agents are active), or wrong usage. With --fix: the state after the repair",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    # Workspaces are words, as for `list`, or values of -w, as for `kill` and `complete`.
    add_workspaces(parser)
    add_workspace_option(parser, "named")
    parser.add_argument(
        "--fix", action="store_true", help="repair the findings that can be repaired"
    )
    add_asking(parser)
    add_json(parser)
    # The other exit codes are results of the examination.
    parser.set_defaults(code_without_reader=128 + signal.SIGPIPE)


def run(options: argparse.Namespace) -> int:
    """Runs `muster doctor`."""
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
    from tui.live.once import take_roll

    options.workspaces += options.named
    if options.fix:
        options.code_without_reader = NOT_ALL_DONE
        refuse_if_read_only(options)
    elif options.dry_run or options.yes or options.reason:
        raise UsageError("--dry-run, --yes and --reason need --fix")
    tmux = tmux_of(options)
    workspaces = find_all(options) if options.fix else find(options)
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
