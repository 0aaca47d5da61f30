"""Tests of an agent's output as text and as JSON, ordered by time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output.files import Batch
from registry.agent_output.lines import AgentFinding, LogKind, LogLine, ProgressReport
from tests.support.harm import NASTY, any_text, harmful
from tui.details.output_text import merged, record_json, record_lines
from tui.text.sanitize import as_json_line


def report(at: float | None, message: str = "m", status: str = "working") -> ProgressReport:
    return ProgressReport(None, at, status, 40.0, message)


def said(at: float | None, text: str = "t", kind: LogKind = LogKind.ASSISTANT) -> LogLine:
    return LogLine(None, at, kind, "", text)


def batch(*records: Any, modified: float | None = None) -> Batch[Any]:
    return Batch(records, modified=modified)


def test_records_of_several_files_are_in_the_order_of_their_times() -> None:
    one, two = report(1.0), report(3.0)
    found = AgentFinding(None, 2.0, "issue", "high", "m", "")
    order = merged({"progress": batch(one, two), "findings": batch(found)})
    assert list(order) == [("progress", one), ("findings", found), ("progress", two)]


def test_a_line_without_a_time_stands_with_the_one_before_or_after() -> None:
    log = batch(said(None, "a"), said(5.0, "b"), said(None, "c"), said(9.0, "d"))
    texts = [
        each.text if isinstance(each, LogLine) else each.message
        for _, each in merged({"progress": batch(report(4.0), report(7.0)), "log": log})
    ]
    assert texts == ["m", "a", "b", "c", "m", "d"]


def test_a_file_without_times_is_as_old_as_its_last_change() -> None:
    log = batch(said(None, "a"), modified=8.0)
    order = [name for name, _ in merged({"progress": batch(report(7.0), report(9.0)), "log": log})]
    assert order == ["progress", "log", "progress"]


TIMES = st.one_of(st.none(), st.floats(0, 100))
FILES = st.dictionaries(
    st.sampled_from(["progress", "findings", "log"]),
    st.builds(
        lambda times, modified: batch(*map(said, times), modified=modified),
        st.lists(TIMES, max_size=8),
        TIMES,
    ),
)


@given(FILES)
def test_nothing_is_lost_and_each_file_keeps_its_order(files: dict[str, Batch[Any]]) -> None:
    order = list(merged(files))
    for name, each in files.items():
        assert tuple(record for owner, record in order if owner == name) == each.records
    assert len(order) == sum(len(each.records) for each in files.values())


def test_lines_say_when_what_and_the_text_beneath() -> None:
    finding = AgentFinding("2025-10-18T21:59:21", 1.0, "issue", "high", "two\nlines", '{"n": 1}')
    first, second, third = record_lines(finding)
    assert first.endswith("  ! high issue: two") and first.startswith("19")
    assert (second, third) == (" " * 21 + "lines", " " * 21 + '{"n": 1}')
    (line,) = record_lines(report(None, ""))
    assert line.strip() == "▸ working 40 %"
    (used,) = record_lines(LogLine(None, None, LogKind.TOOL_USE, "Bash", '{"command": "ls"}'))
    assert used.strip() == '$ Bash: {"command": "ls"}'
    (ended,) = record_lines(LogLine(None, None, LogKind.RESULT, "success", "done", True))
    assert ended.strip() == "result success (failed): done"


def test_a_long_text_is_cut_and_it_says_so() -> None:
    lines = list(record_lines(said(1.0, "\n".join(map(str, range(100))))))
    assert len(lines) == 12 and lines[-1].strip() == "… 89 more lines"


RECORDS = st.one_of(
    st.builds(ProgressReport, st.none() | any_text, TIMES, any_text, TIMES, any_text),
    st.builds(AgentFinding, st.none() | any_text, TIMES, any_text, any_text, any_text, any_text),
    st.builds(
        LogLine, st.none() | any_text, TIMES, st.sampled_from(LogKind), any_text, any_text,
        st.booleans(),
    ),
)  # fmt: skip


def assert_harmless(record: Any) -> None:
    for line in record_lines(record):
        assert not harmful(line)
    text = as_json_line(record_json("log", record))
    assert not harmful(text)
    assert json.loads(text)["source"] == "log"


@given(RECORDS)
def test_nothing_that_acts_on_a_terminal_is_printed(record: Any) -> None:
    assert_harmless(record)


@pytest.mark.parametrize("text", NASTY)
def test_nor_what_is_nasty(text: str) -> None:
    assert_harmless(LogLine(text, float("inf"), LogKind.OTHER, text, text))
    assert_harmless(AgentFinding(text, None, text, text, text, text))
