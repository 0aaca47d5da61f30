"""Sessions that registries name, but that are not called as the orchestrator calls an agent's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from tests.support.commands import decoded, muster
from tests.support.real_tmux import RealTmux
from tests.support.rolls import agent, answered, called, roll_call, session, task_state
from tests.support.workspaces import Files, entry
from tui.actions.plan import Plan
from tui.actions.plan_kill import plan_kill
from tui.app.screens.confirm import ConfirmScreen
from tui.cli import main
from tui.cli.format_plan import plan_json, proposal_lines

DATABASE = "production-db"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """One whose registry says that a session of somebody else's is its; a usual one."""
    agents = [entry("odd", "completed", tmux_session=DATABASE), entry("usual", "completed")]
    return Files(tmp_path, {"TASK-1": agents, "TASK-2": [entry("at-work", tmux_session="db2")]})


@pytest.fixture
def crew(server: RealTmux) -> RealTmux:
    for name in (DATABASE, "agent_usual", "db2"):
        server.start(name)
    return server


def kill(files: Files, crew: RealTmux, *words: str, code: int) -> Any:
    return decoded(muster(files, "kill", *words, "--json", "-S", crew.socket), code)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--leaked",), DATABASE),
        (("--task", "TASK-1"), DATABASE),
        (("odd",), DATABASE),
        (("--tree", "odd"), DATABASE),
        (("at-work",), "db2"),
    ],
)
def test_yes_alone_ends_none_of_them(
    files: Files, crew: RealTmux, words: tuple[str, ...], named: str
) -> None:
    before, names = files.bytes(), crew.names()
    done = muster(files, "kill", *words, "--yes", "-S", crew.socket)
    assert done.returncode == 1
    assert f"{named} (of " in done.stderr
    assert "give --unusual-names as well" in done.stderr and "Nothing was done" in done.stderr
    assert crew.names() == names
    assert files.bytes() == before


def test_who_says_so_ends_them(files: Files, crew: RealTmux) -> None:
    done = kill(files, crew, "--leaked", "--yes", "--unusual-names", code=0)
    assert [each["result"] for each in done["agents"]] == ["done", "done"]
    assert crew.names() == {"db2"}


def test_others_are_ended_without(files: Files, crew: RealTmux) -> None:
    kill(files, crew, "usual", "--yes", code=0)
    assert crew.names() == {DATABASE, "db2"}


def test_the_plan_names_every_session_that_it_ends(files: Files, crew: RealTmux) -> None:
    plan = kill(files, crew, "--leaked", "--dry-run", code=0)
    (question,) = plan["questions"]
    assert question["option"] == "--unusual-names" and DATABASE in question["asks"]
    assert "agent_usual" not in question["asks"]
    assert plan["second_question"] == question["asks"]
    said = muster(files, "kill", "--leaked", "--dry-run", "-S", crew.socket).stdout
    assert f"odd (session {DATABASE}, 1 process" in said
    assert f"end its session (called {DATABASE}, not agent_odd)" in said
    assert "usual (session agent_usual, 1 process" in said


@pytest.mark.parametrize(("answers", "ended"), [("yn", False), ("yy", True)])
def test_they_are_asked_about_apart(
    files: Files, crew: RealTmux, monkeypatch: pytest.MonkeyPatch, answers: str, ended: bool
) -> None:
    given = iter(answers)
    asked: list[str] = []

    def confirmed(question: str = "") -> bool:
        asked.append(question)
        return next(given) == "y"

    monkeypatch.setattr("tui.cli.confirm.confirmed", confirmed)
    code = main.main(["kill", "odd", "-S", str(crew.socket), "-w", str(files.path)])
    assert code == (0 if ended else 1)
    assert (DATABASE in crew.names()) is not ended
    assert asked[0] == "" and DATABASE in asked[1]


# --- what is asked -------------------------------------------------------------


def plan_of(*pairs: tuple[str, str]) -> Plan:
    """The plan to kill agents, each with its session."""
    state = task_state(*(agent(each, session=name) for each, name in pairs))
    there = answered(*(session(name, number=n) for n, (_, name) in enumerate(pairs)))
    roll = roll_call(*called(state, answer=there), answer=there)
    plan = plan_kill(roll, roll.agents())
    assert len(plan.steps) == len(pairs), plan.refused
    return plan


def test_names_as_tmux_keeps_them_are_usual() -> None:
    assert plan_of(("v1.2:3", "agent_v1.2:3"), ("x", "agent_x")).questions == ()
    assert plan_of(("v1.2:3", "agent_v1_2_3")).questions == ()


def test_a_name_that_tmux_never_gives_is_asked_about() -> None:
    (question,) = plan_of(("a_b", "agent_a.b")).questions
    assert "agent_a.b (of a_b)" in question.asks


@pytest.mark.parametrize("name", ["agent_xy", "agent_X", "x", "agent_", "production-db"])
def test_any_other_name_is_asked_about(name: str) -> None:
    (question,) = plan_of(("x", name)).questions
    assert f"{name} (of x)" in question.asks


def test_of_very_many_the_first_are_named_and_the_others_counted() -> None:
    plan = plan_of(*((f"a{number}", f"db-{number}") for number in range(30)))
    (question,) = plan.questions
    assert question.asks.startswith("30 sessions do not have the usual name")
    assert "and 20 more" in question.asks
    said = "\n".join(proposal_lines(plan.preview()))
    assert all(f"db-{number})" in said for number in range(30))
    assert len(plan_json(plan)["steps"]) == 30


async def test_the_monitor_asks_every_question_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.app.screens.confirm.READ_FIRST", 0.0)
    monkeypatch.setattr("tui.app.screens.confirm.HASTE", 0.0)
    plan = plan_of(("odd", DATABASE))
    both = replace(plan, questions=(replace(plan.questions[0], asks="First?"), *plan.questions))
    answers: list[str | None] = []
    app = App[None]()
    async with app.run_test() as pilot:
        screen = ConfirmScreen(both.preview())
        app.push_screen(screen, answers.append)
        await pilot.pause()
        for says in ("First?", DATABASE):
            await pilot.press("y")
            await pilot.pause()
            shown = screen.query_one(VerticalScroll).query_one(Static)
            assert says in str(shown.render()) and not answers
            assert "Second confirmation" in str(screen.query_one(Vertical).border_title)
        await pilot.press("y")
        await pilot.pause()
    assert answers == [""]
