"""One line of the roll: exactly as wide as asked for, and harmless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.records import AgentRecord
from tests.tui.harm import NASTY, any_text, harmful
from tests.tui.rolls import (
    NOW,
    agent,
    answered,
    called,
    roll_call,
    roll_of,
    session,
    task_record,
    task_state,
)
from tui.outline import Line, outline
from tui.roll import Verdict, WorkspaceRoll
from tui.text import width
from tui.widgets.cells import GLYPHS, Drawing, columns, fold_column, heading, line_pieces

WIDTHS = st.integers(0, 220)


def text_of(line: Line, cells: int, *, marked: bool = False) -> str:
    return "".join(text for text, _ in line_pieces(line, Drawing(cells, NOW), marked))


def assert_whole(line: Line, cells: int) -> None:
    for marked in (False, True):
        pieces = line_pieces(line, Drawing(cells, NOW), marked)
        assert sum(width(text) for text, _ in pieces) == cells
        assert not any(harmful(text) for text, _ in pieces)


records = st.builds(
    AgentRecord,
    id=any_text,
    type=any_text,
    tmux_session=st.one_of(st.none(), any_text),
    parent=st.none(),
    depth=st.none(),
    status=st.one_of(any_text, st.sampled_from(["running", "completed"])),
    progress=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    started_at=any_text,
    last_update=any_text,
    started=st.one_of(st.none(), st.floats(-1e11, 1e11)),
    updated=st.one_of(st.none(), st.floats(-1e11, 1e11)),
)


@given(records, WIDTHS)
def test_an_agents_line_is_exactly_as_wide_as_asked(record: AgentRecord, cells: int) -> None:
    lines = outline(roll_call(*called(task_state(record), answer=answered())), ())
    assert_whole(lines[1], cells)


@given(any_text, any_text, st.one_of(st.none(), any_text), st.booleans(), WIDTHS)
def test_a_tasks_line_is_exactly_as_wide_as_asked(
    task_id: str, text: str, error: str | None, readable: bool, cells: int
) -> None:
    state = task_state(
        record=task_record(task_id=task_id, description=text, warnings=(text,)),
        readable=readable,
        error=error,
        listed_description=text,
    )
    assert_whole(outline(roll_call(*called(state, answer=answered())), ())[0], cells)


@given(any_text, WIDTHS)
def test_an_orphans_lines_are_exactly_as_wide_as_asked(name: str, cells: int) -> None:
    for line in outline(roll_call(orphans=(session(name),)), ()):
        assert_whole(line, cells)


@given(any_text, st.one_of(st.none(), any_text), WIDTHS)
def test_a_workspaces_line_is_exactly_as_wide_as_asked(
    name: str, error: str | None, cells: int
) -> None:
    roll = roll_of(*(WorkspaceRoll(Path(f"/{n}{name}"), (), error) for n in range(2)))
    for line in outline(roll, ()):
        assert_whole(line, cells)


@given(WIDTHS)
def test_the_heading_is_exactly_as_wide_as_asked(cells: int) -> None:
    assert width(heading(cells)) == cells


@pytest.mark.parametrize(
    "text", [*NASTY, "日" * 10_000, "x" * 10_000_000], ids=lambda text: ascii(text[:20])
)
def test_no_text_however_long_or_hostile_breaks_a_line(text: str) -> None:
    record = replace(agent(text, text, session=text), type=text)
    state = task_state(record=task_record([record], task_id=text, description=text), error=text)
    for line in outline(roll_call(*called(state, answer=answered())), ()):
        assert_whole(line, 120)


def agent_line(record: AgentRecord) -> Line:
    there = answered(session("agent_live"))
    return outline(roll_call(*called(task_state(record), answer=there)), ())[1]


def test_the_verdict_is_a_glyph_and_a_word() -> None:
    assert text_of(agent_line(agent("live")), 80).startswith("  ● live    ")
    assert text_of(agent_line(agent("dead")), 80).startswith("  ✗ zombie  ")
    assert text_of(agent_line(agent("done", "completed")), 80).startswith("  ✓ finished")


def test_every_verdict_has_a_glyph_of_its_own() -> None:
    assert set(GLYPHS) == set(Verdict)
    assert len(set(GLYPHS.values())) == len(Verdict)
    assert all(width(glyph) == 1 for glyph in GLYPHS.values())


def test_a_mark_is_seen_and_moves_nothing() -> None:
    line = agent_line(agent("live"))
    assert text_of(line, 80, marked=True)[2:] == text_of(line, 80)[2:]
    assert text_of(line, 80, marked=True)[0] == "▌"


def test_the_columns_stand_under_their_headings() -> None:
    for cells in (80, 200):
        line = text_of(agent_line(agent("live", updated=NOW - 300)), cells)
        head = heading(cells)
        assert line.index("live") == head.index("VERDICT") + 2
        assert line.index("running") == head.index("STATUS")
        assert line.index("━") == head.index("PROGRESS")
        assert line.index("5m") + 2 == head.index("HEARD") + len("HEARD")


@pytest.mark.parametrize(
    ("progress", "shown"),
    [(0.0, "──────   0%"), (50.0, "━━━───  50%"), (100.0, "━━━━━━ 100%")],
)
def test_progress_is_a_bar_and_a_number(progress: float, shown: str) -> None:
    assert shown in text_of(agent_line(agent("live", progress=progress)), 80)


@pytest.mark.parametrize(("progress", "shown"), [(-7.0, "  0%"), (1e9, "100%")])
def test_progress_beyond_its_bounds_stays_within_its_column(progress: float, shown: str) -> None:
    assert shown in text_of(agent_line(agent("live", progress=progress)), 80)


def test_no_progress_is_not_shown_as_none_done() -> None:
    assert "%" not in text_of(agent_line(agent("live", progress=None)), 80)


def test_the_session_is_shown_where_there_is_room() -> None:
    assert columns(80).place == 0
    assert "agent_live" not in text_of(agent_line(agent("live")), 80)
    assert "agent_live" in text_of(agent_line(agent("live")), 200)


def test_the_arrow_is_where_a_click_looks_for_it() -> None:
    state = task_state(agent("a"), agent("b", parent="a"), agent("c", parent="b"))
    for line in outline(roll_call(*called(state, answer=answered())), ()):
        if line.folded is not None:
            assert text_of(line, 120)[fold_column(line)] == "▾"


def test_a_type_that_the_id_does_not_tell_is_shown_beside_it() -> None:
    assert "x1 (tester)" in text_of(agent_line(agent("x1")), 100)
    assert "(tester)" not in text_of(agent_line(agent("tester-1")), 100)


def test_a_task_that_cannot_be_read_says_why_and_how_old_its_agents_are() -> None:
    state = task_state(agent("a"), error="the file is empty")
    line = outline(roll_call(*called(state, answer=answered())), ())[0]
    shown = "".join(text for text, _ in line_pieces(line, Drawing(120, NOW + 600), False))
    assert "as of 10m ago: the file is empty" in shown


def test_a_task_says_how_many_of_its_agents_completed() -> None:
    state = task_state(agent("a"), agent("b", "completed"), agent("c", "failed"))
    line = outline(roll_call(*called(state, answer=answered())), ())[0]
    assert text_of(line, 100).rstrip().endswith("1/3")
