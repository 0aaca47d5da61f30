"""What an agent writes of itself, line by line."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output.lines import (
    TEXT_AT_MOST,
    AgentFinding,
    LogKind,
    LogLine,
    ProgressReport,
    is_whole,
    raw_log,
    read_finding,
    read_log,
    read_progress,
)
from tests.support.fixture_workspace import SOURCE
from tests.support.json_values import values as any_json

WHEN = "2025-10-18T21:59:21.213230"


def line(value: Any) -> bytes:
    return json.dumps(value).encode()


def parts(value: Any) -> list[tuple[LogKind, str, str]]:
    return [(each.kind, each.name, each.text) for each in read_log(line(value)) or ()]


def message(kind: str, content: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": WHEN, "message": {"role": kind, "content": content}}


def test_a_report_is_read_with_its_time() -> None:
    (report,) = (
        read_progress(
            line({"timestamp": WHEN, "status": "working", "message": "half", "progress": 50})
        )
        or ()
    )
    assert (report.timestamp, report.status, report.message, report.progress) == (
        WHEN, "working", "half", 50.0,
    )  # fmt: skip
    assert report.at is not None


def test_every_line_that_real_agents_wrote_is_read_whole() -> None:
    reports = [
        each
        for path in SOURCE.glob("*/progress/*.jsonl")
        for each in path.read_bytes().split(b"\n")
    ]
    findings = [
        each
        for path in SOURCE.glob("*/findings/*.jsonl")
        for each in path.read_bytes().split(b"\n")
    ]
    read = [each for each in map(read_progress, filter(None, reports)) if each]
    assert len(read) == len(list(filter(None, reports))) > 20
    assert all(each[0].at and each[0].message and each[0].status for each in read)
    found = [each for each in map(read_finding, filter(None, findings)) if each]
    assert len(found) == len(list(filter(None, findings))) > 20
    assert all(each[0].severity and each[0].type and each[0].message for each in found)


def test_what_comes_with_a_finding_is_kept_as_json_and_nothing_as_nothing() -> None:
    (rich,) = read_finding(line({"finding_type": "issue", "data": {"line": 7}})) or ()
    (poor,) = read_finding(line({"finding_type": "issue", "data": {}})) or ()
    assert (rich.data, poor.data) == ('{"line": 7}', "")


def test_a_message_of_the_model_is_its_words_and_the_tools_it_uses() -> None:
    said = message(
        "assistant",
        [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}},
        ],
    )
    assert parts(said) == [
        (LogKind.THINKING, "", "hm"),
        (LogKind.ASSISTANT, "", "I look."),
        (LogKind.TOOL_USE, "Bash", '{"command": "ls"}'),
    ]
    assert all(each.timestamp == WHEN and each.at for each in read_log(line(said)) or ())


def test_what_a_tool_gave_is_text_and_whether_it_failed() -> None:
    plain = message("user", [{"type": "tool_result", "content": "a.py"}])
    assert parts(plain) == [(LogKind.TOOL_RESULT, "", "a.py")]
    blocks = [{"type": "text", "text": "a"}, {"type": "image", "source": 1}]
    failed = message("user", [{"type": "tool_result", "content": blocks, "is_error": True}])
    (each,) = read_log(line(failed)) or ()
    assert each.text == 'a\n{"type": "image", "source": 1}'
    assert each.is_error


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (message("user", "go on"), (LogKind.USER, "", "go on")),
        ({"type": "result", "subtype": "success", "result": "all done", "cost": 1},
         (LogKind.RESULT, "success", "all done")),
        ({"type": "result", "turns": 3}, (LogKind.RESULT, "", '{"turns": 3}')),
        ({"type": "system", "subtype": "init", "cwd": "/x"},
         (LogKind.SYSTEM, "init", '{"cwd": "/x"}')),
        ({"type": "tool_use", "name": "Read", "input": {}}, (LogKind.TOOL_USE, "Read", "{}")),
        ({"level": "info"}, (LogKind.OTHER, "", '{"level": "info"}')),
        (message("assistant", [7]), (LogKind.OTHER, "", "7")),
    ],
)  # fmt: skip
def test_each_kind_of_line_is_told_and_other_shapes_are_compact_json(
    value: Any, expected: tuple[LogKind, str, str]
) -> None:
    assert parts(value) == [expected]


def test_an_empty_message_is_not_left_out() -> None:
    assert [kind for kind, _, _ in parts(message("assistant", []))] == [LogKind.OTHER]


@pytest.mark.parametrize("read", [read_progress, read_finding, read_log])
@pytest.mark.parametrize(
    "text", [b"", b"[]", b"7", b"{", b"\xff{}", b"[" * 100_000, b"9" * 5000, b"\x00"]
)
def test_what_is_no_object_is_malformed(read: Any, text: bytes) -> None:
    assert read(text) is None


def test_a_line_that_is_no_json_is_kept_as_it_is_where_that_tells_something() -> None:
    assert raw_log(b"Error: \xff") == (LogLine(None, None, LogKind.RAW, "", "Error: \ufffd"),)


def test_no_text_is_longer_than_the_limit() -> None:
    huge = "x" * (TEXT_AT_MOST * 2)
    (report,) = read_progress(line({"message": huge, "status": huge})) or ()
    assert len(report.message) == len(report.status) == TEXT_AT_MOST + 1
    (said,) = read_log(line({"huge": huge})) or ()
    assert len(said.text) == TEXT_AT_MOST + 1


_SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(
            st.sampled_from(["assistant", "user", "result", "system", "tool_use"]), any_json
        ),
        "message": st.one_of(
            any_json, st.fixed_dictionaries({}, optional={"content": st.lists(any_json)})
        ),
        "timestamp": any_json,
        "status": any_json,
        "progress": any_json,
        "data": any_json,
        "result": any_json,
    },
)


@given(st.one_of(_SHAPED, any_json))
def test_any_json_is_read_or_malformed_and_never_an_error(value: Any) -> None:
    text = line(value)
    for read in (read_progress, read_finding, read_log):
        records = read(text)
        assert (records is None) == (not isinstance(value, dict))
        for each in records or ():
            assert isinstance(each, ProgressReport | AgentFinding | LogLine)
            fields = astuple(each)
            assert all(isinstance(field, str | float | bool | None) for field in fields)


@given(st.binary())
def test_any_bytes_are_read_or_malformed(text: bytes) -> None:
    for read in (read_progress, read_finding, read_log):
        read(text)
    assert isinstance(raw_log(text)[0].text, str)


@given(_SHAPED, st.data())
def test_no_part_of_a_line_is_taken_for_the_whole(
    value: dict[str, Any], data: st.DataObject
) -> None:
    text = line(value)
    assert is_whole(text)
    assert not is_whole(text[: data.draw(st.integers(0, len(text) - 1))])
