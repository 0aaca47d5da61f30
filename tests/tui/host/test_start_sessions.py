"""Starting sessions: exactly what was asked for, and no shell in between."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui.host.process import process_kill, process_tree
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxState

WRITE_DOWN = (
    "import json, sys, time; open(sys.argv[1], 'w').write(json.dumps(sys.argv[2:]) + '\\n')"
)
STAY = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        server = Tmux(Path(directory) / "s")
        yield server
        found = process_tree.processes_with_argument(f"-S{server.socket}")
        origin = process_tree.Origin(tuple(p.pid for p in found), None, server.socket, None)
        known = process_tree.session_processes(origin)
        assert process_kill.end(known, [origin]) == ()


def test_all_are_there_when_it_returns(tmux: Tmux) -> None:
    names = [f"agent_{number}" for number in range(5)]
    assert tmux.start_sessions(dict.fromkeys(names, STAY), new_server=True) is None
    assert sorted(tmux.ask().sessions) == names


def test_arguments_arrive_as_they_are(tmux: Tmux, tmp_path: Path) -> None:
    words = ["a b", "'", '"', "$HOME", "#{pid}", "#(id)", ";", "x;", "\\;", "`id`", "*", "", "-x"]
    out = tmp_path / "out"
    command = (sys.executable, "-c", WRITE_DOWN, str(out), *words)
    assert tmux.start_sessions({"first": command, "other": STAY}, new_server=True) is None
    deadline = time.monotonic() + 20
    while not (out.exists() and out.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert json.loads(out.read_text()) == words


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a:b", "#{pid}", "#(id)", "ä", "a\n", "a;"])
def test_a_name_that_tmux_would_change_is_refused(tmux: Tmux, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        tmux.start_sessions({name: STAY}, new_server=True)
    assert tmux.ask().state is TmuxState.NO_SERVER


def test_a_command_that_would_go_through_a_shell_is_refused(tmux: Tmux) -> None:
    with pytest.raises(ValueError, match="argument"):
        tmux.start_sessions({"agent_x": ("touch here",)}, new_server=True)


def test_no_server_is_started_unless_asked_for(tmux: Tmux) -> None:
    assert tmux.start_sessions({"agent_x": STAY}) is not None
    assert tmux.ask().state is TmuxState.NO_SERVER
    assert not os.path.lexists(tmux.socket)


def test_a_name_that_is_taken_is_reported(tmux: Tmux) -> None:
    assert tmux.start_sessions({"agent_x": STAY}, new_server=True) is None
    assert "duplicate session" in (tmux.start_sessions({"agent_x": STAY}) or "")
