"""`muster list`: the roll, once. Imports nothing of what is done about it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time

from tui.cli.context import filter_of, find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, is_terminal, say
from tui.cli.parser import add_json, add_settings, add_socket, add_where, add_workspaces
from tui.model.verdicts import verdict_lines
from tui.text.sanitize import json_pieces
from tui.view.sort import Order, urgency_words

_URGENT = ", ".join(urgency_words())

_VERDICTS = "\n".join(f"  {line}" for line in verdict_lines())

PAGE = Page(
    f"""\
Calls the roll once and prints it: a verdict on every agent, orphaned sessions, what
cannot be read. With --json in a shape that scripts can rely on: `schema` grows when a
field changes its meaning or goes, and new fields may come.

--where chooses by a filter, as `/` does in the monitor:

  word             in an id, type, task, status, verdict or session
  KEY:value        in that field: id, type, task, status, verdict, session, parent,
                   workspace
  -word -KEY:value not so
  one,other        either; also KEY:one,other
  "two words"      as they stand; also KEY:"two words"

All of it must match, whatever the case; a part of a word is enough. Registries that
cannot be read are listed all the same, and the counts are of the whole roll. JSON has
what was left out by in `filter` (`where`, `hide_finished`), or null there.

--sort puts agents in that order within their task, and tasks by their first agent:
urgency ({_URGENT}),
age (the oldest first), progress (the least first), id.

The verdicts, in the order in which they are counted:

{_VERDICTS}""",
    (
        ("muster list --where verdict:zombie,stalled", "who needs looking after"),
        ("muster list --hide-finished --sort urgency", "everybody at work, the worst first"),
        ("muster list --json --where 'type:fixer -status:blocked'", "for a script"),
    ),
    "0 it could list, whatever tmux and the files said (`tmux.state`, `error`); 2 wrong usage",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    add_where(parser)
    parser.add_argument(
        "--sort",
        choices=[each.value for each in Order],
        help="in this order, not by who started whom",
    )
    parser.set_defaults(hide_finished=False, code_without_reader=DONE)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", dest="hide_finished", action="store_false", help="all (default)")
    which.add_argument("--hide-finished", action="store_true", help="without finished agents")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """`muster list`."""
    from tui.cli.format_roll import chosen_by, roll_json, roll_table
    from tui.live.collector import take_roll
    from tui.view.subset import arrange, select

    wanted = filter_of(options.where)
    roll = take_roll(find(options), tmux_of(options), policy_of(options))
    roll = select(roll, wanted, hide_finished=options.hide_finished)
    if options.sort is not None:
        roll = arrange(roll, Order(options.sort))
    chosen = bool(wanted) or options.hide_finished
    if options.json:
        by = chosen_by(options.where, hide_finished=options.hide_finished)
        for piece in json_pieces(roll_json(roll, by if chosen else None)):
            sys.stdout.write(piece)
        print()
        return DONE
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    words = [*options.where, *(["finished ones hidden"] if options.hide_finished else [])]
    say(roll_table(roll, time.time(), columns, "; ".join(words) if chosen else ""))
    return DONE
