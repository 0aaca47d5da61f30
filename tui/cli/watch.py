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
from typing import Any

from registry.text import shown_name
from tui.cli.context import find, say, tmux_of, wait_for_reader
from tui.cli.format_roll import roll_json, roll_table
from tui.cli.list import chosen_by, filter_of
from tui.config.load import policy_of
from tui.live.collector import LiveRoll
from tui.model.policy import Policy
from tui.model.roll import RollCall, Verdict
from tui.text.sanitize import as_json_line, harmless, named
from tui.view.diff import (
    AgentChange,
    Change,
    OrphanChange,
    RegistryChange,
    TmuxChange,
    differences,
    state_of,
)
from tui.view.filter import Filter
from tui.view.subset import select

# Added to the time that the proof of a death takes, for asking twice.
_SETTLING = 0.5

_LOOK_AT_READER = 5.0


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


def watch(options: argparse.Namespace) -> int:
    """`muster watch`; returns only by raising.

    Raises:
        KeyboardInterrupt: It was interrupted.
        SystemExit: It was told to end.
        BrokenPipeError: Whoever reads our output is gone.
    """
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
    shown = select(roll, wanted)
    if options.json:
        by = chosen_by(options.where) if wanted else None
        print(as_json_line({"event": "roll", "at": time.time(), "roll": roll_json(shown, by)}))
    else:
        say(roll_table(shown, time.time(), None, "; ".join(options.where)))
        print()
    sys.stdout.flush()


def _print_change(change: Change, as_json: bool) -> None:
    if as_json:
        print(as_json_line({"event": change.event, "at": time.time(), **change_json(change)}))
    else:
        say([f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {change_words(change)}"])


def change_json(change: Change) -> dict[str, Any]:
    """What a change is about, in the shape that `muster watch --json` promises."""
    match change:
        case AgentChange(_, row, task, changed):
            return {
                "agent": row.record.id,
                "task": task,
                "registry": str(row.key.registry),
                "ordinal": row.key.ordinal,
                **state_of(row),
                "note": row.note or None,
                "changed": {name: list(values) for name, values in changed.items()},
            }
        case OrphanChange(_, session):
            return {"session": session.name, "created": session.created}
        case TmuxChange(before, state, detail):
            return {"state": state.value, "detail": detail, "before": before.value}
        case RegistryChange(_, path, error):
            return {"registry": str(path), "error": error}


def change_words(change: Change) -> str:
    """A change in one harmless line."""
    match change:
        case AgentChange(event, row, task, changed):
            who = f"{named(row.record.id)} ({shown_name(task)})"
            if event == "agent-changed":
                said = ", ".join(
                    f"{name} {_value(was)} → {_value(now)}" for name, (was, now) in changed.items()
                )
            else:
                said = event.removeprefix("agent-") + f": {row.verdict}"
                said += f", {harmless(row.record.status or '-', 40)}"
            note = f"; {harmless(row.note, 400)}" if row.note and "verdict" in changed else ""
            return f"{who}: {said}{note}"
        case OrphanChange(event, session):
            return f"orphan {shown_name(session.name)}: {event.removeprefix('orphan-')}"
        case TmuxChange(before, state, detail):
            return f"tmux: {before} → {state} ({harmless(detail)})"
        case RegistryChange(event, path, error):
            said = "is gone" if event == "registry-gone" else "can be read again"
            said = said if error is None else f"cannot be read: {error}"
            return f"{shown_name(path)}: {harmless(said)}"


def _value(value: str | float | None) -> str:
    if value is None:
        return "-"
    return harmless(value or "-", 40) if isinstance(value, str) else f"{value:g}"
