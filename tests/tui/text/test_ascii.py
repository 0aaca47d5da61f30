"""Tests of text in ASCII, which keeps its width in cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from tui.app.widgets.ascii_filter import AsciiFilter, ascii_filters
from tui.model.verdicts import VERDICTS
from tui.progress import bar
from tui.text.ascii import ascii_only, is_ascii_locale
from tui.text.sanitize import harmless, width

SIGNS = "".join(entry.glyph for entry in VERDICTS.values()) + "━─▸▾▌…│╭╮╰╯▔▁"


@given(st.text())
def test_it_is_ascii_and_exactly_as_wide(text: str) -> None:
    shown = harmless(text)
    plain = ascii_only(shown)
    assert plain.isascii() and plain.isprintable()
    assert len(plain) == width(shown)


@given(st.text(alphabet=SIGNS + "aé日本👍🏽ے"))
def test_so_are_our_own_signs(text: str) -> None:
    assert ascii_only(text).isascii() and len(ascii_only(text)) == width(text)


def test_verdicts_stay_apart_and_accents_go() -> None:
    assert len({entry.ascii_glyph for entry in VERDICTS.values()}) == len(VERDICTS)
    assert "?" not in {ascii_only(sign) for sign in SIGNS if sign != "?"}
    assert ascii_only("naïve Zoë") == "naive Zoe"
    assert ascii_only("日本") == "????"


def test_the_filter_keeps_styles_and_widths() -> None:
    bold = Style(bold=True)
    done = AsciiFilter().apply([Segment("● live", bold), Segment("x")], Color(0, 0, 0))
    assert done == [Segment("* live", bold), Segment("x")]


@pytest.mark.parametrize(
    ("environment", "is_ascii"),
    [
        ({}, False),
        ({"LANG": "en_GB.UTF-8"}, False),
        ({"LANG": "en_GB.utf8"}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "POSIX"}, True),
        ({"LANG": "C", "LC_ALL": ""}, True),
    ],
)
def test_the_locale_decides(
    environment: dict[str, str], is_ascii: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_ascii_locale(environment) is is_ascii
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bool(ascii_filters(None)) is is_ascii
    assert ascii_filters(True) and not ascii_filters(False)


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 200))
def test_a_bar_is_exactly_as_wide_as_there_is_room(done: int, more: int, cells: int) -> None:
    line = bar("Reading registries", done, done + more, cells)
    assert width(line) == cells
