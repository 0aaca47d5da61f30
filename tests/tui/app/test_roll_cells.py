"""One line of the roll: exactly as wide as asked for, and harmless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output import ProgressReport
from registry.schema.records import AgentRecord, Phase
from tests.support.harm import NASTY, any_text, harmful
from tests.support.rolls import (
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
from tui.app.screens.split import ROOM_BESIDE, Split
from tui.app.widgets.roll_cells import Drawing
from tui.app.widgets.roll_columns import (
    COLUMNS,
    column_at,
    fold_column,
    heading,
    layout,
    shows_loads,
)
from tui.app.widgets.roll_lines import line_pieces
from tui.host.process.agent_processes import AgentProcess
from tui.host.process.usage import Load
from tui.model.roll import AgentKey, AgentRow, WorkspaceRoll
from tui.text.sanitize import width
from tui.view.outline import Line, outline
from tui.view.view import Sort, View

WIDTHS = st.integers(0, 220)


def text_of(line: Line, cells: int, *, marked: bool = False) -> str:
    return "".join(text for text, _ in line_pieces(line, Drawing(cells, NOW), marked))


VIEWS = [
    View(query=query, sort=sort)
    for query in ("", "e 1", "status:run verdict:z")
    for sort in (Sort.HIERARCHY, Sort.URGENCY, Sort.CPU)
]


def assert_whole(line: Line, cells: int) -> None:
    loads = {line.key: Load(123456.7, 3 << 40, 3)}
    drawings = [Drawing(cells, NOW, view, loads) for view in VIEWS]
    for marked, drawing in [(True, Drawing(cells, NOW)), *((False, each) for each in drawings)]:
        pieces = line_pieces(line, drawing, marked)
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


@given(WIDTHS, st.sampled_from(Sort))
def test_the_heading_is_exactly_as_wide_as_asked(cells: int, sort: Sort) -> None:
    assert width(heading(cells, sort)) == cells


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


def test_a_mark_is_seen_and_moves_nothing() -> None:
    line = agent_line(agent("live"))
    assert text_of(line, 80, marked=True)[2:] == text_of(line, 80)[2:]
    assert text_of(line, 80, marked=True)[0] == "▌"


def test_the_columns_stand_under_their_headings() -> None:
    for cells in (60, 80, 200):
        line = text_of(agent_line(agent("live", updated=NOW - 300, progress=50)), cells)
        head = heading(cells)
        assert line.index("live") == head.index("VERDICT") + 2
        assert line.index("running") == head.index("STATUS")
        if "PROGRESS" in head:
            assert line.index("━") == head.index("PROGRESS")
        else:
            assert line.index("50%") + 3 == head.index("DONE") + len("DONE")
        assert line.index("5m") + 2 == head.index("HEARD") + len("HEARD")


@pytest.mark.parametrize(
    ("progress", "shown"),
    [(0.0, "──────   0%"), (50.0, "━━━───  50%"), (100.0, "━━━━━━ 100%")],
)
def test_progress_is_a_bar_and_a_number(progress: float, shown: str) -> None:
    line = agent_line(agent("live", progress=progress))
    assert shown in text_of(line, 120)
    assert shown not in text_of(line, 80)
    assert f" {progress:.0f}% " in text_of(line, 80)


@pytest.mark.parametrize(("progress", "shown"), [(-7.0, "   0%"), (1e9, " 100%")])
def test_progress_beyond_its_bounds_stays_within_its_column(progress: float, shown: str) -> None:
    assert shown in text_of(agent_line(agent("live", progress=progress)), 80)


def test_no_progress_is_not_shown_as_none_done() -> None:
    assert "%" not in text_of(agent_line(agent("live", progress=None)), 80)


def test_the_session_is_shown_where_there_is_room() -> None:
    assert "SESSION" not in {column.title for column, _ in layout(160)}
    assert "agent_live" not in text_of(agent_line(agent("live")), 160)
    assert "agent_live" in text_of(agent_line(agent("live")), 200)


def test_the_arrow_is_where_a_click_looks_for_it() -> None:
    state = task_state(agent("a"), agent("b", parent="a"), agent("c", parent="b"))
    for line in outline(roll_call(*called(state, answer=answered())), ()):
        if line.folded is not None:
            assert text_of(line, 120)[fold_column(line, 120)] == "▾"


@pytest.mark.parametrize("cells", [80, 160])
def test_however_deep_an_agent_is_its_arrow_and_its_id_are_seen(cells: int) -> None:
    ids = ["a-0", *(f"code_auditor-{n:06}" for n in range(1, 40))]
    above = [None, *ids]
    chain = [
        agent(each, parent=parent, type_="code_auditor")
        for each, parent in zip(ids, above, strict=False)
    ]
    lines = outline(roll_call(*called(task_state(*chain), answer=answered())), ())
    deep = [line for line in lines if line.level > 20]
    assert deep
    for line in deep:
        shown = text_of(line, cells)
        assert isinstance(line.item, AgentRow)
        assert "code_" in shown and str(line.item.record.id)[-4:] in shown
        if line.folded is not None:
            assert shown[fold_column(line, cells)] == "▾"


def test_an_agent_without_a_session_has_no_load() -> None:
    for there in (True, False):
        answer = answered(session("agent_a")) if there else answered()
        (task,) = called(task_state(agent("a")), answer=answer)
        line = next(each for each in outline(roll_call(task), ()) if each.item is task.agents[0])
        drawing = Drawing(160, NOW, loads={line.key: Load(50.0, 3 << 20, 3)})
        shown = "".join(text for text, _ in line_pieces(line, drawing))
        assert ("50%" in shown and "3.0M" in shown) is there


def test_an_agent_with_a_process_and_no_session_has_a_load() -> None:
    (task,) = called(task_state(agent("a", session=None)), answer=answered())
    row = replace(task.agents[0], process=AgentProcess(4711, 100, NOW - 60))
    task = replace(task, agents=(row,))
    line = next(each for each in outline(roll_call(task), ()) if each.item is row)
    drawing = Drawing(160, NOW, loads={line.key: Load(50.0, 3 << 20, 3)})
    shown = "".join(text for text, _ in line_pieces(line, drawing))
    assert "50%" in shown and "3.0M" in shown


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
    assert " 1/3 completed INITIALIZED " in text_of(line, 120)
    assert " 1/3 " in text_of(line, 48)


def drawn(line: Line, cells: int, view: View, load: Load | None = None) -> str:
    loads = {line.key: load} if load else {}
    return "".join(text for text, _ in line_pieces(line, Drawing(cells, NOW, view, loads)))


def lit(line: Line, query: str, cells: int = 120) -> list[str]:
    """What is highlighted on a line."""
    pieces = line_pieces(line, Drawing(cells, NOW, View(query=query)))
    return [text for text, style in pieces if "match" in style.split()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("iv", ["iv", "iv"]),
        ("LIVE", ["live", "live"]),
        ("status:run", ["run"]),
        ("verdict:live", ["live"]),
        ("-zombie", []),
        ("id:e1 r", ["r", "r", "e1", "r"]),
        ("task:live", []),
    ],
)
def test_what_was_looked_for_is_highlighted_where_it_was_found(
    query: str, found: list[str]
) -> None:
    state = task_state(agent("live1", type_="live1"))
    there = answered(session("agent_live1"))
    line = outline(roll_call(*called(state, answer=there)), ())[1]
    if query == "id:e1 r":
        found = ["e1", "r"]
    assert lit(line, query, 80) == found


def test_a_highlight_changes_no_text() -> None:
    line = agent_line(agent("live"))
    assert drawn(line, 100, View(query="i")) == drawn(line, 100, View())


def test_an_agent_that_only_leads_to_a_match_is_dim_and_not_highlighted() -> None:
    state = task_state(agent("head"), agent("heading", "blocked", parent="head"))
    there = answered(session("agent_head"), session("agent_heading", number=2))
    view = View(query="head status:blocked")
    lines = outline(roll_call(*called(state, answer=there)), (), view)
    assert [line.leads for line in lines] == [False, True, False]
    assert lit(lines[1], view.query) == []
    assert "head" in lit(lines[2], view.query)


def test_the_words_about_an_orphan_are_not_taken_for_its_name() -> None:
    line = outline(roll_call(orphans=(session("agent_x"),)), ())[1]
    assert lit(line, "registry") == []
    assert lit(line, "agent") == ["agent"]


LOAD = Load(37.4, 251 << 20, 4)


@pytest.mark.parametrize(
    ("cells", "sort", "shows"),
    [
        (79, Sort.HIERARCHY, False),
        (79, Sort.URGENCY, False),
        (79, Sort.CPU, True),
        (119, Sort.HIERARCHY, False),
        (139, Sort.HIERARCHY, True),
        (159, Sort.AGE, True),
    ],
)
def test_usage_is_shown_where_there_is_room_or_it_is_sorted_by(
    cells: int, sort: Sort, shows: bool
) -> None:
    line = agent_line(agent("live"))
    assert shows_loads(cells, sort) == shows
    text = drawn(line, cells, View(sort=sort), LOAD)
    head = heading(cells, sort)
    assert ("37%  250M" in text) == shows == ("CPU" in head and "MEM" in head)
    if shows:
        assert text.index("37%") + 3 == head.index("CPU") + 3 + (sort is Sort.CPU)
        assert text.index("250M") + 4 == head.index("MEM") + 3
        assert "-     -" in drawn(line, cells, View(sort=sort))


def test_the_task_is_shown_where_no_line_above_tells_it() -> None:
    view = View(sort=Sort.URGENCY)
    roll = roll_call(*called(task_state(agent("live"), name="TASK-7"), answer=answered()))
    (line,) = outline(roll, (), view)
    assert drawn(line, 200, view).rstrip().endswith("a task")
    assert heading(200, Sort.URGENCY).rstrip().endswith("TASK")


def test_a_task_stands_beneath_the_same_headings_as_its_agents() -> None:
    agents = [
        agent("a", "completed", updated=NOW - 300),
        agent("b", progress=50, updated=NOW - 60),
    ]
    record = task_record(agents, description="Mend it")
    line = outline(roll_call(*called(task_state(record=record), answer=answered())), ())[0]
    text = text_of(line, 200)
    head = heading(200)
    assert text.startswith("  ▾ Mend it  ") and " 1/2 completed INITIALIZED " in text
    assert text.index("INITIALIZED") == head.index("STATUS")
    assert text.index("━") == head.index("PROGRESS")
    assert " 75%" in text
    assert text.index("1m") + 2 == head.index("HEARD") + 5
    assert not text[head.index("REPORT") :].strip()


def test_a_task_with_phases_keeps_its_description_and_its_phase() -> None:
    phases = {number: Phase(f"part {number}", "ACTIVE") for number in range(3)}
    description = "Move photo search to PostgreSQL full text without downtime"
    record = replace(task_record([agent("a")], description=description), phases=phases, phase=1)
    line = outline(roll_call(*called(task_state(record=record), answer=answered())), ())[0]
    assert "Move photo search to…" in text_of(line, 79)
    assert "phase 2/3" in text_of(line, 79)
    assert "phase 2 of 3  0/1 INIT" in text_of(line, 200)
    for cells in range(59, 240):
        assert "Move photo se" in text_of(line, cells)
        assert "phase 2" in text_of(line, cells)


def wide_of(terminal: int, split: Split) -> tuple[int, int]:
    """The cells of a line, and the cells that its columns take, in a terminal of this width."""
    beside = split.is_beside(terminal)
    cells = terminal - (split.columns(terminal) if beside else 0) - 1
    room = split.room(terminal)
    return cells, cells if room is None else min(cells, room)


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("beside", [None, False, True])
def test_a_wider_terminal_never_shows_less(sort: Sort, beside: bool | None) -> None:
    split = Split(beside)
    before: dict[str, int] = {}
    for terminal in range(60 if not beside else ROOM_BESIDE, 241):
        _, room = wide_of(terminal, split)
        columns = {column.title: wide for column, wide in layout(room, sort)}
        assert columns.keys() >= before.keys(), terminal
        assert all(columns[title] >= wide for title, wide in before.items()), terminal
        before = columns


def test_the_panel_is_beside_the_list_if_the_terminal_is_wide() -> None:
    assert {Split().is_beside(wide) for wide in range(60, 190)} == {False}
    assert {Split().is_beside(wide) for wide in range(190, 241)} == {True}
    assert {Split(True).is_beside(wide) for wide in range(60, ROOM_BESIDE)} == {False}


@pytest.mark.parametrize("beside", [None, True])
def test_the_tree_is_indented_at_every_width(beside: bool | None) -> None:
    ids = [f"code_auditor-21591{n}-8c90c{n}" for n in range(5)]
    chain = [
        agent(each, parent=parent, type_="code_auditor")
        for each, parent in zip(ids, [None, *ids], strict=False)
    ]
    lines = outline(roll_call(*called(task_state(*chain), answer=answered())), ())[1:]
    for terminal in range(60, 241):
        cells, room = wide_of(terminal, Split(beside))
        texts = [
            "".join(text for text, _ in line_pieces(line, Drawing(cells, NOW, room=room)))
            for line in lines
        ]
        starts = [text.index("cod") for text in texts]
        assert starts == [starts[0] + 2 * level for level in range(5)]
        assert all(each[-3:] in text for each, text in zip(ids, texts, strict=True))


def test_what_agents_do_now_is_shown_in_a_usual_terminal() -> None:
    line = agent_line(agent("live"))
    key = (line.key.registry, "live") if isinstance(line.key, AgentKey) else None
    assert key is not None
    report = ProgressReport("", NOW, "working", 50.0, "Reading\x1b[31m the\nschema of photos")
    drawing = Drawing(79, NOW, reports={key: report})
    text = "".join(text for text, _ in line_pieces(line, drawing))
    assert text[heading(79).index("REPORT") :].startswith("Reading\\e[31m th…")
    older = replace(report, at=NOW - 4000)
    text = "".join(text for text, _ in line_pieces(line, replace(drawing, reports={key: older})))
    assert "Reading" not in text


@pytest.mark.parametrize(
    ("word", "narrow"), [("phase_completed", "phase done"), ("terminated", "terminated")]
)
def test_a_long_status_is_shortened_to_words(word: str, narrow: str) -> None:
    line = agent_line(agent("live", word))
    assert f" {narrow} " in text_of(line, 79)
    assert f" {word} " in text_of(line, 120)


def test_a_click_on_a_title_sorts_by_what_is_below_it() -> None:
    for cells in (60, 80, 160):
        head = heading(cells)
        for title in ("VERDICT", "AGENT", "STATUS", "HEARD"):
            column = column_at(head.index(title) + 1, cells, Sort.HIERARCHY)
            assert column is not None and column.title == title
        assert column_at(cells + 5, cells, Sort.HIERARCHY) is None
    assert {column.sort for column in COLUMNS} == set(Sort) - {Sort.AGE} | {None}


def test_the_sorted_column_has_an_arrow() -> None:
    view = View()
    assert not set("▾▴") & set(heading(140, view))
    view = view.sorted_by(Sort.HEARD)
    assert "HEARD▾" in heading(140, view) and width(heading(140, view)) == 140
    view = view.sorted_by(Sort.HEARD)
    assert "HEARD▴" in heading(140, view)
    assert view.sorted_by(Sort.PROGRESS) == View(sort=Sort.PROGRESS)
    assert "DONE▾" in heading(79, View(sort=Sort.PROGRESS))
    assert View().sorted_by(Sort.HIERARCHY) == View()


@given(WIDTHS, st.sampled_from(Sort))
def test_what_lines_are_sorted_by_is_always_seen(cells: int, sort: Sort) -> None:
    titles = {column.title for column, _ in layout(cells, sort)}
    assert not sort.by_load or {"CPU", "MEM"} <= titles


def test_every_line_starts_with_a_cell_of_its_own() -> None:
    first = COLUMNS[0]
    assert first.task is not None and first.orphan is not None
