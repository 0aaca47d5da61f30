"""The operator's marks: ranges, inversion, and marks that die with their row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.view.marks import Marks
from tui.view.outline import OrphanKey

KEYS = [OrphanKey(f"${number}", number) for number in range(6)]
key_sets = st.frozensets(st.sampled_from(KEYS))


@st.composite
def any_marks(draw: st.DrawFn) -> Marks:
    keys = draw(key_sets)
    if draw(st.booleans()):
        return Marks(keys).starting(draw(st.sampled_from(KEYS))).reaching(draw(key_sets))
    return Marks(keys)


@given(any_marks(), key_sets)
def test_inverting_twice_changes_nothing_and_once_marks_the_unmarked(
    marks: Marks, keys: frozenset[OrphanKey]
) -> None:
    once = marks.inverting(keys)
    assert once.keys & keys == keys - marks.keys
    assert once.keys - keys == marks.keys - keys
    assert once.inverting(keys).keys == marks.keys


@given(any_marks(), key_sets)
def test_adding_takes_no_mark_away(marks: Marks, keys: frozenset[OrphanKey]) -> None:
    assert marks.adding(keys).keys == marks.keys | keys


@given(any_marks(), st.sampled_from(KEYS), st.lists(key_sets, min_size=1))
def test_a_range_marks_what_it_reaches_last_and_forgets_where_it_was(
    marks: Marks, start: OrphanKey, reached: list[frozenset[OrphanKey]]
) -> None:
    ranging = marks.starting(start)
    for each in reached:
        ranging = ranging.reaching(each)
    assert ranging.keys == marks.keys | reached[-1]
    assert ranging.ended() == Marks(marks.keys | reached[-1])


@given(any_marks(), key_sets, key_sets)
def test_marks_die_with_their_row_and_no_range_brings_them_back(
    marks: Marks, there: frozenset[OrphanKey], reached: frozenset[OrphanKey]
) -> None:
    left = marks.alive(there)
    assert left.keys == marks.keys & there
    assert left.reaching(reached & there).keys <= there
