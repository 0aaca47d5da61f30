"""The first roll call of `muster watch`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry import snapshots
from tests.support.rolls import answered, roll_call
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.waiting import PATIENCE
from tests.support.workspaces import QUICK, Files, entry
from tui.cli.commands.watch import _Rolls, _settled
from tui.live.collector import LiveRoll
from tui.model.roll import RollCall

ASKED = replace(
    roll_call(),
    evidence=replace(roll_call().evidence, snapshot=replace(answered(), asked_at=1.0)),
)


class OneByOne(_Rolls):
    """Yields one roll call at each wait."""

    def wait(self, seconds: float) -> Iterator[RollCall]:
        yield self._rolls.popleft()


def test_it_waits_for_a_registry_that_is_being_written() -> None:
    rolls = OneByOne()
    rolls.put(replace(ASKED, awaits_first=True))
    rolls.put(whole := replace(ASKED, host="whole"))
    assert _settled(rolls, QUICK) is whole


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BUSY_TIMEOUT", 0.0)
    rolls = _Rolls()
    rolls.put(written := replace(ASKED, awaits_first=True))
    assert _settled(rolls, QUICK) is written


def test_a_roll_says_that_a_registry_is_being_written_for_the_first_time(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    whole = files.registry().read_text()
    stop = threading.Event()

    def write_for_long() -> None:
        # Each write makes the file young again, so the text counts as being written.
        while not stop.wait(0.005):
            files.registry().write_text(whole[: len(whole) // 2])

    arrived: queue.Queue[RollCall] = queue.Queue()
    live = LiveRoll(files.workspaces(), ScriptedTmux(answered(made_now("agent_a"))), QUICK)
    writer = threading.Thread(target=write_for_long)
    files.registry().write_text(whole[: len(whole) // 2])
    writer.start()
    live.listen(arrived.put)
    live.start()
    try:
        while not arrived.get(timeout=PATIENCE).awaits_first:
            pass
        stop.set()
        writer.join()
        files.registry().write_text(whole)
        while (roll := arrived.get(timeout=PATIENCE)).awaits_first:
            pass
        assert [row.key.id for row in roll.agents()] == ["a"]
        # A registry that was read before is shown with its last content.
        writer = threading.Thread(target=write_for_long)
        stop.clear()
        writer.start()
        assert not arrived.get(timeout=PATIENCE).awaits_first
    finally:
        stop.set()
        writer.join()
        live.stop()
