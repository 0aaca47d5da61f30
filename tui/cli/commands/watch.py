"""`muster watch`: prints the roll call, then a line for every change."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from tui.cli.context import filter_of, find, policy_of, tmux_of
from tui.cli.help import Page
from tui.cli.output import DONE, say, wait_for_reader
from tui.cli.parser import add_json, add_settings, add_socket, add_where, add_workspaces
from tui.text.sanitize import as_json_line

if TYPE_CHECKING:
    from tui.model.policy import Policy
    from tui.model.roll import RollCall
    from tui.view.diff import Change
    from tui.view.filter import Filter

# Seconds added to the death confirmation time, because tmux must be queried twice.
_SETTLING = 0.5

_LOOK_AT_READER = 5.0

PAGE = Page(
    """\
Prints the roll call, then a line for each change: an agent appears, disappears, or has
a new verdict, status or progress; an orphan appears or disappears; tmux starts or stops
answering; a registry becomes readable or unreadable. Runs until muster is interrupted,
or the reader of the output closes it.

With --json each line is an object with `event` and `at` (seconds since the epoch). The
first event is `roll`; its `roll` is the document of `muster list --json`. Then:

  agent-came, agent-went, agent-changed
      `agent`, `task`, `registry`, `ordinal` (0 for the first entry with this id),
      `verdict`, `status`, `progress`, `note`, and `changed`: [before, after] of each
      changed field
  orphan-came, orphan-went            `session`, `created`
  tmux-changed                        `state`, `detail`, `before`
  registry-unreadable, registry-readable, registry-gone
      `registry`, `error`

--where filters agents and orphans, as for `muster list`. A change is printed if the
agent or orphan matches before or after the change.""",
    (
        ("muster watch --where verdict:zombie,stalled", "report agents that die or stall"),
        ("ssh host muster watch --json", "from another host"),
    ),
    "0 the output was closed; 2 wrong usage; 130 interrupted",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    add_where(parser)
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


class _Rolls:
    """A queue of roll calls from the thread that makes them to the thread that prints changes."""

    def __init__(self) -> None:
        self._rolls: deque[RollCall] = deque()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, roll: RollCall) -> None:
        """Adds a roll call. Any thread may call this."""
        self._rolls.append(roll)
        # If the pipe is full, it wakes the reader anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def wait(self, seconds: float) -> Iterator[RollCall]:
        """Waits for a roll call, at most the given seconds; yields all roll calls that arrived.

        Raises:
            BrokenPipeError: The reader of standard output has closed the pipe.
        """
        wait_for_reader(max(0.0, seconds), self._read)
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        while self._rolls:
            yield self._rolls.popleft()


def run(options: argparse.Namespace) -> int:
    """Runs `muster watch` until an exception ends it.

    Raises:
        KeyboardInterrupt: The user interrupted the command.
        SystemExit: SIGTERM or SIGHUP ended the command.
        BrokenPipeError: The reader of standard output has closed the pipe.
    """
    from tui.live.collector import LiveRoll
    from tui.view.diff import differences

    wanted = filter_of(options.where)
    policy = policy_of(options)
    workspaces, tmux = find(options), tmux_of(options)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
    rolls = _Rolls()
    live = LiveRoll(workspaces, tmux, policy)
    live.listen(rolls.put)
    live.start()
    try:
        roll = _settled(rolls, policy)
        _print_roll(roll, wanted, options)
        while True:
            for newer in rolls.wait(_LOOK_AT_READER):
                for change in differences(roll, newer, wanted):
                    _print_change(change, options.json)
                roll = newer
            sys.stdout.flush()
    finally:
        live.stop()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _settled(rolls: _Rolls, policy: Policy) -> RollCall:
    """Returns the first roll call with all registries and without unknown verdicts.

    After a time limit, this function returns the newest roll call.

    muster calls an agent dead only after two answers of tmux, and a registry that is being written
    is read only after the write. Without these waits, each agent that died before muster started,
    and each agent of such a registry, would be reported as a change.
    """
    from registry.snapshots import BUSY_TIMEOUT
    from tui.model.roll import Verdict

    last: RollCall | None = None
    give_up_at = read_until = float("inf")
    while True:
        for roll in rolls.wait(min(_LOOK_AT_READER, give_up_at - time.monotonic())):
            # If `asked_at` is 0, tmux has not been queried yet.
            if roll.answer.asked_at:
                last = roll
                now = time.monotonic()
                read_until = min(read_until, now + BUSY_TIMEOUT)
                if not roll.awaits_first or now >= read_until:
                    settled_at = now + policy.death_confirmation + _SETTLING
                    give_up_at = min(give_up_at, settled_at)
        if last is None:
            continue
        if last.awaits_first and time.monotonic() < read_until:
            continue
        if not last.counts[Verdict.UNKNOWN] or time.monotonic() >= give_up_at:
            return last


def _print_roll(roll: RollCall, wanted: Filter, options: argparse.Namespace) -> None:
    from tui.cli.format_roll import chosen_by, roll_json, roll_table
    from tui.view.subset import select

    shown = select(roll, wanted)
    if options.json:
        by = chosen_by(options.where) if wanted else None
        print(as_json_line({"event": "roll", "at": time.time(), "roll": roll_json(shown, by)}))
    else:
        say(roll_table(shown, time.time(), None, "; ".join(options.where)))
        print()
    sys.stdout.flush()


def _print_change(change: Change, as_json: bool) -> None:
    from tui.cli.format_changes import change_json, change_words

    if as_json:
        print(as_json_line({"event": change.event, "at": time.time(), **change_json(change)}))
    else:
        say([f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {change_words(change)}"])
