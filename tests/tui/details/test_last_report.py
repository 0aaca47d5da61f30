"""The last report of an agent as one line of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output import ProgressReport
from tests.support.rolls import NOW, agent
from tui.details.last_report import report_text, since_start
from tui.text.sanitize import width


def report(message: str, at: float | None = NOW) -> ProgressReport:
    return ProgressReport("a time", at, "working", 50.0, message)


def test_a_message_becomes_one_line() -> None:
    assert report_text(report("  fixed\n\tthe  parser\u2028now\x1b[31m ")) == (
        "fixed the parser now\\e[31m"
    )
    assert report_text(report("")) == report_text(report(" \n ")) == report_text(None) == "-"
    assert report_text(report("abcdef"), 4) == "abc…"
    assert report_text(None, 4) == "-   "


@given(st.text(max_size=3000), st.integers(1, 60))
def test_the_text_has_the_given_width_and_no_control_characters(text: str, cells: int) -> None:
    shown = report_text(report(text), cells)
    assert width(shown) == cells
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)


def test_a_long_message_is_cut_visibly() -> None:
    assert report_text(report("x" * 5000)).endswith("x…")


def test_a_report_from_before_the_start_is_left_out() -> None:
    anew = agent("a", started=NOW)
    assert since_start(report("old", NOW - 60), anew) is None
    assert since_start(report("first", NOW - 1), anew) is not None
    assert since_start(report("no time", None), anew) is not None
    assert since_start(report("old", NOW - 60), agent("a", started=None)) is not None
