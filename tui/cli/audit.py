"""The commands about what is on record: the log and undo."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from registry.audit.entries import Entry, Log, State
from registry.audit.log import read_logs
from registry.schema.records import parse_time
from tui.actions.audit_text import log_lines, unread
from tui.actions.undo import (
    NoSuchActionError,
    NothingToUndoError,
    carry_out_undo,
    logs_of,
    plan_undo,
    undo_refusal,
)
from tui.cli.context import (
    DONE,
    NOT_ALL_DONE,
    USAGE,
    complain,
    find,
    lines_of,
    say,
    wait_for_reader,
)
from tui.cli.format_plan import undo_json
from tui.cli.kill import propose
from tui.live.registry_cache import Registries
from tui.model.roll import TaskState
from tui.text.sanitize import as_json_line

FOLLOW_EVERY = 0.5
"""Seconds between two looks at the logs with ``--follow``."""

# An intent is shown with its outcome; one that still has none after so many
# seconds is shown without.
_OUTCOME_WITHIN = 5.0


def _seen(options: argparse.Namespace) -> tuple[tuple[TaskState, ...], tuple[Path, ...]]:
    """All tasks of the workspaces, and the workspaces."""
    workspaces = find(options)
    registries = Registries(workspaces)
    registries.rescan()
    return registries.states(), tuple(each.path for each in workspaces)


def show_log(options: argparse.Namespace) -> int:
    """`muster log`."""
    logs = logs_of(*_seen(options))
    log = read_logs(logs)
    if options.json:
        for record in log.records:
            print(as_json_line(record))
    else:
        shown = log.entries if options.all else log.entries[-options.number :]
        if len(shown) < len(log.entries):
            print(f"The last {len(shown)} of {len(log.entries)}; --all shows all.")
        say(log_lines(log, shown))
    for said in unread(log):
        complain(said)
    if not log.entries and not options.follow and not options.json:
        print("Nothing is on record.")
    if options.follow:
        _follow(logs, log, options.json)
    return DONE


def _follow(logs: tuple[Path, ...], log: Log, raw: bool) -> None:
    shown = {entry.key for entry in log.entries}
    printed = len(log.records)
    while True:
        sys.stdout.flush()
        wait_for_reader(FOLLOW_EVERY)
        log = read_logs(logs)
        if raw:
            # What was rotated away at the front was printed already.
            printed = min(printed, len(log.records))
            for record in log.records[printed:]:
                print(as_json_line(record))
            printed = len(log.records)
            continue
        ready = [entry for entry in _ready(log) if entry.key not in shown]
        shown.update(entry.key for entry in ready)
        say(log_lines(log, ready))


def _ready(log: Log) -> Iterator[Entry]:
    for entry in log.entries:
        began = parse_time(entry.at)
        if (
            entry.state is not State.INTENDED
            or began is None
            # An intent ahead of the clock, which was set back, waits for no outcome, either.
            or not 0 <= time.time() - began <= _OUTCOME_WITHIN
        ):
            yield entry


def undo(options: argparse.Namespace) -> int:
    """`muster undo`."""
    states, workspaces = _seen(options)
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
