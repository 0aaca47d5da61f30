"""Makes the pictures of this folder by running the demo under the app.

    uv run --group screenshots python screenshots/make.py

Each picture is what the app drew (SVG), and the same as PNG.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from textual.pilot import Pilot

from tui.app.app import MusterApp
from tui.demo.run import Demo, running
from tui.host.tmux import Tmux
from tui.host.tmux_types import SetAside
from tui.live.collector import LiveRoll
from tui.model.roll import RollCall, Verdict

HERE = Path(__file__).parent
PATIENCE = 90.0


@dataclass(frozen=True)
class Picture:
    """One picture: its name, its size, the keys to press, and whether the demo has a database."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    sqlite: bool = False


PICTURES = (
    Picture("monitor", (132, 36), ("down", "down", "down")),
    Picture("triage", (160, 36), ("t",)),
    Picture("timeline", (150, 30), ("down", "right_square_bracket")),
    Picture("log", (150, 30), ("down", "down", "down", "tab", "5")),
    Picture("pane", (110, 40), ("down", "p", *("right_square_bracket",) * 3)),
    Picture("monitor-80x24", (80, 24), ("down", "down")),
    Picture("kill", (110, 32), ("down", *("space",) * 4, "x")),
    Picture("complete", (110, 32), ("z", "c")),
    Picture("filter", (110, 32), ("slash", *"zombie", "enter", "down", "down")),
    Picture("help", (110, 40), ("question_mark",)),
    Picture("metrics", (110, 32), ("m",)),
    Picture("sqlite", (132, 36), sqlite=True),
    # Last: afterwards there is no zombie any more.
    Picture("undo", (110, 32), ("z", "c", *"gone", "enter", "y", "escape", "U")),
)


def _everybody_is_there(roll: RollCall) -> bool:
    wanted = (Verdict.ZOMBIE, Verdict.STALLED, Verdict.LEAKED, Verdict.ORPHAN, Verdict.LIVE)
    return all(roll.counts[verdict] for verdict in wanted)


async def _until(condition: Callable[[], bool], pilot: Pilot[None]) -> None:
    for _ in range(int(PATIENCE / 0.2)):
        if condition():
            return
        await pilot.pause(0.2)
    raise SystemExit("the demo did not come to the state that the pictures show")


async def take(demo: Demo, picture: Picture) -> None:
    """Takes one picture of a running demo."""
    # Like the demo itself: other tmux servers of this host have none of its agents.
    tmux = Tmux(demo.socket, set_aside=SetAside(all=True))
    live = LiveRoll((demo.workspace,), tmux, demo.policy)
    app = MusterApp((demo.workspace,), live)
    live.start()
    async with app.run_test(size=picture.size) as pilot:
        shown = app.roll_screen
        await _until(lambda: shown.roll is not None and _everybody_is_there(shown.roll), pilot)
        for key in picture.keys:
            await pilot.press(key)
            await pilot.pause(0.2)
        await pilot.pause(1.0)
        svg = app.export_screenshot(title="muster")
    live.stop()
    target = HERE / f"{picture.name}.svg"
    target.write_text(svg, encoding="utf-8")
    png = resvg_py.svg_to_bytes(svg_string=svg, monospace_family="DejaVu Sans Mono")
    target.with_suffix(".png").write_bytes(bytes(png))


def main() -> int:
    """Takes all pictures, or those that are named."""
    # The pictures have all colours, whatever the terminal has.
    os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    wanted = sys.argv[1:]
    chosen = [picture for picture in PICTURES if not wanted or picture.name in wanted]
    for sqlite in (False, True):
        pictures = [picture for picture in chosen if picture.sqlite == sqlite]
        if not pictures:
            continue
        with running(sqlite=sqlite) as demo:
            for picture in pictures:
                asyncio.run(take(demo, picture))
                print(f"{picture.name}: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
