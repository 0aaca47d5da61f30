"""Tests of untrusted text that is made safe to show, and cut to a width."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harm import NASTY, any_text, harmful
from tui.text.sanitize import (
    SHOWN_AT_MOST,
    age,
    age_in_words,
    fit,
    fit_id,
    harmless,
    harmless_lines,
    short_percent,
    short_size,
    size,
    some,
    width,
)


@given(any_text)
def test_nothing_that_acts_on_a_terminal_is_left(text: str) -> None:
    assert harmful(harmless(text)) == set()


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_each_kind_of_attack_is_made_harmless(text: str) -> None:
    assert harmful(harmless(text)) == set()


def test_no_single_character_of_unicode_slips_through() -> None:
    for start in range(0, 0x110000, SHOWN_AT_MOST):
        every = "".join(map(chr, range(start, start + SHOWN_AT_MOST)))
        assert harmful(harmless(every)) == set()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\e[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_would_act_becomes_a_visible_escape(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_signs_that_terminals_measure_differently_are_shown_alike_by_all() -> None:
    assert harmless("\U0001f44d\U0001f3fd up") == "\U0001f44d up"
    assert harmless("from \U0001f1e9\U0001f1ea") == "from DE"


def test_what_terminals_do_not_agree_on_the_width_of_is_left_out() -> None:
    assert harmless("\u26a0\ufe0f 1\ufe0f\u20e3 e\u0301\ufe0f\u0302\u0303") == (
        "\u26a0 1 e\u0301\u0302"
    )


@given(any_text)
def test_what_is_harmless_already_stays_as_it_is(text: str) -> None:
    once = harmless(text)
    assert harmless(once) == once


MEASURED_DIFFERENTLY = [chr(code) for code in (*range(0x1F1E6, 0x1F200), *range(0x1F3FB, 0x1F400))]
"""The letters of flags, and skin tones."""


@given(
    st.text(
        st.characters(
            categories=("L", "N", "P", "S", "Zs"), exclude_characters=MEASURED_DIFFERENTLY
        )
    )
)
def test_ordinary_text_of_any_script_is_not_changed(text: str) -> None:
    assert harmless(text) == text


@given(any_text, st.integers(0, 40))
def test_the_length_is_bounded_by_the_limit(text: str, limit: int) -> None:
    longest_escape = len("\\U0010ffff")
    assert len(harmless(text, limit)) <= limit * longest_escape + 1


@pytest.mark.parametrize("character", ["a", "\x1b", "日", "\u0301", "\u202e"], ids=ascii)
def test_ten_megabytes_are_cut_before_they_are_looked_at(character: str) -> None:
    shown = harmless(character * 10_000_000)
    assert len(shown) <= SHOWN_AT_MOST * len("\\u202e") + 1
    assert shown.endswith("…")


def test_a_cut_is_seen() -> None:
    assert harmless("abcdef", 3) == "abc…"
    assert harmless("abc", 3) == "abc"
    assert harmless("\x1bbcdef", 3) == "\\ebc…"


def test_marks_are_not_piled_onto_other_lines() -> None:
    piled = harmless("e" + "\u0301" * 30 + "x" + "\u0301")
    assert piled == "e\u0301\u0301x\u0301"


@given(any_text)
def test_only_line_ends_keep_their_effect_on_several_lines(text: str) -> None:
    lines = harmless_lines(text)
    assert all(not harmful(line) for line in lines)
    assert len(lines) == text.replace("\r\n", "\n").count("\n") + 1


def test_ten_megabytes_of_line_ends_and_tabs_are_cut_too() -> None:
    assert len(harmless_lines("\n" * 10_000_000)) <= SHOWN_AT_MOST + 1
    assert len("".join(harmless_lines("\t" * 10_000_000))) <= SHOWN_AT_MOST + 1


@given(any_text, st.integers(-1, 60))
def test_fit_gives_exactly_the_cells_asked_for(text: str, cells: int) -> None:
    assert width(fit(harmless(text), cells)) == max(0, cells)


@given(any_text, st.integers(-1, 60))
def test_fit_id_gives_exactly_the_cells_asked_for(text: str, cells: int) -> None:
    assert width(fit_id(harmless(text), cells)) == max(0, cells)


@given(any_text, st.integers(1, 60))
def test_what_fits_is_only_padded(text: str, cells: int) -> None:
    shown = harmless(text)
    if width(shown) <= cells:
        assert fit(shown, cells) == fit_id(shown, cells) == shown + " " * (cells - width(shown))


@given(any_text)
def test_no_cells_hold_nothing_not_even_a_mark_without_width(text: str) -> None:
    assert fit(harmless(text), 0) == fit_id(harmless(text), 0) == ""


def test_a_cut_at_the_end_is_seen() -> None:
    assert fit("abcdef", 4) == "abc…"
    assert fit("日本語", 4) == "日… "


def test_a_cut_id_keeps_the_end_that_tells_it_from_its_siblings() -> None:
    one = fit_id("current_implementation_investigator-215637-4722d7", 24)
    other = fit_id("current_implementation_investigator-215637-8a3aa4", 24)
    assert one.startswith("current_") and one.endswith("-4722d7")
    assert one != other


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (-5, "<1m"),
        (0, "<1m"),
        (59.9, "<1m"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (1e12, "999d"),
    ],
)
def test_an_age_is_one_unit_in_at_most_four_characters(seconds: float | None, shown: str) -> None:
    assert age(seconds) == shown
    assert len(shown) <= 4


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "less than a minute"),
        (30, "less than a minute"),
        (300, "5 min"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_an_age_in_words_names_two_units(seconds: float, words: str) -> None:
    assert age_in_words(seconds) == words


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KB"), (5 << 20, "5 MB"), (3 << 40, "3.0 TB")],
)
def test_a_size_is_in_the_largest_unit_that_leaves_one(count: int, shown: str) -> None:
    assert size(count) == shown


def test_a_count_agrees_with_its_noun() -> None:
    assert some(1, "agent") == "1 agent"
    assert some(0, "agent") == "0 agents"
    assert some(2, "process", "processes") == "2 processes"


def test_the_test_for_harm_knows_harm() -> None:
    benign = {text for text in NASTY if not harmful(text)}
    assert benign == {"e" + "\u0301" * 30, "[/x][@click=app.quit]x[/]"}
    assert unicodedata.category("\x1b") == "Cc"


@given(st.integers(0, 2**70))
def test_a_short_size_has_five_characters_at_most_and_is_about_right(count: int) -> None:
    shown = short_size(count)
    assert len(shown) <= 5
    factor = 1024.0 ** "BKMGT".index(shown[-1])
    if count < 9 * 10**15:
        assert float(shown[:-1]) * factor == pytest.approx(count, rel=0.06, abs=0.6)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0B"),
        (999, "1.0K"),
        (3 << 20, "3.0M"),
        (251 << 20, "250M"),
        (1 << 50, "1000T"),
        (1 << 70, "9999T"),
    ],
)
def test_a_short_size_is_coarse(count: int, shown: str) -> None:
    assert short_size(count) == shown


@given(st.floats(0, 1e9))
def test_a_short_percentage_has_five_characters_at_most_and_is_about_right(value: float) -> None:
    shown = short_percent(value)
    assert len(shown) <= 5
    if value < 9999:
        assert float(shown[:-1]) == pytest.approx(value, rel=0.06, abs=0.5)
