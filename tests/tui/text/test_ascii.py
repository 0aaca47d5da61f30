"""Tests of text in ASCII, which keeps its width in cells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
def test_the_locale_decides(environment: dict[str, str], is_ascii: bool) -> None:
    assert is_ascii_locale(environment) is is_ascii


@pytest.mark.processes
@pytest.mark.parametrize(
    ("environment", "is_ascii"),
    [
        ({"LANG": "C"}, True),
        ({"LANG": "POSIX"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({}, False),
    ],
)
def test_the_locale_of_the_user_decides_and_not_the_one_that_python_sets(
    environment: dict[str, str], is_ascii: bool
) -> None:
    code = (
        "import os; from tui.app.widgets.ascii_filter import ascii_filters\n"
        "print(bool(ascii_filters(None)), os.environ.get('LC_CTYPE'))"
    )
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(is_ascii), "C.UTF-8"]


def test_a_setting_goes_before_the_locale() -> None:
    assert ascii_filters(True) and not ascii_filters(False)


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 200))
def test_a_bar_is_exactly_as_wide_as_there_is_room(done: int, more: int, cells: int) -> None:
    line = bar("Reading registries", done, done + more, cells)
    assert width(line) == cells
