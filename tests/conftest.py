"""What every test runs under."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
import textual._wait
import textual.app
import textual.pilot
from hypothesis import HealthCheck, settings

from tests.tui.real_tmux import RealTmux
from tui import leftovers
from tui.host.sessions import Answer
from tui.host.strays import Stray, find_strays

# A deadline would fail examples for what else the machine is doing.
settings.register_profile(
    "muster",
    deadline=None,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("muster"), max_examples=2000)
settings.load_profile("muster")

# No settings of whoever runs the tests, and their locale neither.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
# Nor their default workspaces: an orchestrator may have any session listed there.
os.environ["HOME"] = "/nonexistent"
os.environ.pop("CLAUDE_ORCHESTRATOR_WORKSPACE", None)
os.environ["LC_ALL"] = "C.UTF-8"
os.environ.pop("MUSTER_CONFIG", None)

# Nor what their shell has every program ignore, as nohup and `&` do.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nobody_elses_strays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What outlived the user's own tmux servers has no say in what a test finds."""

    def ours(answer: Answer, users: frozenset[int]) -> tuple[Stray, ...]:
        private = answer.socket.parent in RealTmux.directories
        return find_strays(answer, users) if private else ()

    monkeypatch.setattr(leftovers, "find_strays", ours)


_is_idle = textual._wait.wait_for_idle


async def _settled(min_sleep: float = 0.02, max_sleep: float = 1) -> None:
    """Waits until the app is idle, also where the machine gives it no CPU.

    Textual takes whoever used none for a moment for idle.
    """
    await _is_idle(min_sleep, max_sleep)
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    quiet = 0
    for _ in range(2000):
        await asyncio.sleep(0)
        quiet = 0 if ready else quiet + 1
        if quiet == 5:
            return


for module in (textual.app, textual.pilot):
    module.wait_for_idle = _settled  # type: ignore[attr-defined]
