"""What the tests of `tui` run under: nothing of the user's own tmux or workspaces."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.workspace import ENVIRONMENT_VARIABLE
from tests.tui.real_tmux import RealTmux


@pytest.fixture(autouse=True)
def nobody_elses_tmux(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The default socket lies in a private directory, where nobody listens."""
    directory = Path(tempfile.mkdtemp(prefix="mst"))
    for name in ("TMUX", "TMUX_PANE", ENVIRONMENT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMUX_TMPDIR", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server() -> Iterator[RealTmux]:
    """A private tmux server, killed after the test."""
    with RealTmux() as made:
        yield made
