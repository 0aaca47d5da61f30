"""Runs `muster demo` with another monitor, to examine what the demo leaves behind.

Usage: ``python -P demo_driver.py NOTE HOW``. The monitor writes its arguments to the file NOTE.
Then HOW decides what the monitor does: ``muster`` opens the real monitor, ``screen`` opens a
Textual app that handles no signals, ``raise`` raises an error, ``quit`` returns 3.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

from registry.schema.layout import Workspace
from tui.cli.main import main
from tui.config.settings import Settings
from tui.host.tmux_types import SetAside
from tui.model.policy import Policy


def monitor(how: str, note: Path, workspaces: tuple[Workspace, ...], socket: Path) -> int:
    said = {
        "pid": os.getpid(),
        "workspaces": [str(each.path) for each in workspaces],
        "socket": str(socket),
        "tmux": [os.environ.get("TMUX"), os.environ.get("TMUX_PANE")],
    }
    if how == "raise":
        _write(note, said)
        raise RuntimeError("the monitor failed")
    if how == "screen":
        from textual.app import App

        class Screen(App[int]):
            def on_ready(self) -> None:
                _write(note, said)

        Screen().run()
    else:
        _write(note, said)
    return 3


def _write(note: Path, said: dict[str, object]) -> None:
    """Writes the note atomically."""
    part = note.with_suffix(".part")
    part.write_text(json.dumps(said), encoding="utf-8")
    part.rename(note)


if __name__ == "__main__":
    note, how = Path(sys.argv[1]), sys.argv[2]
    from tui.app import run as real

    stub = types.ModuleType("tui.app.run")

    def run_monitor(
        workspaces: tuple[Workspace, ...],
        socket: Path,
        policy: Policy,
        settings: Settings,
        on_hangup: Callable[[], object],
        *,
        set_aside: SetAside,
    ) -> int:
        if how == "muster":
            _write(note, {"socket": str(socket)})
            return real.run_monitor(
                workspaces, socket, policy, settings, on_hangup, set_aside=set_aside
            )
        return monitor(how, note, workspaces, socket)

    stub.run_monitor = run_monitor  # type: ignore[attr-defined]
    sys.modules["tui.app.run"] = stub
    sys.exit(main(["demo", *sys.argv[3:]]))
