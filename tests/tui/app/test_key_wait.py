"""Which programs read keys themselves, and what muster waits for after the others."""

from __future__ import annotations

import asyncio
import os
import pty
import termios
import tty
from collections.abc import Iterator

import pytest

from tui.app.terminal import key_wait
from tui.app.terminal.key_wait import KeyReading, wait_for_key


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """The test's end and the program's end of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_wait, "_LOOK_EVERY", 0)


async def test_a_program_that_reads_single_keys_is_noticed(ends: tuple[int, int]) -> None:
    _, theirs = ends
    reading = KeyReading(theirs)
    watching = asyncio.create_task(reading.watch())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not reading.seen
    tty.setcbreak(theirs)
    await asyncio.wait_for(watching, 30)
    assert reading.seen


async def test_keys_from_before_do_not_count_and_the_mode_is_restored(
    ends: tuple[int, int],
) -> None:
    ours, theirs = ends
    before = termios.tcgetattr(theirs)
    os.write(ours, b"typed before\n")
    waiting = asyncio.create_task(wait_for_key(theirs))
    shown = b""
    while b"press any key" not in shown:
        await asyncio.sleep(0)
        os.set_blocking(ours, False)
        try:
            shown += os.read(ours, 1000)
        except BlockingIOError:
            continue
    assert not waiting.done()
    os.write(ours, b"\x03")
    await asyncio.wait_for(waiting, 30)
    assert termios.tcgetattr(theirs) == before


async def test_the_end_of_the_terminal_is_as_good_as_a_key() -> None:
    ours, theirs = pty.openpty()
    waiting = asyncio.create_task(wait_for_key(theirs))
    await asyncio.sleep(0)
    os.close(ours)
    await asyncio.wait_for(waiting, 30)
    os.close(theirs)
