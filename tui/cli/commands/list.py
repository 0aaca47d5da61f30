"""`muster list`: prints the roll call once. Does not import `tui.actions`, to start fast."""

from __future__ import annotations

import argparse
import sys
import time

from tui.cli.context import filter_of, find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, is_terminal, say, terminal_columns
from tui.cli.parser import add_json, add_settings, add_socket, add_where, add_workspaces
from tui.model.verdicts import verdict_lines
from tui.text.sanitize import json_pieces
from tui.view.sort import Order, urgency_words

_URGENT = ", ".join(urgency_words())

_VERDICTS = "\n".join(f"  {line}" for line in verdict_lines())

PAGE = Page(
    f"""\
Prints the verdict on every agent, the orphaned sessions, and the files that cannot be
read, once. The format of --json is stable: `schema` is increased when a field changes
its meaning or is removed. New fields can be added at any time.

--where filters the agents, as `/` does in the monitor:

  word             matches an id, type, task, status, verdict or session
  KEY:value        matches one field: id, type, task, status, verdict, session, parent,
                   workspace
  -word -KEY:value excludes the matches
  one,other        matches either word; also KEY:one,other
  "two words"      matches both words with the space; also KEY:"two words"

An agent must match all terms. Case is ignored, and a part of a word is enough.
Unreadable registries are always listed. The counts include all agents. In JSON,
`filter` has the conditions (`where`, `hide_finished`); null if all agents are listed.

--sort orders the agents within their task, and the tasks by their first agent:
urgency ({_URGENT}),
age (the oldest first), progress (the least first), id.

The verdicts, in the order of the counts:

{_VERDICTS}""",
    (
        ("muster list --where verdict:zombie,stalled", "agents with a problem"),
        ("muster list --hide-finished --sort urgency", "all active agents, the worst first"),
        ("muster list --json --where 'type:fixer -status:blocked'", "for a script"),
    ),
    "0 the list was printed, even if tmux or a file could not be read (see `tmux.state`\n"
    "  and `error`); 2 wrong usage",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    add_where(parser)
    parser.add_argument(
        "--sort",
        choices=[order.value for order in Order],
        help="the order, instead of each agent below its parent",
    )
    parser.set_defaults(hide_finished=False, code_without_reader=DONE)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all", dest="hide_finished", action="store_false", help="all agents (default)"
    )
    which.add_argument("--hide-finished", action="store_true", help="hide finished agents")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Runs `muster list`."""
    from tui.cli.format_roll import chosen_by, roll_json, roll_table
    from tui.live.once import take_roll
    from tui.view.subset import arrange, select

    wanted = filter_of(options.where)
    roll = take_roll(find(options), tmux_of(options), policy_of(options))
    roll = select(roll, wanted, hide_finished=options.hide_finished)
    if options.sort is not None:
        roll = arrange(roll, Order(options.sort))
    chosen = bool(wanted) or options.hide_finished
    if options.json:
        by = chosen_by(options.where, hide_finished=options.hide_finished)
        # Imported late: the table has no reports.
        from tui.details.sources import last_reports

        document = roll_json(roll, by if chosen else None, last_reports(roll))
        for piece in json_pieces(document):
            sys.stdout.write(piece)
        print()
        return DONE
    columns = terminal_columns() if is_terminal(sys.stdout) else None
    words = [*options.where, *(["finished agents hidden"] if options.hide_finished else [])]
    say(roll_table(roll, time.time(), columns, "; ".join(words) if chosen else ""))
    return DONE
