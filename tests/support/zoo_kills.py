"""Kills an agent with processes that are hard to kill (`tests.support.zoo`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dialects import DIALECTS
from tests.support.real_tmux import RealTmux
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.footprint import weighed_kill
from tui.actions.plan import Plan

TRACKED = ("setsid", "nohup", "double-fork", "stubborn", "stopped")
"""The kinds of processes that live longer than the session, and that muster still finds."""


@pytest.fixture(params=DIALECTS)
def files(tmp_path: Path, request: pytest.FixtureRequest) -> Files:
    """A workspace with four agents, in each storage format."""
    return files_in(tmp_path, request.param)


def files_in(folder: Path, kind: type[Files]) -> Files:
    """Makes a workspace with four agents in a storage format."""
    agents = [entry("a"), entry("b", parent="a"), entry("c"), entry("old", "completed")]
    return kind(folder, {"TASK-1": agents})


def plan_for(files: Files, server: RealTmux, *ids: str) -> Plan:
    roll = take(files, server.client())
    return weighed_kill(roll, [row_of(roll, each) for each in ids])
