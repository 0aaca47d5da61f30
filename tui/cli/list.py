"""`muster list`: the roll, once. Imports nothing of what is done about it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from tui.cli.context import DONE, find, say, tmux_of
from tui.cli.format_roll import roll_json, roll_table
from tui.cli.output import is_terminal
from tui.config.load import policy_of
from tui.errors import UsageError
from tui.live.collector import take_roll
from tui.text.sanitize import as_json
from tui.view.filter import Filter, parse
from tui.view.sort import Order
from tui.view.subset import arrange, select


def show_list(options: argparse.Namespace) -> int:
    """`muster list`."""
    wanted = filter_of(options.where)
    roll = take_roll(find(options), tmux_of(options), policy_of(options))
    roll = select(roll, wanted, hide_finished=options.hide_finished)
    if options.sort is not None:
        roll = arrange(roll, Order(options.sort))
    chosen = bool(wanted) or options.hide_finished
    if options.json:
        by = chosen_by(options.where, hide_finished=options.hide_finished)
        print(as_json(roll_json(roll, by if chosen else None)))
        return DONE
    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    words = [*options.where, *(["finished ones hidden"] if options.hide_finished else [])]
    say(roll_table(roll, time.time(), columns, "; ".join(words) if chosen else ""))
    return DONE


def filter_of(where: Sequence[str]) -> Filter:
    """What ``--where`` leaves in; all of several must match.

    Raises:
        UsageError: There is no such key, or one has no value.
    """
    # A quote that is not closed ends with its option.
    read = [parse(each) for each in where]
    problems = [problem for each in read for problem in each.problems]
    problems += [f"{part!r}: a value is missing" for each in read for part in each.unfinished]
    if problems:
        raise UsageError(*problems)
    return Filter(tuple(term for each in read for term in each.terms))


def chosen_by(where: Sequence[str], *, hide_finished: bool = False) -> dict[str, Any]:
    """What a part of a roll call was chosen by, for its JSON."""
    return {"where": list(where), "hide_finished": hide_finished}
