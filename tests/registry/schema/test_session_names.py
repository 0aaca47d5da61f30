"""The names that tmux gives to the sessions that registries name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.session_names import (
    all_spellings,
    is_tmux_name_certain,
    replaced_spellings,
    spellings,
    with_two_spellings,
)

NAMES = st.sets(st.text("ab._:", max_size=4), max_size=8)


def test_dots_and_colons_are_kept_or_replaced_all_together() -> None:
    assert spellings("agent_a.b:c") == {"agent_a.b:c", "agent_a_b_c"}
    assert spellings("agent_a-1") == {"agent_a-1"}


@given(NAMES)
def test_a_spelling_is_a_names_own_if_no_other_name_has_it(names: set[str]) -> None:
    own, shared = replaced_spellings(names)
    assert own.keys() | shared.keys() == with_two_spellings(names)
    assert not own.keys() & shared.keys()
    for name in own:
        assert all(own[name] not in spellings(other) for other in names - {name})
    for name in shared:
        assert any(shared[name] in spellings(other) for other in names - {name})


def test_one_uncertain_name_makes_all_unknown() -> None:
    assert all_spellings(["a.b", "c"]) == frozenset({"a.b", "a_b", "c"})
    assert all_spellings(["a.b", "#{pid}"]) is None


@pytest.mark.parametrize("name", ["a.b:c", "日本", "a b", ""])
def test_a_printable_name_without_formats_is_certain(name: str) -> None:
    assert is_tmux_name_certain(name)
