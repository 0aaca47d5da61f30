"""Which sessions are surely gone."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from registry import gone_sessions


def looks(*answers: Collection[str] | None) -> Iterator[Collection[str] | None]:
    return iter(answers)


def gone(sessions: list[str], *answers: Collection[str] | None) -> frozenset[str]:
    given, waits = looks(*answers), list[float]()
    found = gone_sessions(sessions, lambda: next(given), sleep=waits.append)
    assert waits in ([], [0.75])
    return found


def test_a_session_is_gone_if_neither_query_lists_it() -> None:
    assert gone(["agent_a", "agent_b"], {"agent_b"}, {"agent_b", "new"}) == {"agent_a"}
    assert gone(["agent_a"], {"agent_a"}, set()) == frozenset()
    assert gone(["agent_a"], set(), {"agent_a"}) == frozenset()
    assert gone(["agent_a"], set(), set()) == {"agent_a"}


@pytest.mark.parametrize("answers", [(None,), (set(), None)])
def test_nothing_is_gone_if_tmux_cannot_be_asked(answers: tuple[Collection[str] | None]) -> None:
    assert gone(["agent_a"], *answers) == frozenset()


def test_both_spellings_of_a_name_count() -> None:
    assert gone(["agent_js.x"], {"agent_js_x"}, {"agent_js_x"}) == frozenset()
    assert gone(["agent_js.x"], {"agent_js.x"}, {"agent_js.x"}) == frozenset()
    assert gone(["agent_js.x"], set(), set()) == {"agent_js.x"}


def test_a_name_that_tmux_may_have_changed_is_never_gone() -> None:
    assert gone(["agent_#{x}", "agent_\t"], set(), set()) == frozenset()


def test_one_string_is_no_collection_of_names() -> None:
    with pytest.raises(TypeError):
        gone_sessions("agent_a", set)
    with pytest.raises(TypeError):
        gone_sessions(["agent_a"], lambda: "agent_a", sleep=lambda _: None)
