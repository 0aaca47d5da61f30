"""Tests that the overview, `muster show` and its JSON contain the same facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from registry.agent_output.files import FileFacts
from registry.audit.entries import Log
from registry.sources.json_source import JsonTask
from tests.support.rolls import NOW, agent, answered, called, roll_call, session, task_state
from tests.support.workspaces import Files, entry
from tui.cli.format_agent import About, about_json, about_lines
from tui.details.fields import agent_fields, task_of
from tui.details.overview import overview
from tui.details.sources import Fields, FieldsSource
from tui.model.roll import AgentKey, AgentRow, RollCall
from tui.view.outline import Line

MORE = Fields(
    {"id": "b", "type": "tester", "prompt": "one\ntwo", "ended_at": "2025-10-10T10:00:00",
     "evidence": {"files": ["x.py", {"deep": None}]}},
    (FileFacts("progress", Path("/w/T/progress/b.jsonl"), 5, NOW - 60, None),
     FileFacts("log", Path("/w/T/logs/b.jsonl"), None, None, "a FIFO")),
    {"status": "completed"},
)  # fmt: skip


@pytest.fixture
def roll() -> RollCall:
    agents = [agent("a"), agent("b", parent="a"), agent("c", parent="b")]
    answer = answered(session("agent_b"))
    return roll_call(*called(task_state(*agents), answer=answer), answer=answer)


def row_of(roll: RollCall, agent_id: str) -> AgentRow:
    return next(each for each in roll.agents() if each.record.id == agent_id)


def about(roll: RollCall, row: AgentRow, more: Fields) -> About:
    task = task_of(row, roll)
    assert task is not None
    return About(row, task, more, (), (), Log((), ()), (), ())


def in_words(lines: list[str]) -> list[str]:
    return [" ".join(each.split()) for each in lines]


@pytest.mark.parametrize("who", ["a", "b", "c"])
def test_the_overview_and_show_have_the_same_lines(roll: RollCall, who: str) -> None:
    row = row_of(roll, who)
    rows = overview(Line(row.key, row, 0, None), roll, MORE, NOW)
    lines = list(about_lines(about(roll, row, MORE), NOW))
    assert in_words([each.text for each in rows]) == in_words(lines)


def test_every_line_with_a_link_leads_to_a_relative(roll: RollCall) -> None:
    row = row_of(roll, "b")
    links = {
        each.label: each.link
        for each in agent_fields(row, task_of(row, roll), MORE, NOW)
        if each.link is not None
    }
    assert links == {"parent": row_of(roll, "a").key, "child": row_of(roll, "c").key}


def test_the_json_has_what_the_lines_stand_for(roll: RollCall) -> None:
    row = row_of(roll, "b")
    document = about_json(about(roll, row, MORE), NOW)
    assert set(document) == {
        "schema", "last_report", "id", "verdict", "ended_as", "note", "started", "updated",
        "workspace", "task", "entry", "listed", "session", "taken_by", "processes", "parent",
        "children", "files", "progress", "findings", "audit", "problems",
    }  # fmt: skip
    for each in agent_fields(row, task_of(row, roll), MORE, NOW):
        assert each.data.items() <= document.items()
    assert [each["id"] for each in document["children"]] == ["c"]
    assert document["parent"]["id"] == "a"
    assert document["session"]["name"] == "agent_b"
    assert [each["name"] for each in document["files"]] == ["progress", "log"]


def test_without_session_relatives_and_entry_the_json_has_the_same_keys(roll: RollCall) -> None:
    bare = replace(row_of(roll, "c"), session=None)
    whole = about_json(about(roll, row_of(roll, "b"), MORE), NOW)
    assert set(about_json(about(roll, bare, Fields(None)), NOW)) == set(whole)


def test_a_session_that_has_the_name_now_is_told_to_both(roll: RollCall) -> None:
    other = session("agent_b", created=7)
    row = replace(row_of(roll, "b"), session=None, name_reused_by=other)
    document = about_json(about(roll, row, MORE), NOW)
    assert document["session"] is None
    assert document["taken_by"] == {"session": "agent_b", "created": 7}
    values = [each.value for each in agent_fields(row, task_of(row, roll), MORE, NOW)]
    assert "Another session has this name now:" in values


def test_of_two_entries_of_one_id_each_has_its_own_fields(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a", odd="one"), entry("a", "failed", odd="two")]})
    for ordinal, odd in ((0, "one"), (1, "two")):
        found = FieldsSource(
            JsonTask(files.registry()), AgentKey(files.registry(), "a", ordinal)
        ).read()
        assert found is not None and found.entry is not None
        assert found.entry["odd"] == odd
    none = FieldsSource(JsonTask(files.registry()), AgentKey(files.registry(), "a", 2)).read()
    assert none is not None and none.entry is None
