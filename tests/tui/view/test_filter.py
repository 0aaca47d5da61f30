"""The filter language."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.harm import any_text
from tests.support.rolls import agent, answered, called, session, task_record, task_state
from tui.view.filter import (
    KEYS,
    WORD_KEYS,
    Filter,
    agent_fields,
    orphan_fields,
    parse,
    task_matches,
)

FIELDS = {
    "id": ("builder-1",),
    "type": ("builder",),
    "task": ("TASK-7", "Mend the bridge"),
    "status": ("blocked",),
    "verdict": ("live",),
    "session": ("agent_builder-1",),
    "parent": ("orchestrator",),
    "workspace": ("/ws/.agent-workspace",),
}


@pytest.mark.parametrize(
    "query",
    [
        "", "builder", "BUILD bridge", "blocked live", "agent_b", "status:blocked", "STATUS:Block",
        "verdict:zombie,live", "status:running,,blocked", "-verdict:zombie", "-zombie", "-id:x,y",
        "id:builder parent:orch workspace:/ws -type:test", '"mend the"', 'task:"the bridge"',
        '"MEND THE BRIDGE', 'task:"mend the",nothing', "12:30,live", "zombie,live",
    ],
)  # fmt: skip
def test_it_matches(query: str) -> None:
    assert parse(query).matches(FIELDS)
    assert not parse(query).problems


@pytest.mark.parametrize(
    "query",
    [
        "zombie", "builder zombie", "status:live", "verdict:blocked", "-builder",
        "-status:blocked", "-verdict:zombie,live", "verdict:zombie,stalled",
        '"the mend"', "id:bridge", "12:30",
        "orchestrator", "/ws", '"-zombie"',
    ],
)  # fmt: skip
def test_it_does_not_match(query: str) -> None:
    assert not parse(query).matches(FIELDS)


@pytest.mark.parametrize("query", ["status:", "-", "-status:", '"', "status:,", 'id:""', "id:,,"])
def test_an_unfinished_part_excludes_nothing_and_is_reported(query: str) -> None:
    read = parse(query)
    assert not read
    assert read.matches({}) and read.matches(FIELDS)
    assert read.unfinished == (query,) and read.problems == ()


def test_an_unknown_key_excludes_nothing_and_is_reported() -> None:
    read = parse("state:running builder")
    (problem,) = read.problems
    assert "'state'" in problem and "did you mean status:?" in problem and "workspace" in problem
    assert len(read.terms) == 1
    assert "is meant" not in parse("colour:red").problems[0]


def test_a_quote_takes_the_meaning_of_what_is_in_it() -> None:
    (term,) = parse('"status:x,-y"').terms
    assert (term.key, term.alternatives, term.negated) == (None, ("status:x,-y",), False)


def test_a_missing_field_matches_no_term_and_every_negated_term() -> None:
    assert not parse("status:a").matches({"id": ("a",)})
    assert parse("-status:a").matches({"id": ("a",)})


STATE = task_state(
    record=task_record((agent("a-1", "running"),), task_id="T", description="Dig a well")
)
(TASK,) = called(STATE, answer=answered(session("agent_a-1")))


@pytest.mark.parametrize(
    "query",
    ["well", "id:a-1", "type:test", "session:agent_a", "verdict:live", "task:dig", "parent:orch"],
)
def test_an_agent_is_found_by_all_that_is_shown_of_it(query: str) -> None:
    assert parse(query).matches(agent_fields(TASK.agents[0], TASK))


def test_an_orphan_is_found_by_its_verdict_and_its_session() -> None:
    fields = orphan_fields(session("agent_lost"))
    assert parse("verdict:orphan lost -status:completed").matches(fields)
    assert not parse("id:lost").matches(fields)


def test_a_task_is_found_by_itself_only_while_it_has_no_agents() -> None:
    assert not task_matches(TASK, parse("dig"))
    (empty,) = called(task_state(name="T-2"), answer=answered())
    assert task_matches(empty, parse("task:t-2 -verdict:live status:init"))
    assert not task_matches(empty, parse("verdict:live"))


# Where it matched


def spanned(query: str, key: str, text: str) -> list[str]:
    return [text[start:end] for start, end in parse(query).spans(key, text)]


def test_the_matched_parts_are_separate_and_merged_where_they_touch() -> None:
    assert spanned("an", "id", "Banana-An") == ["anan", "An"]
    assert spanned("ban ana", "id", "banana-x-ban") == ["banana", "ban"]
    assert spanned("status:run", "id", "run") == []
    assert spanned("status:run", "status", "running") == ["run"]
    assert spanned("-run", "status", "running") == []
    assert spanned("run", "parent", "run") == []


def test_letters_that_fold_to_several_are_highlighted_whole() -> None:
    assert spanned("strasse", "id", "Die Straße") == ["Straße"]
    assert spanned("s", "id", "aßb") == ["ß"]
    assert spanned("x", "id", "İx") == ["x"]


KEY = st.sampled_from(KEYS)
WORD = st.text(st.sampled_from("abAB1-_ß:"), min_size=1, max_size=5)
ANY_FIELDS = st.dictionaries(
    KEY, st.lists(st.text("abAB1-_ß: ", max_size=8), max_size=2).map(tuple)
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Filters of every shape."""
    return " ".join(
        draw(st.sampled_from(["", "-"]))
        + draw(st.one_of(st.just(""), KEY.map(lambda key: key + ":")))
        + ",".join(draw(st.lists(WORD, min_size=1, max_size=3)))
        for _ in range(draw(st.integers(0, 3)))
    )


@given(st.one_of(any_text, st.text('ab"-:, idstau')), ANY_FIELDS)
def test_any_text_is_a_filter(query: str, fields: dict[str, tuple[str, ...]]) -> None:
    read = parse(query)
    assert isinstance(read, Filter)
    assert read or read.matches(fields)
    assert all(part for term in read.terms for part in term.alternatives)


@given(queries(), queries(), ANY_FIELDS)
def test_more_terms_leave_less_in(
    one: str, other: str, fields: dict[str, tuple[str, ...]]
) -> None:
    both = parse(f"{one} {other}")
    assert both.matches(fields) == (parse(one).matches(fields) and parse(other).matches(fields))


@given(KEY, WORD, WORD, ANY_FIELDS)
def test_alternatives_are_or_and_a_minus_is_not(
    key: str, one: str, other: str, fields: dict[str, tuple[str, ...]]
) -> None:
    either = parse(f"{key}:{one},{other}").matches(fields)
    assert either == (
        parse(f"{key}:{one}").matches(fields) or parse(f"{key}:{other}").matches(fields)
    )
    assert parse(f"-{key}:{one},{other}").matches(fields) != either


@given(WORD, ANY_FIELDS)
def test_a_word_is_the_keys_that_words_are_looked_for_in(
    word: str, fields: dict[str, tuple[str, ...]]
) -> None:
    by_key = any(parse(f'{key}:"{word}"').matches(fields) for key in WORD_KEYS)
    assert parse(f'"{word}"').matches(fields) == by_key


@given(queries(), KEY, st.one_of(any_text, st.text("abAB1ßİ", max_size=9)))
def test_spans_are_in_order_apart_and_what_was_looked_for(query: str, key: str, text: str) -> None:
    read = parse(query)
    spans = read.spans(key, text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[1] < next_[0] for one, next_ in pairwise(spans))
    wanted = [a for t in read.terms if t.concerns(key) and not t.negated for a in t.alternatives]
    for start, end in spans:
        assert any(each in text[start:end].casefold() for each in wanted)
    if any(each in text[:1024].casefold() for each in wanted):
        assert spans


@given(WORD, KEY, st.text("abAB1-_ß: ", max_size=12))
def test_what_a_single_term_matches_is_where_it_has_a_span(word: str, key: str, text: str) -> None:
    assume(text)
    read = parse(f'{key}:"{word}"')
    assert bool(read.spans(key, text)) == read.matches({key: (text,)})
