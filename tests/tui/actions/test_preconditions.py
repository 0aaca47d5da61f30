"""Each check of the table refuses what it is there for, in a plan and again before the act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.agent_output import ReportedEnd
from tests.support.real_tmux import RealTmux
from tests.support.rolls import (
    NOW,
    agent,
    answered,
    called,
    cannot_tell,
    roll_call,
    session,
    task_state,
)
from tests.support.workspaces import QUICK, Files, entry, row_of, take
from tui.actions import preconditions
from tui.actions.evidence.action_evidence import ActionEvidence, Leftover, TaskEvidence
from tui.actions.evidence.collect import evidence_of_roll
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.actions.outcome import Result
from tui.actions.plan import Plan
from tui.actions.plan_complete import checked_complete, plan_complete
from tui.actions.plan_kill import plan_kill
from tui.actions.preconditions import (
    COMPLETE,
    FROM_ROLL,
    KILL,
    checked,
    refusal,
    report_is_the_planned_one,
)
from tui.host.tmux_types import DeadPane, TmuxSnapshot
from tui.live import nearby_workspaces
from tui.live.registry_cache import Registries
from tui.model.roll import AgentRow, RollCall

LIVE = session("agent_live", number=1)
LOST = session("agent_lost", number=3)
DEAD_PANE = DeadPane(7, None, "%4", 3)
ENDED = replace(session("agent_ended", number=4), dead=(DEAD_PANE,), ended=DEAD_PANE)
THERE = answered(LIVE, session("agent_done", number=2), LOST, ENDED)
AGENTS = agent("live"), agent("done", "completed"), agent("dead"), agent("ended")
STATE = replace(task_state(*AGENTS), owner=0)
ROLL: RollCall = replace(roll_call(*called(STATE, answer=THERE), answer=THERE), orphans=(LOST,))
END = ReportedEnd("failed", "no disk", "2025-10-09T08:00:00", NOW - 60)


def dead_reported(plan: Plan) -> Plan:
    """Returns a plan in which the dead agent itself reported its end."""
    steps = (replace(each, end=END) if each.label == "dead" else each for each in plan.steps)
    return replace(plan, steps=tuple(steps))


KILLS = dead_reported(plan_kill(ROLL, ROLL.agents(), [LOST]))
COMPLETES = dead_reported(plan_complete(ROLL, ROLL.agents()))
REGISTRY = STATE.registry

Spoil = Callable[[ActionEvidence], ActionEvidence]


def evidence(plan: Plan) -> ActionEvidence:
    """What the roll tells, as a fresh look at an unchanged host would."""
    return evidence_of_roll(
        ROLL, [step.session for step in plan.steps if step.session is not None]
    )


def seen(snapshot: TmuxSnapshot) -> Spoil:
    return lambda known: replace(known, snapshot=snapshot)


def registry(**fields: object) -> Spoil:
    def spoiled(known: ActionEvidence) -> ActionEvidence:
        task = replace(known.tasks[REGISTRY], **fields)  # type: ignore[arg-type]
        return replace(known, tasks={REGISTRY: task})

    return spoiled


def agents(*rows: object) -> Spoil:
    return registry(record=task_state(*rows).record)  # type: ignore[arg-type]


def left_over(known: ActionEvidence) -> ActionEvidence:
    plans = (*KILLS.steps, *COMPLETES.steps)
    return replace(known, leftovers={step: Leftover(None, "sleep (7)") for step in plans})


def another_of_its_name(known: ActionEvidence) -> ActionEvidence:
    other = session("agent_live", number=9)
    return replace(known, sessions={}, snapshot=answered(other))


def ending(known: ActionEvidence) -> ActionEvidence:
    steps = (*KILLS.steps, *COMPLETES.steps)
    return replace(known, ending=frozenset(step for step in steps if step.label == "dead"))


def reported_again(known: ActionEvidence) -> ActionEvidence:
    steps = [step for step in (*KILLS.steps, *COMPLETES.steps) if step.end is not None]
    return replace(known, ends=dict.fromkeys(steps, replace(END, message="again")))


def ends_another(known: ActionEvidence) -> ActionEvidence:
    return replace(known, others=dict.fromkeys(KILLS.steps, "ends another agent"))


def denied(known: ActionEvidence) -> ActionEvidence:
    steps = (*KILLS.steps, *COMPLETES.steps)
    return replace(known, denied=dict.fromkeys(steps, "no permission"))


def process_runs(known: ActionEvidence) -> ActionEvidence:
    steps = (*KILLS.steps, *COMPLETES.steps)
    return replace(known, processes={step: "runs" for step in steps if step.label == "dead"})


def started_again(known: ActionEvidence) -> ActionEvidence:
    now = replace(ENDED, dead=(), ended=None, pids=(8,))
    return replace(known, sessions={ENDED: now})


SPOILED: dict[str, tuple[str, Spoil]] = {
    "tmux_answers": ("live", seen(cannot_tell())),
    "end_is_still_recorded": ("done", registry(record=None, error="gone")),
    "registry_can_be_locked": ("live", registry(has_locks=False)),
    "task_can_be_written": ("live", lambda e: replace(e, unwritable={REGISTRY: "full"})),
    "may_be_recorded": ("dead", denied),
    "registry_has_its_owner": ("live", registry(owner=64101)),
    "deployment_is_same": ("live", agents(replace(agent("live"), started_at="later"))),
    "is_not_at_work_again": ("done", agents(agent("done"))),
    "session_is_not_elsewhere": ("dead", lambda e: replace(e, elsewhere={"agent_dead": "there"})),
    "nothing_is_left_over": ("dead", left_over),
    "processes_can_be_seen": ("live", seen(replace(THERE, foreign_pids=True))),
    "session_is_not_back": ("dead", seen(answered(session("agent_dead", number=9)))),
    "agent_is_not_ending": ("dead", ending),
    "report_is_the_planned_one": ("dead", reported_again),
    "session_is_the_planned_one": ("live", another_of_its_name),
    "process_has_ended": ("ended", started_again),
    "process_is_as_planned": ("dead", process_runs),
    "is_not_our_session": ("live", lambda e: replace(e, holding_us=frozenset({LIVE.id}))),
    "panes_are_its_own": ("live", lambda e: replace(e, sharing={LIVE.id: "view"})),
    "panes_were_made_in_it": ("live", lambda e: replace(e, mixed={LIVE.id: "mixed"})),
    "ends_no_other_agent": ("live", ends_another),
    "is_not_claimed": ("agent_lost", lambda e: replace(e, claims={LOST.id: "listed"})),
}


def test_every_check_is_tried_here_and_completing_uses_some_of_them() -> None:
    names = [check.__name__ for check, _ in KILL]
    assert names == list(SPOILED)
    assert {check for check, _ in COMPLETE} < {check for check, _ in KILL}
    assert all(check.__doc__ for check in (*FROM_ROLL, *(check for check, _ in KILL)))


def test_nothing_is_refused_where_nothing_changed() -> None:
    assert {step.label for step in KILLS.steps} == {"live", "done", "dead", "agent_lost", "ended"}
    assert checked(KILLS, KILL, evidence(KILLS)) == KILLS
    assert checked(COMPLETES, COMPLETE, evidence(COMPLETES)) == COMPLETES


@pytest.mark.parametrize("now", [None, replace(END, status="completed"), END])
def test_a_reported_end_counts_only_while_it_is_the_last_report(now: ReportedEnd | None) -> None:
    (step,) = (each for each in COMPLETES.steps if each.label == "dead")
    why = report_is_the_planned_one(step, replace(evidence(COMPLETES), ends={step: now}))
    assert (why is None) == (now == END)


@pytest.mark.parametrize("name", SPOILED)
def test_a_check_refuses_its_step_in_the_plan_and_before_the_act(name: str) -> None:
    label, spoil = SPOILED[name]
    known = spoil(evidence(KILLS))
    check = getattr(preconditions, name)
    (step,) = (each for each in KILLS.steps if each.label == label)
    why = check(step, known)
    assert why
    assert dict(checked(KILLS, KILL, known).refused)[label] == why
    refused = refusal(KILL, step, known)
    assert refused is not None and refused.result is not Result.DONE
    assert refused.detail == why
    only_others = tuple(each for each in KILL if each[0] is not check)
    assert refusal(only_others, step, known) is None, "another check says the same"


@pytest.mark.parametrize("name", [check.__name__ for check, _ in COMPLETE])
def test_a_dead_agent_is_not_completed_against_a_check(name: str) -> None:
    label, spoil = SPOILED[name]
    known = spoil(evidence(COMPLETES))
    refused = dict(checked(COMPLETES, COMPLETE, known).refused)
    assert ("ended" if label == "ended" else "dead") in refused


def test_an_agent_at_work_is_ended_though_its_registry_cannot_be_read_now() -> None:
    known = replace(evidence(KILLS), tasks={REGISTRY: TaskEvidence(None, "cut off")})
    assert "live" not in dict(checked(KILLS, KILL, known).refused)


def test_a_kill_makes_its_look_at_nearby_workspaces_once_and_refreshes_it(
    files: Files, server: RealTmux, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start("agent_a")
    made: list[object] = []
    looked: list[object] = []

    class Counted(Registries):
        def __init__(self, *rest: object) -> None:
            made.append(rest)
            super().__init__(*rest)  # type: ignore[arg-type]

        def rescan(self, *rest: object, **named: object) -> bool:
            looked.append(self)
            return super().rescan(*rest, **named)  # type: ignore[arg-type]

    roll = take(files, server.client(), QUICK)
    monkeypatch.setattr(nearby_workspaces, "Registries", Counted)
    row: AgentRow = row_of(roll, "a")
    plan = weighed_kill(roll, [row])
    assert len(looked) == len(made) > 0
    before = len(made)
    assert carry_out(plan, server.client(), "").complete
    assert len(made) == before and len(looked) == 2 * before


@pytest.fixture
def files(tmp_path: object) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a")]})  # type: ignore[arg-type]


def test_the_dead_are_not_written_down_where_their_processes_cannot_be_seen() -> None:
    known = seen(replace(THERE, foreign_pids=True))(evidence(KILLS))
    assert "container" in dict(checked(KILLS, KILL, known).refused)["dead"]
    roll = replace(ROLL, evidence=replace(ROLL.evidence, snapshot=known.snapshot))
    rows = [row for row in roll.agents() if row.key.id == "dead"]
    (step,) = checked_complete(roll, rows).steps
    assert "although" in step.says and step.may_run
    assert not checked_complete(roll, rows, by_verdict=True).steps
