"""Runs the whole monitor under a pilot, on a workspace on disk and a real tmux server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from textual.pilot import Pilot

from tests.support.real_tmux import RealTmux
from tests.support.waiting import Patience
from tests.support.workspaces import QUICK, Files, entry, stamp
from tui.app.app import MusterApp
from tui.host.tmux import Tmux
from tui.live.collector import LiveRoll
from tui.model.roll import Verdict

PATIENCE = 30.0

STALL = 2.0
"""Seconds without a report or output after which an agent is stalled."""

COUNTS: Mapping[Verdict, int] = {
    Verdict.LIVE: 3,
    Verdict.BLOCKED: 1,
    Verdict.STALLED: 1,
    Verdict.ZOMBIE: 2,
    Verdict.FAILED: 1,
    Verdict.FINISHED: 1,
}
"""The verdicts on the agents of `crew_of`."""


def crew_of(files: Files, server: RealTmux) -> None:
    """Makes agents with these verdicts, and their sessions."""
    # A report that seems to come from the future keeps an agent from being stalled.
    reports = {"last_update": stamp(-3600)}
    agents = [
        entry("boss", **reports),
        entry("left", parent="boss", depth=2, **reports),
        entry("right", parent="boss", depth=2, **reports),
        entry("waits", "blocked", **reports),
        entry("quiet"),
        entry("gone-1"),
        entry("gone-2"),
        entry("broken", "failed"),
        entry("done", "completed"),
    ]
    files.write_task("TASK-1", *agents)
    files.write_global({"TASK-1": agents})
    for name in ("boss", "left", "right", "waits", "quiet"):
        server.start(f"agent_{name}", f"echo says {name}; exec sleep 1000")
    log = files.path / "TASK-1" / "logs" / "broken_stream.jsonl"
    log.parent.mkdir()
    log.write_text(
        '{"type": "user", "message": "begin"}\n'
        '{"type": "result", "is_error": true, "result": "boom: the disk is full"}\n'
    )


class RealApp(MusterApp):
    """The monitor, which tells a test what it shows."""

    async def until(self, pilot: Pilot[None], happened: Callable[[], bool], what: str) -> None:
        """Waits until something has happened."""
        patience = Patience(PATIENCE, pause=0.0)
        while not happened():
            if patience.is_over():
                raise AssertionError(f"{what} did not happen:\n{self.text()}")
            await pilot.pause(0.02)
        await pilot.pause()

    async def shows(self, pilot: Pilot[None], *texts: str) -> None:
        """Waits until the screen contains all texts."""
        await self.until(pilot, lambda: all(text in self.text() for text in texts), str(texts))

    def text(self) -> str:
        """Returns the text of the screen."""
        strips = self.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)


@asynccontextmanager
async def real_app(
    files: Files,
    server: RealTmux,
    size: tuple[int, int] = (120, 40),
    counts: Mapping[Verdict, int] = COUNTS,
) -> AsyncIterator[tuple[RealApp, Pilot[None]]]:
    """Runs the monitor, and waits for these numbers of verdicts."""
    policy = replace(QUICK, stall_timeout=STALL)
    live = LiveRoll(files.workspaces(), Tmux(server.socket), policy)
    live.start()
    try:
        app = RealApp(files.workspaces(), live)
        async with app.run_test(size=size) as pilot:

            def are_known() -> bool:
                roll = app.roll_screen.roll
                return roll is not None and counts.items() <= roll.counts.items()

            await app.until(pilot, are_known, "the verdicts")
            yield app, pilot
    finally:
        live.stop()
