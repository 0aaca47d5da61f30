"""The table of verdicts: everything that shows verdicts follows it."""

from __future__ import annotations

from pathlib import Path

from textual.binding import Binding

from tests.support.rolls import answered, called, roll_call
from tui.app.widgets.roll_bindings import ROLL_KEYS
from tui.app.widgets.roll_list import RollView
from tui.cli.commands.list import PAGE
from tui.cli.format_roll import roll_json
from tui.model.roll import Verdict
from tui.model.verdicts import TERMINATED, VERDICTS, verdict_lines
from tui.text.ascii import ascii_only
from tui.text.sanitize import width
from tui.view.sort import urgency_words

_ROOT = Path(__file__).parents[3]


def test_the_table_has_every_verdict_in_one_order() -> None:
    assert tuple(VERDICTS) == tuple(Verdict)
    assert {entry.urgency for entry in VERDICTS.values()} == set(range(len(VERDICTS)))


def test_every_verdict_has_a_glyph_of_its_own() -> None:
    for glyphs in (
        [*(entry.glyph for entry in VERDICTS.values()), TERMINATED],
        [*(entry.ascii_glyph for entry in VERDICTS.values()), ascii_only(TERMINATED)],
    ):
        assert len(set(glyphs)) == len(VERDICTS) + 1
        assert all(width(glyph) == 1 for glyph in glyphs)


def test_every_verdict_has_its_key() -> None:
    keys = {
        binding.action: binding.key
        for binding in ROLL_KEYS
        if isinstance(binding, Binding) and binding.action.startswith("only")
    }
    assert keys == {f"only('{verdict}')": entry.key for verdict, entry in VERDICTS.items()}
    assert sorted(keys.values()) == [str(number) for number in range(1, len(VERDICTS) + 1)]


def test_the_keys_of_before_stay() -> None:
    of_before = ("live", "stalled", "zombie", "leaked", "orphan", "unknown", "finished")
    assert [VERDICTS[Verdict(word)].key for word in of_before] == list("1234567")


def test_counts_follow_the_table() -> None:
    assert list(roll_json(roll_call(*called(answer=answered())))["counts"]) == list(VERDICTS)


def test_the_style_of_a_verdict_is_that_of_the_table() -> None:
    for verdict, entry in VERDICTS.items():
        (rule,) = (
            line for line in RollView.DEFAULT_CSS.splitlines() if f".roll--{verdict} " in line
        )
        assert all(word in rule for word in entry.style.split())


def test_the_help_of_list_follows_the_table() -> None:
    assert "\n".join(f"  {line}" for line in verdict_lines()) in PAGE.text
    assert ", ".join(urgency_words()) in PAGE.text


def test_the_most_urgent_comes_first() -> None:
    assert urgency_words() == (
        "zombie",
        "stalled",
        "blocked",
        "failed",
        "leaked",
        "orphan",
        "unknown",
        "live",
        "finished",
    )


def test_the_readme_and_the_guide_have_the_table() -> None:
    short = [f"| {each.glyph} **{word}** | {each.meaning} |" for word, each in VERDICTS.items()]
    long = [
        f"| {each.glyph} | `{each.ascii_glyph}` | **{word}** | {each.meaning} | {each.advice} |"
        for word, each in VERDICTS.items()
    ]
    for page, rows in (("README.md", short), ("tui/README.md", long)):
        lines = (_ROOT / page).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line in rows] == rows
