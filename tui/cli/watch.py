"""`muster watch`: the roll, and then a line for every change."""

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

# Added to the time that the proof of a death takes, for asking twice.
_SETTLING = 0.5

_LOOK_AT_READER = 5.0

PAGE = Page(
    """\
Prints the roll, and then a line for each change as it is noticed: an agent came, went,
or has another verdict, status or progress; an orphan came or went; tmux can or cannot
be asked; a registry can or cannot be read. Goes on until it is interrupted or nobody
reads it any more.

With --json each line is an object with `event` and `at` (seconds since the epoch). The
first is `roll`, with the whole roll in `roll`, as `muster list --json` has it. Then:

  agent-came, agent-went, agent-changed
      `agent`, `task`, `registry`, `ordinal` (of entries with one id), `verdict`,
      `status`, `progress`, `note`; and `changed`: of each that changed [before, after]
  orphan-came, orphan-went            `session`, `created`
  tmux-changed                        `state`, `detail`, `before`
  registry-unreadable, registry-readable, registry-gone
      `registry`, `error`

--where chooses agents and orphans, as for `muster list`; a change is printed if they
match before or after it.""",
    (
        ("muster watch --where verdict:zombie,stalled", "tell me when one dies"),
        ("ssh host muster watch --json", "from another host"),
    ),
    "0 its reader is gone; 2 wrong usage; 130 interrupted",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what it takes."""
    add_settings(parser)
    add_socket(parser)
    add_workspaces(parser)
    add_where(parser)
    add_json(parser)
    parser.set_defaults(code_without_reader=DONE)


class _Rolls:
    """Hands roll calls from the thread that calls them to the one that prints."""

    def __init__(self) -> None:
        self._rolls: deque[RollCall] = deque()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def put(self, roll: RollCall) -> None:
        """Adds one, in any thread."""
        self._rolls.append(roll)
        # A pipe that is full wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def wait(self, seconds: float) -> Iterator[RollCall]:
        """Those that came, after waiting for the first of them so long at most.

        Raises:
            BrokenPipeError: Whoever reads our output is gone.
        """
        wait_for_reader(max(0.0, seconds), self._read)
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        while self._rolls:
            yield self._rolls.popleft()


def run(options: argparse.Namespace) -> int:
    """`muster watch`; returns only by raising.

    Raises:
        KeyboardInterrupt: It was interrupted.
        SystemExit: It was told to end.
        BrokenPipeError: Whoever reads our output is gone.
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
    """The first roll call in which who died before is known to be dead."""
    from tui.model.roll import Verdict

    last: RollCall | None = None
    give_up_at = float("inf")
    while True:
        for roll in rolls.wait(min(_LOOK_AT_READER, give_up_at - time.monotonic())):
            # Before the first answer tmux was not asked yet.
            if roll.answer.asked_at:
                last = roll
                now = time.monotonic()
                give_up_at = min(give_up_at, now + policy.death_confirmation + _SETTLING)
        if last is None:
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
