"""Many that go at once: rather the wrong socket, so it is said, and asked about once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rolls import (
    NOW,
    POLICY,
    SOCKET,
    agent,
    answered,
    cannot_tell,
    roll_call,
    session,
    task_state,
)
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import QUICK, Files, entry
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.cli import main
from tui.cli.format_plan import plan_json
from tui.cli.format_roll import roll_json, roll_table
from tui.model.call import call_task
from tui.model.evidence import Evidence
from tui.model.mass_death import find_mass_death
from tui.model.roll import RollCall
from tui.model.warnings import notices

AT = 200.0


def roll_with(since: Mapping[str, float], alive: int = 0) -> RollCall:
    """Agents whose sessions have been missing since then, and others that live."""
    names = [*since, *(f"alive-{number}" for number in range(alive))]
    there = answered(
        *(session(f"agent_alive-{number}", number=number) for number in range(alive)), asked_at=AT
    )
    missing_since = {f"agent_{name}": began for name, began in since.items()}
    task = call_task(task_state(*map(agent, names)), Evidence(there, missing_since), POLICY, NOW)
    death = find_mass_death([task], missing_since, POLICY)
    return replace(roll_call(task, answer=there), mass_death=death)


def gone_and_of(since: Mapping[str, float], alive: int = 0) -> tuple[int, int] | None:
    death = roll_with(since, alive).mass_death
    return (death.gone, death.of) if death else None


def several(count: int, since: float, name: str = "gone") -> dict[str, float]:
    return {f"{name}-{number}": since for number in range(count)}


@pytest.mark.parametrize(
    ("gone", "alive", "many"),
    [(3, 0, True), (3, 2, True), (3, 3, False), (2, 0, False), (2, 1, False), (30, 29, True)],
)
def test_three_or_more_and_over_half_are_many(gone: int, alive: int, many: bool) -> None:
    assert gone_and_of(several(gone, 100.0), alive) == ((gone, gone + alive) if many else None)


def test_those_that_went_one_after_the_other_are_not_many() -> None:
    assert gone_and_of({f"gone-{number}": 100.0 + 2 * number for number in range(9)}) is None


def test_those_that_went_within_a_moment_went_at_once() -> None:
    assert gone_and_of({"a": 100.0, "b": 100.4, "c": 101.0}) == (3, 3)


def test_who_had_gone_before_does_not_hide_it() -> None:
    earlier = {f"earlier-{number}": 10.0 + 5 * number for number in range(8)}
    assert gone_and_of(earlier | several(3, 100.0), 2) == (3, 5)


def test_when_the_rest_goes_later_it_is_said_of_all_of_them() -> None:
    gone = several(7, 100.0, "first") | several(4, 150.0, "rest")
    assert gone_and_of(gone) == (11, 11)
    assert gone_and_of(several(7, 100.0, "first"), 4) == (7, 11)


def test_what_is_not_proven_yet_is_no_death() -> None:
    assert gone_and_of(several(5, AT)) is None


def test_agents_with_a_terminal_status_do_not_count() -> None:
    state = task_state(*(agent(name, "completed") for name in "abcdef"))
    task = call_task(state, Evidence(answered(asked_at=AT)), POLICY, NOW)
    assert find_mass_death([task], {}, POLICY) is None


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(0, 190)), st.integers(0, 9))
def test_a_mass_death_is_what_it_says(since: dict[str, float], alive: int) -> None:
    roll = roll_with(since, alive)
    if roll.mass_death is not None:
        assert roll.mass_death.gone == len(roll.mass_death.agents) >= 3
        assert roll.mass_death.gone * 2 > roll.mass_death.of <= len(since) + alive
        began = [since[key.id] for key in roll.mass_death.agents]
        for each in began:
            assert sum(abs(each - other) <= POLICY.mass_death_window for other in began) >= 3


# --- how it is said -----------------------------------------------------------


MANY = roll_with(several(4, 100.0), alive=1)


def test_it_is_said_with_the_socket_and_what_to_try() -> None:
    (said,) = notices(MANY)
    assert "4 of 5" in said and str(SOCKET) in said and "-L" in said and "-S" in said
    assert f"! {said}" in list(roll_table(MANY, NOW, 60))
    assert roll_json(MANY)["mass_death"] == {"gone": 4, "of": 5}
    assert roll_json(roll_call())["mass_death"] is None
    assert notices(roll_call()) == ()


def test_why_tmux_cannot_be_asked_is_said_with_what_to_try() -> None:
    answer = replace(cannot_tell(), advice="ask its owner")
    roll = roll_call(answer=answer)
    (said,) = notices(roll)
    assert "Permission denied; ask its owner" in said and str(SOCKET) in said
    assert roll_json(roll)["tmux"]["advice"] == "ask its owner"
    assert notices(roll_call(answer=replace(answer, asked_at=0.0))) == ()


def test_sessions_that_may_be_elsewhere_are_counted_and_are_no_deaths() -> None:
    elsewhere = {"agent_a": "try -S /x", "agent_b": "try -S /x"}
    missing_since = dict.fromkeys(("agent_a", "agent_b", "agent_c"), 100.0)
    evidence = Evidence(answered(asked_at=AT), missing_since, elsewhere)
    task = call_task(task_state(*map(agent, "abc")), evidence, POLICY, NOW)
    assert [row.verdict.value for row in task.agents] == ["unknown", "unknown", "zombie"]
    assert task.agents[0].note == "try -S /x"
    assert notices(replace(roll_call(task), evidence=evidence)) == (
        "2 agents may be alive: try -S /x",
    )


# --- asked once more ----------------------------------------------------------


def test_several_of_them_are_asked_about_once_more_and_one_is_not() -> None:
    rows = list(MANY.agents())
    for plan in (plan_complete(MANY, rows[:2]), plan_kill(MANY, rows)):
        (question,) = plan.preview().questions
        assert str(SOCKET) in question.asks and "4 of 5" in question.asks
        assert plan_json(plan)["second_question"] == question.asks
    assert plan_complete(MANY, rows[:1]).questions == ()
    calm = replace(MANY, mass_death=None)
    assert plan_kill(calm, rows).questions == ()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry("b"), entry("c")]})


Complete = Callable[..., int]


@pytest.fixture
def complete(files: Files, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """`muster complete --zombies` where all are gone, and somebody who answers."""

    def run(*options: str, says: str = "") -> int:
        given = iter(says)

        def answer(question: str = "") -> bool:
            return next(given) == "y"

        monkeypatch.setattr(
            "tui.cli.commands.complete.tmux_of", lambda _: ScriptedTmux(answered())
        )
        monkeypatch.setattr("tui.cli.commands.complete.policy_of", lambda _: QUICK)
        monkeypatch.setattr("tui.cli.confirm.confirmed", answer)
        code = main.main(["complete", "--zombies", "-w", str(files.path), *options])
        assert not list(given)
        return code

    return run


@pytest.mark.parametrize(
    ("options", "says", "done"),
    [
        (("--yes",), "", False),
        (("--yes", "--mass-death"), "", True),
        (("--mass-death",), "y", True),
        ((), "yy", True),
        ((), "yn", False),
        ((), "n", False),
    ],
)
def test_the_command_line_asks_once_more(
    files: Files, complete: Complete, options: tuple[str, ...], says: str, done: bool
) -> None:
    before = files.bytes()
    assert complete(*options, says=says) == (0 if done else 1)
    assert (files.bytes() != before) is done


def test_yes_alone_says_what_else_it_takes(
    complete: Complete, capsys: pytest.CaptureFixture[str]
) -> None:
    complete("--yes")
    said = capsys.readouterr().err
    assert "--mass-death" in said and str(SOCKET) in said and "Nothing was done" in said
