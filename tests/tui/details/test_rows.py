"""Tests of rows that are wrapped to a width, and of marked matches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.details.rows import marked, row, wrapped
from tui.text.sanitize import harmless

TEXTS = st.text("ab ab cde   日本éx̂", max_size=60).map(harmless)
PIECES = st.lists(st.tuples(TEXTS, st.sampled_from(["", "dim", "bold"])), max_size=6)


def test_a_row_is_broken_between_words_and_its_further_lines_hang() -> None:
    lines = wrapped(row(("name  ", "dim"), "one two three four", hang=2), 14)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "name  one two",
        "  three four",
    ]
    assert lines[0][0] == ("name  ", "dim")


def test_a_word_that_is_too_long_is_broken_within() -> None:
    lines = wrapped(row("abcdefghij"), 4)
    assert ["".join(text for text, _ in line) for line in lines] == ["abcd", "efgh", "ij"]


def test_a_path_is_broken_after_a_slash_and_an_id_after_a_joint() -> None:
    lines = wrapped(row(("global  ", "dim"), "registry/GLOBAL_REGISTRY.json", hang=8), 30)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "global  registry/",
        "        GLOBAL_REGISTRY.json",
    ]
    lines = wrapped(row(("id  ", "dim"), "code_auditor-215911-8c90c7", hang=4), 20)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "id  code_auditor-",
        "    215911-8c90c7",
    ]


@given(PIECES, st.integers(2, 40), st.integers(0, 12))
def test_no_line_is_too_wide_and_no_letter_is_lost(
    pieces: list[tuple[str, str]], width: int, hang: int
) -> None:
    lines = wrapped(row(*pieces, hang=hang), width)
    assert all(cell_len("".join(text for text, _ in line)) <= width for line in lines)
    together = "".join(text for line in lines for text, _ in line)
    assert together.replace(" ", "") == "".join(text for text, _ in pieces).replace(" ", "")


@given(PIECES, st.text("ab 日", max_size=3))
def test_marking_matches_changes_styles_alone(pieces: list[tuple[str, str]], query: str) -> None:
    text = "".join(part for part, _ in pieces)
    found = list(marked(pieces, query))
    assert "".join(part for part, _ in found) == text
    assert any(style == "match" for _, style in found) == (bool(query) and query in text)


def test_matches_are_found_whatever_the_case_and_across_pieces() -> None:
    assert list(marked([("Say HEL", "dim"), ("lo", "")], "hello")) == [
        ("Say ", "dim"),
        ("HEL", "match"),
        ("lo", "match"),
    ]
