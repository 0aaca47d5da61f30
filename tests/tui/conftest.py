"""What the tests of `tui` run under: nothing of the user's own tmux or workspaces."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from registry.workspace import ENVIRONMENT_VARIABLE
from tests.tui.real_tmux import RealTmux, fake_binary
from tui.host import elsewhere


@pytest.fixture(autouse=True)
def nobody_elses_tmux(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The default socket lies in a private directory, where nobody listens."""
    directory = Path(tempfile.mkdtemp(prefix="mst"))
    for name in ("TMUX", "TMUX_PANE", ENVIRONMENT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMUX_TMPDIR", str(directory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def nobody_elses_servers(monkeypatch: pytest.MonkeyPatch, nobody_elses_tmux: Path) -> None:
    """Whatever else runs on this host has no say in what a test finds."""
    all_servers = elsewhere.servers_of

    def ours(owners: Collection[int] | None) -> Iterator[elsewhere.Server]:
        for server in all_servers(owners):
            socket = server.socket or Path()
            if socket.parent in RealTmux.directories or nobody_elses_tmux in socket.parents:
                yield server

    monkeypatch.setattr(elsewhere, "servers_of", ours)
    # Nor whether the tests run in a container.
    monkeypatch.setattr(elsewhere, "sees_the_host", lambda: True)


@pytest.fixture
def server() -> Iterator[RealTmux]:
    """A private tmux server, killed after the test."""
    with RealTmux() as made:
        yield made


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line for every tmux process that is started."""
    counted = tmp_path / "calls"
    script = f'echo x >> "{counted}"; exec {shutil.which("tmux")} "$@"'
    monkeypatch.setenv("PATH", f"{fake_binary(tmp_path / 'bin', script)}:{os.environ['PATH']}")
    return counted
