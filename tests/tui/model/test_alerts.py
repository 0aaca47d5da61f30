"""What becomes of agents that somebody should hear of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.schema.records import task_record
from registry.sources import JsonTask
from tui.host.tmux_types import TmuxSnapshot, TmuxState
from tui.model.alerts import Item, Pace, Seen, kind_of, news, sentence, still_true
from tui.model.evidence import Evidence
from tui.model.roll import (
    AgentKey,
    AgentRow,
    RollCall,
    TaskRoll,
    TaskState,
    Verdict,
    WorkspaceRoll,
)

REGISTRY = Path("/w/.agent-workspace/TASK-a/AGENT_REGISTRY.json")


def row(name: str, verdict: Verdict, status: str = "running") -> AgentRow:
    record = task_record({"agents": [{"id": name, "status": status}]}).agents[0]
    return AgentRow(AgentKey(REGISTRY, name), record, verdict, None, "", None, 0, 0)


def call(*rows: AgentRow) -> RollCall:
    state = TaskState(REGISTRY.parent.parent, JsonTask(REGISTRY), None, 0.0, None)
    task = TaskRoll(state, rows, dict.fromkeys(Verdict, 0))
    answer = TmuxSnapshot(TmuxState.ANSWERED, "", Path("/s"), {}, 1.0)
    workspace = WorkspaceRoll(REGISTRY.parent.parent, (task,), None)
    return RollCall("host", Evidence(answer), (workspace,), (), dict.fromkeys(Verdict, 0))


def told(*rolls: RollCall) -> list[list[tuple[str, str]]]:
    """What is news in each of some roll calls, one after another."""
    seen: Seen | None = None
    found = []
    for roll in rolls:
        seen, items = news(seen, roll)
        found.append([(item.kind, item.key.id) for item in items])
    return found


ALIVE, DEAD = row("a", Verdict.LIVE), row("a", Verdict.ZOMBIE)
UNSURE, STUCK = row("a", Verdict.UNKNOWN), row("a", Verdict.STALLED)
FAILED = row("a", Verdict.FAILED, "failed")
BLOCKED = row("a", Verdict.BLOCKED, "blocked")


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ((ALIVE, DEAD), ["zombie"]),
        ((ALIVE, STUCK), ["stalled"]),
        ((ALIVE, FAILED), ["failed"]),
        ((ALIVE, BLOCKED), ["blocked"]),
        ((ALIVE, BLOCKED, STUCK, BLOCKED, ALIVE), ["blocked", "stalled"]),
        ((BLOCKED, DEAD, BLOCKED), ["zombie"]),
        ((BLOCKED, ALIVE, BLOCKED), ["blocked"]),
        ((BLOCKED, UNSURE, BLOCKED), []),
        ((ALIVE, row("a", Verdict.LEAKED, "error")), ["failed"]),
        ((ALIVE, STUCK, DEAD, FAILED), ["stalled", "zombie", "failed"]),
        ((ALIVE, STUCK, ALIVE, STUCK), ["stalled", "stalled"]),
        # Nobody could tell for a while.
        ((ALIVE, UNSURE, DEAD), ["zombie"]),
        ((DEAD, UNSURE, DEAD), []),
        ((ALIVE, STUCK, UNSURE, STUCK), ["stalled"]),
        # What is so when the monitor opens is no news, however long that takes to tell.
        ((DEAD,), []),
        ((UNSURE, UNSURE, DEAD, DEAD), []),
        ((UNSURE, ALIVE, DEAD), ["zombie"]),
        ((FAILED, FAILED), []),
        ((ALIVE, row("a", Verdict.FINISHED, "completed")), []),
    ],
)
def test_what_is_news_of_an_agent(rows: Sequence[AgentRow], kinds: list[str]) -> None:
    assert [kind for each in told(*map(call, rows)) for kind, _ in each] == kinds


def test_who_comes_later_and_never_lived_is_news() -> None:
    other = row("b", Verdict.LIVE)
    assert told(call(other), call(other, UNSURE), call(other, DEAD))[2] == [("zombie", "a")]


names = st.sampled_from(["a", "b", "c", "d"])
verdicts = st.sampled_from(
    [Verdict.LIVE, Verdict.ZOMBIE, Verdict.STALLED, Verdict.UNKNOWN, Verdict.FINISHED]
)
rolls = st.lists(st.dictionaries(names, verdicts), min_size=1, max_size=8)


@given(rolls)
def test_nothing_is_told_twice_in_a_row_nor_of_the_first_roll(
    story: list[dict[str, Verdict]],
) -> None:
    calls = [call(*(row(name, each) for name, each in sorted(one.items()))) for one in story]
    found = told(*calls)
    assert found[0] == []
    for (before, roll), items in zip(pairwise(calls), found[1:], strict=True):
        was = {each.key.id: kind_of(each) for each in before.agents()}
        now = {each.key.id: kind_of(each) for each in roll.agents()}
        for kind, name in items:
            assert now[name] == kind != was.get(name)
    # The same roll call again says nothing.
    assert told(*(each for one in calls for each in (one, one)))[1::2] == [[] for _ in calls]


ENDED = row("a", Verdict.FINISHED, "completed")


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ([DEAD], []),
        ([ENDED, DEAD], []),
        ([UNSURE, DEAD], []),
        ([ALIVE, DEAD], ["zombie"]),
        ([UNSURE, DEAD, ALIVE, DEAD], ["zombie"]),
        ([STUCK, DEAD], ["zombie"]),
    ],
)
def test_an_agent_that_the_operator_restores_is_no_news(
    rows: Sequence[AgentRow], kinds: list[str]
) -> None:
    seen, _ = news(None, call(ENDED))
    seen = replace(seen, restored=frozenset({"a"}))
    found = []
    for each in rows:
        seen, items = news(seen, call(each))
        found += [item.kind for item in items]
    assert found == kinds


def test_who_is_not_so_any_more_is_left_out() -> None:
    items = [Item("zombie", DEAD.key), Item("zombie", DEAD.key), Item("stalled", DEAD.key)]
    assert [each.key.id for _, each in still_true(items, call(DEAD))] == ["a"]
    assert still_true(items, call(ALIVE)) == []
    assert still_true(items, call()) == []


def test_a_sentence_names_three_and_counts_the_rest() -> None:
    assert sentence("zombie", [DEAD]) == "a became a zombie"
    assert sentence("stalled", [STUCK]) == "a stalled"
    assert sentence("blocked", [BLOCKED]) == "a is blocked"
    assert sentence("blocked", [BLOCKED, BLOCKED]) == "2 agents are blocked: a, a"
    many = [row(name, Verdict.FINISHED, "failed") for name in "abcde"]
    assert sentence("failed", many) == "5 agents failed: a, b, c and 2 more"
    hostile = replace(DEAD, record=replace(DEAD.record, id="\x1b]9;x\x07"))
    assert sentence("zombie", [hostile]) == "'\\x1b]9;x\\x07' became a zombie"


ITEM = Item("zombie", DEAD.key)


def test_what_comes_at_once_is_told_once_after_a_moment() -> None:
    pace = Pace(1.0, 10.0)
    assert pace.add([], 100.0) is None
    assert pace.add([ITEM], 100.0) == 1.0
    assert pace.add([ITEM, ITEM], 100.5) is None
    assert pace.take(101.0) == (ITEM, ITEM, ITEM)
    # Again only after the pause.
    assert pace.add([ITEM], 103.0) == 8.0
    assert pace.take(111.0) == (ITEM,)
    assert pace.add([ITEM], 500.0) == 1.0


@given(st.lists(st.floats(0.0, 5.0), max_size=60))
def test_two_notes_are_never_closer_than_the_pause(gaps: list[float]) -> None:
    pace, now, due, told_at, count = Pace(1.0, 10.0), 0.0, None, [], 0
    for gap in gaps:
        now += gap
        while due is not None and due <= now:
            count += len(pace.take(due))
            told_at.append(due)
            due = None
        wait = pace.add([ITEM], now)
        if wait is not None:
            due = now + wait
    if due is not None:
        count += len(pace.take(due))
        told_at.append(due)
    assert count == len(gaps)
    assert all(b - a >= 10.0 - 1e-6 for a, b in pairwise(told_at))
