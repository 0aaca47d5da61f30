"""What a change was, field by field; that it can be gone back on; and how it is written down."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.audit import entries
from registry.audit.diff import MISSING, FieldChange, differences, revert, snapshot
from registry.audit.entries import EndedSession, Entry, Log, State, Who, line, merge
from registry.schema import edits
from registry.schema.records import Deployment
from tests.support.json_values import as_read, exactly, ids, registries, statuses, texts, values
from tests.support.registries import (
    Json,
    agent,
    assert_counters_match,
    entry_of,
    global_registry,
    task_registry,
)

words = texts.map(as_read)
field_values = st.one_of(st.just(MISSING), values.map(as_read))

_listed = st.lists(
    st.fixed_dictionaries(
        {"id": ids, "status": statuses},
        optional={"completed_at": values, "completion_reason": values, "x": values},
    ),
    min_size=1,
    max_size=5,
)
# Agents whose ids are there more than once, as a list or as an object.
crowded = st.builds(
    lambda base, agents, keyed: (
        base | {"agents": dict(zip("vwxyz", agents, strict=False)) if keyed else agents}
    ),
    registries,
    _listed,
    st.booleans(),
).map(as_read)


def finished(registry: Json, names: list[str], status: str = "completed") -> list[FieldChange]:
    """Ends agents in place; what differs."""
    old = snapshot(registry)
    fields = {"completed_at": "2026-01-01T00:00:00", "completion_reason": "said so"}
    edits.finish(registry, names, status, fields)
    return list(differences("f", old, registry))


# --- there and back -----------------------------------------------------------


@given(
    registry=st.one_of(registries, crowded),
    names=st.lists(ids, max_size=4),
    status=st.sampled_from(["completed", "terminated"]),
)
def test_going_back_gives_the_equal_registry_in_the_same_order(
    registry: Json, names: list[str], status: str
) -> None:
    before = exactly(registry)
    made = finished(registry, names, status)
    after = exactly(registry)

    assert bool(made) == (before != after)
    done = revert({"f": registry}, made)
    assert exactly(registry) == before
    assert not done.refused
    assert set(done.agents) == {each.agent for each in made} - {None}


@given(registry=crowded, names=st.lists(ids, min_size=1, max_size=4))
def test_going_back_on_going_back_gives_the_changed_registry(
    registry: Json, names: list[str]
) -> None:
    made = finished(registry, names)
    after = as_read(registry)
    old = snapshot(registry)
    revert({"f": registry}, made)
    back = differences("f", old, registry)
    revert({"f": registry}, back)
    assert registry.keys() == after.keys()
    # Fields that had been there go where they were; nothing else may differ at all.
    assert json.dumps(registry, sort_keys=True) == json.dumps(after, sort_keys=True)


def test_differences_name_every_field_and_the_entry_among_those_of_one_id() -> None:
    registry = task_registry(agent("a", "failed"), agent("a"), completed_count=None)
    made = finished(registry, ["a"])
    deployed = Deployment("agent_a", None)
    assert made == [
        FieldChange("f", "a", 1, "status", "running", "completed", deployed=deployed),
        FieldChange("f", "a", 1, "completed_at", MISSING, "2026-01-01T00:00:00"),
        FieldChange("f", "a", 1, "completion_reason", MISSING, "said so"),
        FieldChange("f", None, 0, "active_count", 1, 0),
        FieldChange("f", None, 0, "completed_count", None, 2),
    ]
    assert [each.is_counter for each in made] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("others", "what"),
    [
        ([agent("b"), agent("a")], "order of agents"),
        ([agent("a"), agent("b")] * 2, "whose id is not unique"),
    ],
)
def test_agents_that_nobody_can_tell_apart_are_no_change(others: list[Json], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        differences("f", task_registry(agent("a"), agent("b")), task_registry(*others))


@pytest.mark.parametrize("whole", [task_registry, global_registry], ids=["list", "object"])
def test_an_agent_that_was_put_in_is_taken_out_and_put_in_again(whole: Any) -> None:
    before, after = whole(agent("a")), whole(agent("a"), agent("b", "completed"))
    put_in = differences("f", before, after)
    assert [(each.agent, each.before) for each in put_in if each.whole] == [("b", MISSING)]
    now = copy.deepcopy(after)
    assert revert({"f": now}, put_in).refused == {}
    assert exactly(now) == exactly(before)
    taken_out = differences("f", after, now)
    assert revert({"f": now}, taken_out).refused == {}
    assert exactly(now) == exactly(after)


@pytest.mark.parametrize("whole", [task_registry, global_registry], ids=["list", "object"])
def test_an_agent_that_was_changed_since_it_was_put_in_stays(whole: Any) -> None:
    before, after = whole(agent("a")), whole(agent("a"), agent("b"))
    now = whole(agent("a"), agent("b", "completed"))
    agents = now["agents"]
    reverted = revert({"f": now}, differences("f", before, after))
    assert "changed or removed after" in reverted.refused["b"]
    assert now["agents"] == agents
    assert (
        "was changed or removed after"
        in revert({"f": whole(agent("a"))}, differences("f", before, after)).refused["b"]
    )


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (0.0, -0.0), (0, None), ({}, []), ("1", 1)]
)
def test_equal_only_to_python_is_a_difference_and_a_change_since(
    one: object, other: object
) -> None:
    old, new = task_registry(agent("a", x=one)), task_registry(agent("a", x=other))
    (made,) = differences("f", old, new)
    assert (made.field, exactly(made.before), exactly(made.after)) == (
        "x",
        exactly(one),
        exactly(other),
    )

    registry = task_registry(agent("a", x=[one]))
    done = revert({"f": registry}, [replace(made, before="old", after=[other])])
    assert "x was changed again in f" in done.refused["a"]
    assert exactly(entry_of(registry, "a")["x"]) == exactly([one])


# --- while others change it, too ----------------------------------------------

_steps = st.lists(
    st.tuples(st.sampled_from(["add", "status", "finish"]), ids | st.just("new"), statuses),
    max_size=6,
)


def _others(registry: Json, steps: list[tuple[str, str, str]]) -> None:
    for what, name, status in steps:
        try:
            if what == "add":
                edits.add_agent(registry, agent(name, status), "orchestrator")
            elif what == "status":
                edits.set_status(registry, name, status, {"progress": 1})
            else:
                edits.finish(registry, [name], "terminated", {"terminated_at": "later"})
        except ValueError:
            continue


@given(
    first=st.dictionaries(ids, statuses, min_size=1),
    names=st.lists(ids, min_size=1),
    steps=_steps,
    whole=st.booleans(),
)
def test_counters_count_right_whatever_others_did_in_between(
    first: dict[str, str], names: list[str], steps: list[tuple[str, str, str]], whole: bool
) -> None:
    registry = (global_registry if whole else task_registry)(
        *(agent(name, status) for name, status in first.items())
    )
    made = finished(registry, names)
    _others(registry, steps)
    meanwhile = copy.deepcopy(registry)
    done = revert({"f": registry}, made)

    assert_counters_match(registry)
    ended = {each.agent for each in made if each.agent is not None}
    assert {*done.agents, *done.refused} == ended
    for name in ended:
        back = name in done.agents
        was = entry_of(meanwhile, name)
        assert back == (
            (was["status"], was.get("completed_at")) == ("completed", "2026-01-01T00:00:00")
        )
        if back:
            now = entry_of(registry, name)
            assert now["status"] == first[name]
            assert "completed_at" not in now
            assert now.get("progress") == was.get("progress")
        else:
            assert exactly(entry_of(registry, name)) == exactly(was)


@given(before=st.integers(-3, 6), moved=st.integers(-6, 6), count=st.integers(1, 4))
def test_a_counter_goes_back_by_what_it_was_moved_and_no_further(
    before: int, moved: int, count: int
) -> None:
    names = [f"agent-{number}" for number in range(count)]
    registry = task_registry(*map(agent, names), active_count=before, completed_count=before)
    made = finished(registry, names)
    after = {key: registry[key] for key in ("active_count", "completed_count")}
    edits.shift_counters(registry, active=moved)
    meanwhile = registry["active_count"]
    revert({"f": registry}, made)

    assert registry["completed_count"] == before
    if meanwhile == after["active_count"]:
        assert registry["active_count"] == before
    else:
        step = max(0, before - after["active_count"])
        assert registry["active_count"] == meanwhile + step
        assert step <= count


def test_agents_that_stay_leave_their_share_of_the_counters() -> None:
    registry = task_registry(agent("a"), agent("b"), agent("c", "completed"))
    made = finished(registry, ["a", "b"])
    entry_of(registry, "b")["status"] = "failed"
    registry["completed_count"] -= 1
    done = revert({"f": registry}, made)

    assert done.agents == ("a",)
    assert done.refused == {"b": "status was changed again in f: the value is now 'failed'"}
    assert_counters_match(registry)


def test_where_no_agent_goes_back_no_counter_does() -> None:
    registry = task_registry(agent("a"), agent("b"))
    made = finished(registry, ["a", "b"])
    for name in ("a", "b"):
        entry_of(registry, name)["completed_at"] = "corrected"
    before = exactly(registry)
    done = revert({"f": registry}, made)

    assert exactly(registry) == before
    assert set(done.refused) == {"a", "b"}


def test_an_agent_goes_back_in_all_registries_or_in_none() -> None:
    task, global_ = task_registry(agent("a"), agent("b")), global_registry(agent("a"), agent("b"))
    both = {"t": task, "g": global_}
    made = [
        replace(each, file=name)
        for name, registry in both.items()
        for each in finished(registry, ["a", "b"])
    ]
    del global_["agents"]["a"]
    done = revert(both, made)

    assert done.agents == ("b",)
    assert done.refused == {"a": "was removed from g"}
    assert entry_of(task, "a")["status"] == "completed"
    assert entry_of(task, "b")["status"] == entry_of(global_, "b")["status"] == "running"
    assert task["active_count"] == global_["active_agents"] == 1


def test_a_second_time_says_that_it_is_as_it_was() -> None:
    registry = task_registry(agent("a"))
    made = finished(registry, ["a"])
    revert({"f": registry}, made)
    before = exactly(registry)
    done = revert({"f": registry}, made)

    assert done.refused == {"a": "status already has its old value in f"}
    assert exactly(registry) == before


# --- on a line ----------------------------------------------------------------

_changes = st.lists(
    st.builds(
        FieldChange,
        words,
        st.none() | words,
        st.integers(0, 3),
        words,
        field_values,
        field_values,
        deployed=st.none() | st.builds(Deployment, st.none() | words, st.none() | words),
    ),
    max_size=3,
).map(tuple)
_entries = st.builds(
    Entry,
    action_id=words,
    part=st.integers(),
    at=words,
    action=words,
    reason=words,
    who=st.builds(Who, words, st.none() | words, words, st.integers(), st.none() | words),
    changes=_changes,
    session=st.none()
    | st.builds(EndedSession, words, words, st.integers(), words, st.none() | words),
    final=st.none() | words,
    undoes=st.none() | st.tuples(words, st.integers()),
)


def _is_one_clean_line(text: bytes) -> bool:
    return text.endswith(b"\n") and all(0x20 <= byte < 0x7F for byte in text[:-1])


@given(
    entry=_entries,
    state=st.sampled_from(State),
    detail=words,
    made=_changes,
)
def test_what_is_written_down_is_read_again_as_it_was(
    entry: Entry, state: State, detail: str, made: tuple[FieldChange, ...]
) -> None:
    begun = line(entries.intent(entry))
    ended = line(entries.outcome(entry, "then", state, detail, made))
    assert _is_one_clean_line(begun)
    assert _is_one_clean_line(ended)

    # Compared as text: NaN is not equal to itself, and 1 is equal to true.
    one = merge([begun], "log")
    assert repr(one.entries) == repr((replace(entry, log="log"),))
    two = merge([begun, ended], "log")
    expected = replace(entry, log="log", state=state, detail=detail, changes=made or entry.changes)
    assert repr(two.entries) == repr((expected,))
    assert (len(two.records), two.damaged) == (2, 0)
    assert line(two.records[0]) == begun


def test_a_line_has_no_control_character_whatever_the_words() -> None:
    words = "".join(map(chr, range(0x110))) + "\u2028\u2029\ud800\U0001f600"
    entry = Entry(words, 1, words, words, words, Who(words, None, words, 1, None))
    text = line(entries.intent(entry))
    assert _is_one_clean_line(text)
    assert merge([text], "").entries == (entry,)


@given(entry=_entries, data=st.data(), junk=st.one_of(values, st.just([]), st.just({})))
def test_a_record_with_anything_in_a_fields_place_is_no_error(
    entry: Entry, data: st.DataObject, junk: Any
) -> None:
    record = entries.intent(entry)
    field = data.draw(st.sampled_from(sorted(record)))
    inner = record[field]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        inner[data.draw(st.sampled_from(sorted(inner)))] = junk
    elif isinstance(inner, list) and inner and data.draw(st.booleans()):
        inner[data.draw(st.integers(0, len(inner) - 1))] = junk
    else:
        record[field] = junk
    found = merge([line(record)], "log")
    assert len(found.records) + found.damaged == 1


_JUNK: tuple[object, ...] = ([], {}, [1], "x", 1.5, True)
_NO_RECORD = [
    (field, junk)
    for field in ("undoes", "who", "session", "changes", "part", "phase", "id")
    for junk in _JUNK
    if (field, junk) not in (("changes", []), ("changes", {}), ("id", "x"))
]


@pytest.mark.parametrize(("field", "junk"), _NO_RECORD)
def test_what_is_no_record_is_counted(field: str, junk: object) -> None:
    entry = Entry("id", 1, "at", "complete", "", Who("me", None, "here", 1, None))
    good = line(entries.intent(entry))
    bad = line(entries.intent(entry) | {field: junk})
    found = merge([bad, b"", b"\n", good], "log")
    assert (found.damaged, len(found.entries)) == (1, 1)


@given(lines=st.lists(st.binary(max_size=60)))
def test_any_bytes_are_read_without_an_error(lines: list[bytes]) -> None:
    found = merge(lines, "log")
    assert not found.entries
    assert found.damaged == sum(bool(each.strip()) for each in lines)


def test_an_outcome_whose_intent_is_gone_is_no_entry() -> None:
    entry = Entry("id", 1, "at", "complete", "", Who("me", None, "here", 1, None))
    found = merge([line(entries.outcome(entry, "at", State.DONE, "", ()))], "log")
    assert (found.entries, len(found.records), found.damaged) == ((), 1, 0)


def test_what_an_undo_took_back_is_undone_until_the_undo_is_undone_itself() -> None:
    who = Who("me", None, "here", 1, None)

    def entry(number: int, undoes: int | None, state: State = State.DONE) -> Entry:
        key = (f"{undoes}", 1) if undoes is not None else None
        return Entry(f"{number}", 1, f"{number}", "undo", "", who, undoes=key, state=state)

    steps = (entry(0, None), entry(1, 0), entry(2, 1), entry(3, 2), entry(4, 3, State.FAILED))
    expected: tuple[set[str], ...] = (set(), {"0"}, {"1"}, {"0", "2"}, {"0", "2"})
    for upto, keys in enumerate(expected):
        assert Log(steps[: upto + 1], ()).undone == {(key, 1) for key in keys}


def test_a_set_counter_goes_back_by_as_much_whatever_agents_do() -> None:
    done = [
        FieldChange("g", "a", 0, "status", "running", "completed"),
        FieldChange("t", None, 0, "active_count", 5, 2),
    ]
    task, whole = task_registry(active_count=3), global_registry(agent("a", "completed"))
    reverted = revert({"t": task, "g": whole}, done)
    assert (reverted.agents, reverted.fields) == (("a",), ("active_count",))
    assert task["active_count"] == 6
    assert entry_of(whole, "a")["status"] == "running"
