"""`muster log`: prints the audit log."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.text import quoted_name
from tui.cli.context import task_states
from tui.cli.help import Page
from tui.cli.output import DONE, NOT_ALL_DONE, complain, say, wait_for_reader
from tui.cli.parser import add_json, add_settings, add_socket, add_workspaces
from tui.text.sanitize import as_json_line

if TYPE_CHECKING:
    from registry.audit import Entry, Log

FOLLOW_EVERY = 0.5
"""Seconds between two readings of the logs with ``--follow``."""

_SHOWN = 20

# Seconds to wait for the outcome of an intended action, before the intent is printed alone.
_OUTCOME_WITHIN = 5.0

PAGE = Page(
    """\
Prints the changes that operators made with muster, oldest first: time, user, reason,
result, and each changed field with its old and new value. With --json, prints one record
of the log per line.""",
    (("muster log -f", "what do the other operators do?"),),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    parser.add_argument(
        "--follow", "-f", action="store_true", help="print new actions until interrupted"
    )
    parser.add_argument("--all", action="store_true", help="print all actions of the log")
    parser.add_argument(
        "-n",
        dest="number",
        type=_positive,
        help="print only the last N actions (default: 20; with --json all)",
    )
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(
            f"must be a whole number above 0, not {quoted_name(text, 80)}"
        )
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Runs `muster log`."""
    from registry.audit import read_logs
    from tui.actions.audit_text import log_lines, of_last_actions, unread
    from tui.actions.undo import logs_of

    logs = logs_of(*task_states(options))
    log = read_logs(logs)
    if options.json:
        for record in _last(log, None if options.all else options.number):
            print(as_json_line(record))
    else:
        number = options.number or _SHOWN
        shown, actions = of_last_actions(log.entries, number)
        if options.all:
            shown = list(log.entries)
        elif number < actions:
            print(f"The last {number} of {actions} actions; --all shows all.")
        say(log_lines(log, shown))
    for problem in unread(log):
        complain(problem)
    if not (log.entries or log.unread or options.follow or options.json):
        print("The audit log is empty.")
    if options.follow:
        _follow(logs, log, options.json)
    return NOT_ALL_DONE if log.unread else DONE


def _last(log: Log, count: int | None) -> Iterator[Mapping[str, Any]]:
    """Yields the records of the last `count` actions; all records if `count` is None."""
    from tui.actions.audit_text import of_last_actions

    kept = {entry.key for entry in of_last_actions(log.entries, count or 0)[0]}
    for record in log.records:
        if count is None or (record.get("id"), record.get("part", 0)) in kept:
            yield record


def _follow(logs: tuple[Path, ...], log: Log, raw: bool) -> None:
    from registry.audit import read_logs
    from tui.actions.audit_text import log_lines

    shown = {entry.key for entry in log.entries}
    printed = len(log.records)
    while True:
        sys.stdout.flush()
        wait_for_reader(FOLLOW_EVERY)
        log = read_logs(logs)
        if raw:
            # A rotation removes records that were printed already.
            printed = min(printed, len(log.records))
            for record in log.records[printed:]:
                print(as_json_line(record))
            printed = len(log.records)
            continue
        ready = [entry for entry in _ready(log) if entry.key not in shown]
        shown.update(entry.key for entry in ready)
        say(log_lines(log, ready))


def _ready(log: Log) -> Iterator[Entry]:
    from registry.audit import State
    from registry.schema import parse_time

    for entry in log.entries:
        began = parse_time(entry.at)
        if (
            entry.state is not State.INTENDED
            or began is None
            # If the clock was set back, the age is unknown, so the entry is printed at once.
            or not 0 <= time.time() - began <= _OUTCOME_WITHIN
        ):
            yield entry
