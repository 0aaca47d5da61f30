"""Tests that a pane's content keeps its colours, and that no escape sequence remains."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style

from tui.details.ansi import LINE_AT_MOST, screen_rows

ESC = "\x1b"


def shown(line: str) -> list[tuple[str, Style | str]]:
    (row,) = screen_rows([line])
    return list(row.pieces)


@pytest.mark.parametrize(
    ("codes", "style"),
    [
        ("31", "color(1)"),
        ("1;4;97", "bold underline color(15)"),
        ("38;5;200", "color(200)"),
        ("38;2;1;2;3;1", "bold #010203"),
        ("48:2::9:8:7", "on #090807"),
        ("48:5:17", "on color(17)"),
        ("44;103", "on color(11)"),
        ("4:3", "underline"),
        ("58;5;3;31", "color(1)"),
        ("1;2;22;3", "italic"),
        ("31;39;7", "reverse"),
    ],
)
def test_colours_and_the_like_become_styles(codes: str, style: str) -> None:
    assert shown(f"a{ESC}[{codes}mb{ESC}[mc") == [("a", ""), ("b", Style.parse(style)), ("c", "")]


def test_colours_go_on_in_the_next_line() -> None:
    one, two = screen_rows([f"{ESC}[31mred", f"red too{ESC}[0m plain"])
    assert one.pieces == (("red", Style.parse("color(1)")),)
    assert two.pieces == (("red too", Style.parse("color(1)")), (" plain", ""))


@pytest.mark.parametrize("codes", ["38;5;999", "38;2;1;2", "38", "38:9:1", "38;5", "12345678901"])
def test_what_is_not_understood_changes_nothing(codes: str) -> None:
    assert "".join(text for text, _ in shown(f"{ESC}[{codes}mtext")) == "text"


def test_lines_are_drawn_and_links_lose_their_target() -> None:
    assert shown("\x0elqk\x0f q") == [("┌─┐", ""), (" q", "")]
    link = f"{ESC}]8;;https://evil.example{ESC}\\here{ESC}]8;;{ESC}\\"
    assert "".join(text for text, _ in shown(link)) == "here"


@pytest.mark.parametrize(
    "harm",
    [f"{ESC}[2J", f"{ESC}]52;c;RVZJTA==\x07", f"{ESC}[?1049h", "\x9b31m", f"{ESC}P+q{ESC}\\"],
)
def test_every_other_sequence_becomes_visible(harm: str) -> None:
    said = "".join(text for text, _ in shown(f"a{harm}b"))
    assert said.isprintable()
    assert len(said) > len("ab") + 1


PARTS = st.sampled_from(
    [ESC, "[", "m", ";", ":", "38", "5", "2", "0", "]8;;", "\\", "\x07", "\x0e", "\x0f", "é", "日"]
)


@given(st.lists(st.one_of(st.text(max_size=8), PARTS), max_size=40).map("".join))
def test_no_character_that_acts_on_a_terminal_is_left(line: str) -> None:
    for text, _ in shown(line):
        assert not any(unicodedata.category(each) in ("Cc", "Cf", "Cs") for each in text)


def test_a_line_without_end_is_cut() -> None:
    assert len(screen_rows(["x" * 10_000_000])[0].text) <= LINE_AT_MOST + 1
