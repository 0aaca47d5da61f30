"""Tests of the roll call, plans and outcomes as text and as JSON."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harm import NASTY, any_text, harmful
from tests.support.rolls import (
    NOW,
    WORKSPACE,
    agent,
    answered,
    called,
    cannot_tell,
    roll_call,
    session,
    task_record,
    task_state,
)
from tui.actions.execute import Outcome, Result, StepOutcome
from tui.actions.plan import Footprint, Verb
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.actions.preview import Preview
from tui.cli.format_plan import outcome_json, outcome_lines, plan_json, proposal_lines
from tui.cli.format_roll import roll_json, roll_table
from tui.cli.openmetrics import exposition
from tui.model.roll import RollCall, Verdict
from tui.text.sanitize import as_json, json_pieces, width
from tui.view.filter import parse
from tui.view.subset import select

STATE = task_state(
    record=task_record(
        (
            replace(agent("a-1"), started_at="2025-10-18T21:31:15", last_update="2025-10-18"),
            agent("b-2", "completed", parent="a-1", progress=None),
            agent("c-3"),
        ),
        description="Mend it",
        warnings=("agents[3] is a str, not an object",),
    )
)
THERE = answered(session("agent_a-1"))
ROLL = roll_call(
    *called(STATE, answer=THERE), orphans=(session("agent_lost", created=NOW - 99),), answer=THERE
)


def test_a_session_that_took_an_agents_name_is_listed_as_anothers() -> None:
    taken = task_state(agent("a-1", started=NOW - 9 * 3600, updated=None))
    there = answered(session("agent_a-1", created=NOW - 3600))
    roll = roll_call(*called(taken, answer=there), answer=there)
    ((task,),) = (workspace["tasks"] for workspace in roll_json(roll)["workspaces"])
    assert task["agents"][0]["verdict"] == "unknown"
    assert task["agents"][0]["taken_by"] == {
        "session": "agent_a-1",
        "created": int(NOW - 3600),
    }
    lines = list(roll_table(roll, NOW, None))
    (number,) = (n for n, line in enumerate(lines) if "a-1" in line)
    assert "another session got the name of this agent's session 8 h 0 min" in lines[number + 1]


def test_the_names_of_the_rolls_fields_are_a_promise() -> None:
    assert list(roll_json(ROLL)) == [
        "schema",
        "filter",
        "host",
        "tmux",
        "workspaces",
        "orphans",
        "agents_known",
        "orphans_known",
        "databases_beside",
        "mass_death",
        "counts",
    ]


def test_the_json_of_the_roll_has_its_promised_shape() -> None:
    shape = roll_json(ROLL)
    assert shape["schema"] == 2
    assert shape["tmux"] | {"detail": ""} == {
        "state": "answered",
        "advice": None,
        "detail": "",
        "socket": str(THERE.socket),
    }
    (workspace,) = shape["workspaces"]
    assert workspace["path"] == str(WORKSPACE)
    (task,) = workspace["tasks"]
    assert {name: task[name] for name in ("task_id", "description", "registry", "error")} == {
        "task_id": "TASK-1",
        "description": "Mend it",
        "registry": str(WORKSPACE / "TASK-1" / "AGENT_REGISTRY.json"),
        "error": None,
    }
    assert task["agents"][0] == {
        "id": "a-1",
        "type": "tester",
        "parent": "orchestrator",
        "depth": 1,
        "status": "running",
        "verdict": "live",
        "ended_as": None,
        "note": None,
        "tmux_session": "agent_a-1",
        "pid": None,
        "taken_by": None,
        "progress": 40.0,
        "phase": None,
        "reviewer": False,
        "started_at": "2025-10-18T21:31:15",
        "last_update": "2025-10-18",
    }
    assert shape["orphans"] == [{"session": "agent_lost", "created": int(NOW - 99)}]
    assert shape["counts"] == {
        "live": 1,
        "stalled": 0,
        "zombie": 1,
        "leaked": 0,
        "finished": 1,
        "unknown": 0,
        "orphan": 1,
        "failed": 0,
        "blocked": 0,
    }
    assert task["agents"][1]["ended_as"] == "completed"


def test_the_json_names_agents_in_the_order_of_the_tree() -> None:
    agents = roll_json(ROLL)["workspaces"][0]["tasks"][0]["agents"]
    assert [(each["id"], each["verdict"]) for each in agents] == [
        ("a-1", "live"),
        ("b-2", "finished"),
        ("c-3", "zombie"),
    ]


@pytest.mark.parametrize("word", [each.value for each in Verdict])
def test_every_verdict_is_counted_in_the_json(word: str) -> None:
    assert word in roll_json(ROLL)["counts"]


def test_the_json_says_why_nobody_can_tell() -> None:
    unread = task_state(readable=False, error="is empty", listed_description="Dig")
    roll = roll_call(*called(unread, answer=cannot_tell()), answer=cannot_tell(), error="no list")
    shape = roll_json(roll)
    assert shape["tmux"]["state"] == "unknown"
    assert shape["tmux"]["detail"] == "Permission denied"
    (workspace,) = shape["workspaces"]
    assert workspace["error"] == "no list"
    task = workspace["tasks"][0]
    assert (task["error"], task["description"], task["agents"]) == ("is empty", "Dig", [])


def hostile_roll(text: str) -> RollCall:
    record = replace(agent(text, text, parent=text, session=text), type=text)
    state = task_state(
        record=task_record((record,), task_id=text, description=text, warnings=(text,)),
        error=text,
    )
    answer = replace(answered(session(text)), detail=text)
    roll = roll_call(
        *called(state, answer=answer), orphans=(session(text),), answer=answer, error=text
    )
    return replace(roll, host=text)


@given(any_text)
def test_the_json_brings_every_text_back_but_no_control_character(text: str) -> None:
    printed = as_json(roll_json(hostile_roll(text)))
    assert printed.isascii()
    assert not harmful(printed.replace("\n", ""))
    shape: dict[str, Any] = json.loads(printed)
    agent_ = shape["workspaces"][0]["tasks"][0]["agents"][0]
    assert json.dumps(agent_["id"]) == json.dumps(text)
    assert json.dumps(shape["orphans"][0]["session"]) == json.dumps(text)


@given(any_text)
def test_the_table_holds_nothing_that_acts_on_a_terminal(text: str) -> None:
    for line in roll_table(hostile_roll(text), NOW, None):
        assert not harmful(line)


@given(any_text, st.integers(1, 120))
def test_no_line_of_the_table_is_wider_than_the_terminal(text: str, columns: int) -> None:
    for line in roll_table(hostile_roll(text), NOW, columns):
        assert width(line) <= columns


def test_the_table_shows_everybody_beneath_their_parents() -> None:
    assert list(roll_table(ROLL, NOW, None)) == [
        "host: 1 live, 1 zombie, 1 orphan, 1 finished",
        "tmux: answered (server 4711)",
        "",
        "    VERDICT   AGENT  STATUS     PROG  HEARD  SESSION",
        "/ws/.agent-workspace",
        "  TASK-1  3 agents  Mend it",
        "    warning: agents[3] is a str, not an object",
        "    live      a-1    running     40%     1m  agent_a-1",
        "    finished    b-2  completed     -     1m  agent_b-2",
        "    zombie    c-3    running     40%     1m  agent_c-3",
        "",
        "orphaned sessions",
        "    orphan  agent_lost",
    ]


def test_failed_blocked_and_killed_agents_are_told_from_others() -> None:
    state = task_state(
        agent("a-1", "error"),
        agent("b-2", "blocked"),
        agent("c-3", "killed"),
        agent("d-4", "failed"),
    )
    there = answered(session("agent_b-2"))
    roll = roll_call(*called(state, answer=there), answer=there)
    assert next(roll_table(roll, NOW, None)) == "host: 1 blocked, 2 failed, 1 finished"
    shape = roll_json(roll)
    assert (shape["counts"]["failed"], shape["counts"]["finished"]) == (2, 1)
    agents = shape["workspaces"][0]["tasks"][0]["agents"]
    assert [(each["verdict"], each["ended_as"]) for each in agents] == [
        ("failed", "failed"),
        ("blocked", None),
        ("finished", "terminated"),
        ("failed", "failed"),
    ]
    left = select(roll, parse("verdict:failed"))
    assert [row.key.id for row in left.agents()] == ["a-1", "d-4"]
    left = select(roll, parse(""), hide_finished=True)
    assert [row.key.id for row in left.agents()] == ["a-1", "b-2", "d-4"]
    found = exposition(roll, {})
    for verdict, count in (("failed", 2), ("blocked", 1), ("finished", 1)):
        (line,) = (line for line in found.splitlines() if f'verdict="{verdict}"' in line)
        assert line.startswith("muster_agents{") and line.endswith(f"}} {count}.0")


def test_the_table_of_nobody_says_so() -> None:
    lines = list(roll_table(roll_call(), NOW, None))
    assert lines[0] == "host: no agents"


def test_the_table_shows_what_is_wrong_where_it_is_wrong() -> None:
    state = task_state(agent("a"), error="is empty")
    lines = list(roll_table(roll_call(*called(state, answer=THERE), error="gone"), NOW, None))
    assert lines[5:9] == [
        "/ws/.agent-workspace",
        "  error: gone",
        "  TASK-1  1 agent  a task",
        "    error: is empty",
    ]


def test_a_thousand_generations_do_not_widen_the_table_endlessly() -> None:
    chain = [agent("0")] + [agent(str(n), parent=str(n - 1)) for n in range(1, 1000)]
    lines = list(roll_table(roll_call(*called(task_state(*chain), answer=THERE)), NOW, None))
    assert max(map(width, lines)) < 300


PLAN = plan_kill(ROLL, ROLL.agents(), ROLL.orphans)
WEIGHED = replace(
    PLAN,
    steps=tuple(
        replace(step, footprint=Footprint(2, 3 << 20) if step in PLAN.ending else None)
        for step in PLAN.steps
    ),
)


def test_a_plan_as_text_names_everybody_and_every_file() -> None:
    assert list(proposal_lines(WEIGHED.preview())) == [
        "Kill 2 agents and 1 orphaned session:",
        "  a-1 (session agent_a-1, 2 processes, 3 MB): end its session and processes; "
        "set its status to terminated",
        "  c-3: its session is gone; set its status to terminated",
        "  agent_lost (2 processes, 3 MB): not in the registries of "
        "/ws/.agent-workspace; end the session and its processes "
        "(the session may belong to an agent of another workspace)",
        "Not touched:",
        "  b-2: is finished; there is nothing to kill",
        "Files that change:",
        "  /ws/.agent-workspace/TASK-1/AGENT_REGISTRY.json",
        "  /ws/.agent-workspace/registry/GLOBAL_REGISTRY.json",
        "Ends 2 sessions and 4 processes on /tmp/tmux-0/default; frees about 6 MB, the sum "
        "of their resident memory. This cannot be undone.",
    ]


def test_a_plan_whose_processes_cannot_be_seen_says_so() -> None:
    lines = list(proposal_lines(PLAN.preview()))
    session = "(session agent_a-1)"
    assert f"  a-1 {session}: end its session and processes; set its status to terminated" in lines
    assert "The number of processes is not known." in lines[-1]


def test_a_plan_that_ends_no_session_does_not_warn_of_it() -> None:
    zombies = [row for row in ROLL.agents() if row.verdict is Verdict.ZOMBIE]
    assert not any(
        "undone" in line for line in proposal_lines(plan_complete(ROLL, zombies).preview())
    )


def test_a_plan_as_json_says_the_same() -> None:
    shape = plan_json(WEIGHED)
    assert shape["action"] == "kill"
    weights = [(each["processes"], each["memory"]) for each in shape["steps"]]
    assert weights == [(2, 3 << 20), (0, 0), (2, 3 << 20)]
    assert (shape["sessions"], shape["processes"], shape["memory"]) == (2, 4, 6 << 20)
    unknown = plan_json(PLAN)
    assert unknown["steps"][0]["processes"] is unknown["processes"] is unknown["memory"] is None
    assert shape["status"] == "terminated"
    assert [(each["agent"], each["session"]) for each in shape["steps"]] == [
        ("a-1", "agent_a-1"),
        ("c-3", None),
        ("agent_lost", "agent_lost"),
    ]
    assert shape["refused"] == [
        {"agent": "b-2", "reason": "is finished; there is nothing to kill"}
    ]
    assert shape["files"] == [str(path) for path in PLAN.files]


OUTCOME = Outcome(
    Verb.KILL,
    (
        StepOutcome("a-1", Result.DONE, "running -> terminated"),
        StepOutcome("c-3", Result.LEFT, "its session exists again"),
        StepOutcome("d-4", Result.FAILED, ""),
    ),
    (Path("/ws/file"),),
    ("the global registry was not updated",),
)


def test_an_outcome_as_text_goes_agent_by_agent() -> None:
    assert list(outcome_lines(OUTCOME)) == [
        "done: a-1 (running -> terminated)",
        "left alone: c-3 (its session exists again)",
        "failed: d-4",
        "problem: the global registry was not updated",
    ]


def test_an_outcome_as_json_says_the_same() -> None:
    shape = outcome_json(OUTCOME, Preview("", (), (("e-5", "cannot be judged"),), (), ""))
    assert shape["refused"] == [{"agent": "e-5", "reason": "cannot be judged"}]
    assert (shape["action"], shape["complete"]) == ("kill", False)
    assert shape["agents"][1] == {
        "agent": "c-3",
        "result": "left alone",
        "detail": "its session exists again",
    }
    assert shape["written"] == ["/ws/file"]
    assert shape["problems"] == ["the global registry was not updated"]


@pytest.mark.parametrize(
    "steps", [(Result.DONE, Result.LEFT), (Result.FAILED,)], ids=["left", "failed"]
)
def test_an_outcome_is_complete_only_when_all_was_done(steps: tuple[Result, ...]) -> None:
    def outcome(results: tuple[Result, ...], *problems: str) -> Outcome:
        each = tuple(StepOutcome("x", result, "") for result in results)
        return Outcome(Verb.KILL, each, (), problems)

    assert outcome((Result.DONE, Result.DONE)).complete
    assert not outcome(steps).complete
    assert not outcome((Result.DONE,), "trouble").complete


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_plans_and_outcomes_hold_nothing_that_acts_on_a_terminal(text: str) -> None:
    roll = hostile_roll(text)
    plan = plan_kill(roll, roll.agents(), roll.orphans)
    outcome = Outcome(Verb.KILL, (StepOutcome(text, Result.FAILED, text),), (), (text,))
    for line in (*proposal_lines(plan.preview()), *outcome_lines(outcome)):
        assert not harmful(line)
    for shape in (plan_json(plan), outcome_json(outcome, plan.preview())):
        assert not harmful(as_json(shape).replace("\n", ""))


def test_the_json_of_a_large_roll_is_not_kept_whole_and_in_pieces() -> None:
    agents = [{"id": f"a-{number}", "note": None} for number in range(20_000)]
    value = {"agents": agents}
    text = json.dumps(value, indent=2)
    assert as_json(value) == text
    tracemalloc.start()
    try:
        length = sum(map(len, json_pieces(value)))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length == len(text)
    assert most < length
