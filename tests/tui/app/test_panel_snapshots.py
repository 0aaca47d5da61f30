"""Pictures of each tab of the panel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from registry.agent_output.lines import read_finding, read_log, read_progress
from registry.audit.diff import FieldChange
from registry.audit.entries import Entry, Log, State, Who
from tests.support.still_app import SEARCH, SPEED, SnapCompare, StillApp, call, drawn_whole
from tests.support.still_app import quick_hands as quick_hands
from tests.support.still_app import still as still
from tui.app.screens.body import Body
from tui.app.widgets.tab_bar import TABS, Tab
from tui.details.sources import FileSource, Record, Screen, Tail
from tui.host.tmux import Tmux
from tui.host.tmux_types import PaneCapture

SOCKET = Path("/nowhere/s")


def _lines(read: Any, *entries: dict[str, Any]) -> Iterator[Any]:
    for each in entries:
        yield from read(json.dumps(each).encode())


def _at(minute: int) -> str:
    return f"2025-10-09T08:{minute:02}:00Z"


PROGRESS = Tail(
    tuple(
        _lines(
            read_progress,
            *(
                {"timestamp": _at(minute), "progress": done, "status": "working", "message": said}
                for minute, done, said in (
                    (1, 5, "Reading search/ and the 14 places that call it"),
                    (12, 30, "Plan: dual writes, backfill, parity check, cut-over"),
                    (20, 35, "Dual writes are on in staging"),
                    (41, 80, "Comparing error rates of both indexes: 0.02 % and 0.02 %"),
                )
            ),
        )
    ),
    torn=True,
    size=640,
)
FINDINGS = Tail(
    tuple(
        _lines(
            read_finding,
            {"timestamp": _at(3), "severity": "low", "finding_type": "insight",
             "message": "Both indexes fit in memory: 3.1 GB together"},
            {"timestamp": _at(9), "severity": "critical", "finding_type": "issue",
             "message": "The way back loses the newest photos", "data": {"photos": 12}},
            {"timestamp": _at(9), "severity": "medium", "finding_type": "recommendation",
             "message": "Fold accents"},
        )
    ),
    size=500,
)  # fmt: skip
LOG = Tail(
    tuple(
        _lines(
            read_log,
            {"type": "assistant", "message": {"content": [
                {"type": "text", "text": "I look at the tests first."},
                {"type": "tool_use", "name": "Bash", "input": {"command": "pytest -q"}}]}},
            {"type": "user", "message": {"content": [
                {"type": "tool_result", "content": "2 failed\nE 3 == 4", "is_error": True}]}},
            {"type": "result", "subtype": "success", "result": "Done: 日本語 and \u202eRTL"},
        )
    ),
    earlier=True,
    size=9_000_000,
)  # fmt: skip
SCREEN = Screen(
    PaneCapture(
        (
            "\x1b[1;32m~/lantern\x1b[0m $ pytest -q",
            "\x1b[31mF\x1b[32m.......\x1b[0m  \x1b[7m 87 % \x1b[0m",
            "\x1b[38;5;208mwarning:\x1b[0m \x0elqqqk\x0f and \x1b]52;c;RVZJTA==\x07",
            "",
        ),
        80,
        24,
        1,
    )
)


def _record() -> Record:
    change = FieldChange(
        file="TASK-search/AGENT_REGISTRY.json", agent="architect-1", nth=0, field="status",
        before="working", after="terminated",
    )  # fmt: skip
    who = Who("lena", None, "lighthouse", 4711, "/dev/pts/3")
    entry = Entry(
        "20251009-085000-a1b2", 1, _at(50), "kill", "stuck for an hour", who, (change,),
        state=State.DONE, detail="3 processes ended",
    )  # fmt: skip
    return Record(Log((entry,), ()))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, still: None) -> None:
    """What the sources find."""
    tails = {"progress": PROGRESS, "findings": FINDINGS, "log": LOG}

    def tail_of(source: Any) -> Any:
        return tails[source._file._source.name]

    monkeypatch.setattr(FileSource, "read", tail_of)
    monkeypatch.setattr("tui.app.widgets.details_panel.PaneSource.read", lambda _: SCREEN)
    monkeypatch.setattr("tui.app.widgets.details_panel.AuditSource.read", lambda _: _record())


def opening(tab: Tab, *keys: str) -> Any:
    async def press(pilot: Pilot[None]) -> None:
        await drawn_whole(pilot)
        pilot.app.query_one(Body).use(Tmux(SOCKET))
        for key in ("down", "tab", str(TABS.index(tab) + 1)):
            await pilot.press(key)
            await drawn_whole(pilot)
        # While the field has the keys, the footer has none to wait for.
        await pilot.press(*keys)
        await drawn_whole(pilot)

    return press


@pytest.mark.parametrize(
    ("size", "tab"),
    [
        pytest.param(
            size,
            tab,
            id=f"{size[0]}x{size[1]}-{tab}",
            marks=() if number % 2 == (size == (160, 50)) else pytest.mark.torture,
        )
        for size in ((80, 24), (160, 50))
        for number, tab in enumerate(TABS)
    ],
)
def test_snapshot_of_a_tab(
    snap_compare: SnapCompare, read: None, tab: Tab, size: tuple[int, int]
) -> None:
    app = StillApp(call(SEARCH, SPEED))
    assert snap_compare(app, run_before=opening(tab), terminal_size=size)


def test_snapshot_of_a_search_in_a_large_panel(snap_compare: SnapCompare, read: None) -> None:
    app = StillApp(call(SEARCH, SPEED))
    keys = opening(Tab.LOG, "p", "slash", *"the", "enter")
    assert snap_compare(app, run_before=keys, terminal_size=(80, 24))
