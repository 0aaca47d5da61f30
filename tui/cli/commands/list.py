"""`muster list`: prints the roll call once. Does not import `tui.actions`, to start fast."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry.text import quoted_name, shown_name
from tui.cli.context import filter_of, find, policy_of, tmux_of
from tui.cli.format_columns import COLUMNS, FLAT, TABLE, flat_lines
from tui.cli.help import Page
from tui.cli.output import DONE, complain, is_terminal, say, terminal_columns, wants_color
from tui.cli.parser import add_json, add_settings, add_socket, add_where, add_workspaces
from tui.model.verdicts import verdict_lines
from tui.text.sanitize import json_pieces
from tui.view.sort import Order, urgency_words

if TYPE_CHECKING:
    from tui.model.roll import RollCall

_URGENT = ", ".join(urgency_words())

_NAMES = ", ".join(COLUMNS)

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
age (the oldest first), progress (the least first), id. With --flat, orders all agents.

--flat prints a title, then one line for each agent and orphan, for awk and cut. Each
line has the same number of words: an empty field is `-`, and a blank in a field is
\\x20; only the last column may have several words. `progress` is in percent, and
`heard`, the age of the last report or output, in seconds. Warnings are printed on
standard error. In a pipe, no line is cut.

--columns chooses the columns of the table or of --flat, separated by commas:
{_NAMES}

The verdicts, in the order of the counts:

{_VERDICTS}""",
    (
        ("muster list --where verdict:zombie,stalled", "agents with a problem"),
        ("muster list --hide-finished --sort urgency", "all active agents, the worst first"),
        ("muster list --flat | awk '$1 == \"zombie\" {print $2}'", "the ids of the zombies"),
        ("muster list --columns agent,note,report", "why, and what each agent did last"),
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
    parser.add_argument("--flat", action="store_true", help="one line for each agent")
    parser.add_argument(
        "--columns", type=_names, metavar="NAMES", help="only these columns, in this order"
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours; auto (default): on a terminal, without the variable NO_COLOR",
    )
    add_json(parser)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if name not in COLUMNS:
            raise argparse.ArgumentTypeError(
                f"there is no column {quoted_name(name, 40)}; the columns are: {_NAMES}"
            )
    return names


def run(options: argparse.Namespace) -> int:
    """Runs `muster list`."""
    from tui.cli.format_roll import chosen_by, roll_json, roll_table
    from tui.details.sources import last_reports
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
        document = roll_json(roll, by if chosen else None, last_reports(roll))
        for piece in json_pieces(document):
            sys.stdout.write(piece)
        print()
        return DONE
    columns = terminal_columns() if is_terminal(sys.stdout) else None
    names = options.columns or (FLAT if options.flat else TABLE)
    reports = last_reports(roll) if "report" in names else {}
    now, color = time.time(), wants_color(options.color)
    if options.flat:
        for warning in _warnings(roll):
            complain(warning)
        order = Order(options.sort) if options.sort is not None else None
        say(flat_lines(roll, names, reports, now, columns, order), color=color)
        return DONE
    words = [*options.where, *(["finished agents hidden"] if options.hide_finished else [])]
    filtered = "; ".join(words) if chosen else ""
    say(roll_table(roll, now, columns, filtered, names, reports), color=color)
    return DONE


def _warnings(roll: RollCall) -> Iterator[str]:
    """Yields the warnings that the table has between its lines."""
    from tui.cli.lookup import unread_registries
    from tui.model.warnings import notices

    yield from dict.fromkeys((*notices(roll), *unread_registries(roll, nearby=False)))
    for workspace in roll.workspaces:
        if workspace.error:
            yield f"{shown_name(workspace.path)}: {workspace.error}"
    if not roll.orphans_known:
        yield "orphans are unknown: a registry that may list them was not read"
