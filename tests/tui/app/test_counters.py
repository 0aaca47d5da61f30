"""The counters of the header: one for each verdict, as many words as there is room for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.still_app import SEARCH, SPEED, call
from tui.app.widgets.header import _counts
from tui.model.verdicts import VERDICTS
from tui.view.sort import urgency_words

ROLL = replace(call(SEARCH, SPEED), counts=dict.fromkeys(VERDICTS, 12))


@pytest.mark.parametrize("cells", range(60, 140, 4))
def test_every_counter_fits_and_the_least_urgent_lose_their_names(cells: int) -> None:
    line, places = _counts(ROLL, None, cells)
    assert line.cell_length <= cells
    assert [verdict for _, _, verdict in places] == list(VERDICTS)
    for start, end, verdict in places:
        assert line.plain[start:end].startswith(f"{VERDICTS[verdict].glyph} 12")
    named = [word for word in urgency_words() if word in line.plain]
    assert named == list(urgency_words())[: len(named)]


def test_a_verdict_without_agents_has_a_counter_if_there_is_room() -> None:
    roll = replace(ROLL, counts=dict.fromkeys(VERDICTS, 0))
    line, _ = _counts(roll, None, 140)
    assert all(f"{entry.glyph} 0 {verdict}" in line.plain for verdict, entry in VERDICTS.items())
    line, places = _counts(roll, None, 80)
    assert (line.plain, places) == ("no agents", ())
