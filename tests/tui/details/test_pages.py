"""Tests of the rows of the details panel's tabs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output.lines import AgentFinding, LogKind, LogLine, ProgressReport
from registry.audit.diff import FieldChange
from registry.audit.entries import Entry, Log, State, Who
from registry.schema import UnreadDatabase
from tests.support.harm import any_text, harmful
from tests.support.rolls import (
    NOW,
    WORKSPACE,
    agent,
    answered,
    called,
    roll_call,
    session,
    task_record,
    task_state,
)
from tui.details import pages
from tui.details.fields import relatives, task_of
from tui.details.overview import overview
from tui.details.rows import Row
from tui.details.sources import Fields, Record, Screen, Tail
from tui.host.tmux_types import PaneCapture
from tui.model.roll import AgentKey, AgentRow, RollCall
from tui.view.outline import Line, TaskKey


def text_of(rows: tuple[Row, ...]) -> str:
    return "\n".join(each.text for each in rows)


def report(at: float | None, progress: float | None, message: str = "m") -> ProgressReport:
    return ProgressReport("written", at, "working", progress, message)


def finding(severity: str, message: str, at: float = NOW) -> AgentFinding:
    return AgentFinding(None, at, "issue", severity, message, "")


def said(text: str, kind: LogKind = LogKind.ASSISTANT, name: str = "") -> LogLine:
    return LogLine(None, None, kind, name, text)


def test_the_timeline_draws_progress_and_lists_reports_newest_first() -> None:
    tail = Tail((report(NOW - 60, 20, "first"), report(NOW, 80, "second")), size=9)
    text = text_of(pages.timeline(tail, 60, NOW, ascii_only=False))
    assert "100 %" in text and "█" in text
    assert text.index("second") < text.index("first")
    assert text_of(pages.timeline(tail, 60, NOW, ascii_only=True)).isascii()


@pytest.mark.parametrize("wide", [1, 6, 20, 46, 200])
def test_the_chart_fits_whatever_width_there_is(wide: int) -> None:
    tail = Tail((report(NOW - 60, 20), report(NOW, 80)), size=9)
    drawn = [each for each in pages.timeline(tail, wide, NOW, ascii_only=False) if not each.wrap]
    assert all(len(each.text) <= max(wide, 7) for each in drawn)


def test_reports_without_times_or_percents_are_listed_without_a_chart() -> None:
    tail = Tail((report(None, None, "who knows"),), size=9)
    text = text_of(pages.timeline(tail, 60, NOW, ascii_only=False))
    assert "who knows" in text and "100 %" not in text


def test_findings_come_the_worst_first_and_of_those_the_newest() -> None:
    tail = Tail(
        tuple(
            finding(severity, f"{severity} {n}")
            for severity in ("low", "odd", "critical", "Medium", "high")
            for n in (1, 2)
        ),
        size=9,
    )
    text = text_of(pages.findings(tail))
    order = ["critical 2", "critical 1", "high 2", "Medium 1", "low 2", "odd 2", "odd 1"]
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_the_log_ends_with_the_newest_and_says_what_is_left_out() -> None:
    tail = Tail(
        (
            said("hello"),
            said('{"command": "ls"}', LogKind.TOOL_USE, "Bash"),
            said("\n".join(map(str, range(30))), LogKind.TOOL_RESULT),
            said("Segmentation fault", LogKind.RAW),
        ),
        earlier=True,
        torn=True,
        malformed=1,
        size=5_000_000,
    )
    rows = pages.log(tail)
    text = text_of(rows)
    assert rows[0].text.startswith("These are the last 4 records of 5 MB")
    assert "tool use Bash" in text and "and 18 more lines" in text
    assert text.index("hello") < text.index("Segmentation fault")
    assert "1 line left out" in text and "incomplete" in text


@pytest.mark.parametrize(("malformed", "torn"), [(1, True), (1, False), (0, True)])
def test_a_log_that_is_one_endless_line_is_not_called_none(malformed: int, torn: bool) -> None:
    text = text_of(pages.log(Tail(malformed=malformed, torn=torn, size=5_000_000)))
    assert "No log yet" not in text
    assert ("1 line left out: invalid or too long" in text) is bool(malformed)
    assert ("incomplete" in text) is torn


@pytest.mark.parametrize("make", [pages.findings, pages.log])
def test_what_is_not_there_yet_and_what_cannot_be_read_is_said(make: object) -> None:
    assert callable(make)
    assert "does not exist yet" in text_of(make(Tail()))
    assert "a FIFO" in text_of(make(Tail(error="a FIFO")))


def test_the_pane_is_shown_without_the_empty_lines_at_its_end() -> None:
    captured = PaneCapture(("\x1b[31mred", "", "x", "", ""), 80, 5, 1)
    assert [each.text for each in pages.pane(Screen(captured))] == ["red", "", "x"]
    assert "empty" in text_of(pages.pane(Screen(replace(captured, lines=("",)))))
    assert "2 more panes" in text_of(pages.pane(Screen(captured, None, 2)))
    assert "cannot show the pane: gone" in text_of(pages.pane(Screen(None, "gone")))


def entry(number: int, agent_id: str, file: str = "T/AGENT_REGISTRY.json") -> Entry:
    change = FieldChange(file=file, agent=agent_id, nth=0, field="status", before="a", after="b")
    who = Who("lena", None, "host", 7, None)
    return Entry(
        f"act-{number}", 1, "2026-01-01T00:00:00+00:00", "kill", f"reason {number}", who,
        (change,), state=State.DONE,
    )  # fmt: skip


def test_the_record_of_an_agent_is_what_was_done_to_it_newest_first() -> None:
    log = Log((entry(1, "a"), entry(2, "b"), entry(3, "a", "registry/G.json")), (), damaged=2)
    text = text_of(pages.audit(Record(log), "a", None))
    assert text.index("reason 3") < text.index("reason 1")
    assert "reason 2" not in text and "2 lines of the log cannot be read" in text
    of_task = text_of(pages.audit(Record(log), None, "T/AGENT_REGISTRY.json"))
    assert "reason 1" in of_task and "reason 2" in of_task and "reason 3" not in of_task
    # A database has the agents of many tasks.
    shared = text_of(pages.audit(Record(log), None, "T/AGENT_REGISTRY.json", {"b"}))
    assert "reason 2" in shared and "reason 1" not in shared
    empty = text_of(pages.audit(Record(Log((), ())), "a", None))
    assert "no changes of the selected line" in empty
    assert "no permission" in text_of(pages.audit(Record(Log((), ()), "no permission"), "a", None))


def family() -> RollCall:
    agents = [
        agent("a"),
        agent("b", parent="a"),
        agent("c", parent="b"),
        agent("d", parent="a"),
        agent("e"),
    ]
    answer = answered(session("agent_a"))
    return roll_call(*called(task_state(*agents), answer=answer), answer=answer)


def row_of(roll: RollCall, agent_id: str) -> AgentRow:
    return next(each for each in roll.agents() if each.record.id == agent_id)


@pytest.mark.parametrize(
    ("who", "parent", "children"),
    [("a", None, ["b", "d"]), ("b", "a", ["c"]), ("c", "b", []), ("d", "a", []), ("e", None, [])],
)
def test_parent_and_children_are_found(who: str, parent: str | None, children: list[str]) -> None:
    roll = family()
    row = row_of(roll, who)
    found, beneath = relatives(row, task_of(row, roll))
    assert (found.record.id if found else None) == parent
    assert [each.record.id for each in beneath] == children


def shown(roll: RollCall, who: str, /, **entry: object) -> tuple[Row, ...]:
    item = row_of(roll, who)
    return overview(Line(item.key, item, 0, None), roll, Fields(dict(entry)), NOW)


def test_the_overview_leads_to_parent_and_children() -> None:
    roll = family()
    targets = [each.target for each in shown(roll, "b") if each.target is not None]
    assert targets == [row_of(roll, "a").key, row_of(roll, "c").key]


def test_the_overview_has_every_field_with_times_in_words_and_exact() -> None:
    roll = family()
    rows = shown(
        roll,
        "a",
        prompt="one\ntwo",
        completion_validation={"confidence": 0.9, "evidence": {"files": ["x.py", "y.py"]}},
        tracked_files=[],
        cursor_session_id=None,
    )
    text = text_of(rows)
    for each in ("prompt     one", "  two", "confidence  0.9", "    -  y.py"):
        assert each in text
    # Empty fields say nothing.
    assert "cursor_session_id" not in text and "tracked_files" not in text
    made = next(each.text for each in rows if each.text.startswith("made"))
    assert made.endswith(" ago") and made.count(":") == 2


def test_a_field_of_any_size_and_depth_is_cut() -> None:
    deep: object = "x"
    for _ in range(3000):
        deep = {"in": deep}
    rows = shown(family(), "a", wide=list(range(100_000)), deep=deep)
    assert len(rows) < 500
    assert "more; see the registry file" in text_of(rows)


def test_other_lines_have_an_overview_too() -> None:
    roll = family()
    (task,) = roll.tasks()
    line = Line(TaskKey(task.state.registry), task, 0, False)
    assert "task         TASK-1" in text_of(overview(line, roll, Fields(None), NOW))
    orphan = session("agent_x")
    text = text_of(overview(Line(AgentKey(task.state.registry, "x"), orphan, 0, None), roll,
                            Fields(None), NOW))  # fmt: skip
    assert "orphan  agent_x" in text
    assert overview(None, None, Fields(None), NOW) == ()


def test_a_task_whose_database_is_not_read_is_not_called_empty() -> None:
    database = UnreadDatabase(WORKSPACE / "registry" / "state.sqlite3", "is empty")
    state = replace(task_state(), database=database)
    (task,) = called(state, answer=answered())
    line = Line(TaskKey(state.registry), task, 0, False)
    text = text_of(overview(line, roll_call(task), Fields(None), NOW))
    assert "roll         agents unknown" in text
    assert "no agents" not in text and "counters" not in text and "status" not in text


def test_the_values_of_the_overview_are_below_each_other() -> None:
    roll = family()
    (task,) = roll.tasks()
    agents = [Line(row.key, row, 0, None) for row in task.agents]
    for line in [*agents, Line(TaskKey(task.state.registry), task, 0, False)]:
        rows = [each for each in overview(line, roll, Fields(None), NOW) if len(each.pieces) == 2]
        starts = {len(each.pieces[0][0]) for each in rows}
        assert len(starts) == 1 and {each.hang for each in rows} == starts


def test_no_line_of_the_overview_says_nothing() -> None:
    bare = agent("x", "", started=None, updated=None, progress=None, type_="")
    record = replace(task_record([bare]), max_agents=None, max_concurrent=5, max_depth=None)
    roll = roll_call(*called(task_state(record=record), answer=answered()))
    (task,) = roll.tasks()
    lines = overview(Line(TaskKey(task.state.registry), task, 0, False), roll, Fields(None), NOW)
    assert "limits       5 at once" in text_of(lines) and "?" not in text_of(lines)
    row = replace(task.agents[0], record=replace(bare, parent=None, depth=None))
    entry: dict[str, object] = {
        "claude_pid": None,
        "review_id": None,
        "tracked_files": {},
        "id": "x",
        "note": "",
    }
    lines = overview(Line(row.key, row, 0, None), roll, Fields(entry), NOW)
    for each in lines:
        assert each.text.split()[-1] not in ("-", "?", "null", "[]", "{}"), each.text
        assert len(each.text.split()) > 1, each.text


@given(any_text, st.sampled_from(["message", "type", "severity", "data", "written"]))
def test_no_text_of_a_file_acts_on_the_terminal(text: str, field: str) -> None:
    one = finding("high", "m")
    found = {
        "message": replace(one, message=text),
        "type": replace(one, type=text),
        "severity": replace(one, severity=text),
        "data": replace(one, data=text),
        "written": replace(one, at=None, timestamp=text),
    }[field]
    progress = ProgressReport(text, None, text, 5.0, text)
    rows = (
        *pages.findings(Tail((found,), size=1, error=text)),
        *pages.timeline(Tail((progress,), size=1), 40, NOW, ascii_only=False),
        *pages.log(Tail((LogLine(text, None, LogKind.TOOL_USE, text, text, True),), size=1)),
        *pages.pane(Screen(PaneCapture((text,), 1, 1, 1))),
        *pages.pane(Screen(None, text)),
        *shown(family(), "a", prompt=text, **{text: {text: [text]}}),
    )
    assert not set().union(*(harmful(each.text) for each in rows))
