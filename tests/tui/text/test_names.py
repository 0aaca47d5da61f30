"""Tests that different names look different, and that commands in advice are safe to paste."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from registry.text import shown_name
from tests.support.panel_app import opened
from tests.support.rolls import SOCKET, agent, answered, called, roll_call, session, task_state
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.workspaces import QUICK, Files, entry, take
from tui.actions.plan_complete import plan_complete
from tui.actions.plan_kill import plan_kill
from tui.app.notifier import _values
from tui.cli.format_plan import proposal_lines
from tui.cli.format_roll import roll_table
from tui.cli.main import main
from tui.doctor.examine import examine
from tui.doctor.location import Where
from tui.host.tmux_advice import socket_option
from tui.host.tmux_types import TmuxState
from tui.model.evidence import Evidence
from tui.model.roll import RollCall
from tui.model.select import rows_of

LOOKALIKES = (
    "good\ufe0f",
    "good\u20e3",
    "good\u200b",
    "g\u043e\u043ed",
    "good ",
    "good\x1b",
    "-good",
)
"""Ids that look like ``good``, that become ``good`` when cleaned, or that look like an option."""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A live agent, and leaked agents with similar ids."""
    leaked = (
        entry(each, "completed", tmux_session=f"agent_{n}") for n, each in enumerate(LOOKALIKES, 2)
    )
    return Files(tmp_path, {"TASK-1": [entry("good"), *leaked]})


@pytest.fixture
def tmux() -> ScriptedTmux:
    leaked = (made_now(f"agent_{n}", n) for n in range(2, 2 + len(LOOKALIKES)))
    return ScriptedTmux(answered(made_now("agent_good"), *leaked))


@pytest.fixture(autouse=True)
def nobody_elses_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the check for other registries' claims on a session find none."""
    monkeypatch.setattr("tui.actions.evidence.collect.claims_on", lambda *_: {})


@pytest.fixture
def roll(files: Files, tmux: ScriptedTmux) -> RollCall:
    return take(files, tmux, QUICK)


def test_advice_about_an_agent_is_not_a_command_about_another_one(
    files: Files, roll: RollCall
) -> None:
    found = examine(files.workspaces(), roll, settled=0.0)
    advice = {each.agent: each.advice for each in found.findings if each.kind == "leaked"}
    assert set(advice) == set(LOOKALIKES)
    for name, said in advice.items():
        command = re.search(r"muster kill .*", said)
        if command is not None:
            # What is offered is exactly the id, and nothing else is.
            assert shlex.split(command[0])[-1] == name
        else:
            assert "in the monitor and press x" in said
    assert "muster kill" not in advice["good\ufe0f"] + advice["g\u043e\u043ed"]
    assert advice["-good"].endswith("muster kill -- -good")
    assert advice["good "].endswith("muster kill 'good '")


def test_advice_names_the_socket_and_the_workspace_that_were_asked(
    files: Files, roll: RollCall
) -> None:
    where = Where(Path("/a b/s"), (Path("/ws"),))
    found = examine(files.workspaces(), roll, where, settled=0.0)
    advice = [each.advice for each in found.findings if each.kind == "leaked"]
    assert advice[-1:] == ["end its session: muster kill -w /ws -S '/a b/s' -- -good"]


def test_agents_that_look_alike_look_different_in_a_list_and_in_a_plan(roll: RollCall) -> None:
    lines = [each for each in roll_table(roll, 0.0, None) if "agent_" in each]
    ids = {re.split(r"  +", line.removeprefix("    "))[1] for line in lines}
    assert len(ids) == len(lines) == 1 + len(LOOKALIKES)
    rows = list(roll.agents())
    for plan in (plan_kill(roll, rows), plan_complete(roll, rows)):
        preview = plan.preview()
        labels = [label for label, _ in (*preview.steps, *preview.refused)]
        assert len(labels) == len(set(labels)) == 1 + len(LOOKALIKES)
        shown = "\n".join(proposal_lines(preview))
        assert "g\\u043e\\u043ed" in shown and "good\\ufe0f" in shown


def test_an_id_stands_whole_in_a_plan(tmp_path: Path) -> None:
    long = "x" * 900
    files = Files(tmp_path, {"TASK-1": [entry(f"{long}-1"), entry(f"{long}-2")]})
    tmux = ScriptedTmux(answered(made_now(f"agent_{long}-1"), made_now(f"agent_{long}-2", 2)))
    roll = take(files, tmux, QUICK)
    plan = plan_kill(roll, list(roll.agents())[:1])
    assert f"{long}-1" in "\n".join(proposal_lines(plan.preview()))


@pytest.mark.parametrize("name", ["good\ufe0f", "goo", "GOOD", "good*", " good", "good "])
def test_what_is_typed_is_taken_exactly(name: str) -> None:
    roll = roll_call_of("good")
    assert rows_of(roll, [name])[0] == []
    (problem,) = rows_of(roll, [name])[1]
    assert problem == f"no agent {name!a} in the registries"


def roll_call_of(*ids: str) -> RollCall:
    return roll_call(*called(task_state(*map(agent, ids)), answer=answered()))


def test_a_name_of_an_agent_and_of_an_orphan_ends_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("agent_x", tmux_session="other")]})
    tmux = ScriptedTmux(answered(session("agent_x", created=0), made_now("other", 2)))
    monkeypatch.setattr("tui.cli.commands.kill.tmux_of", lambda options: tmux)
    assert main(["kill", "agent_x", "--yes", "-w", str(files.path)]) == 2
    assert "is both an agent's id and the name of an orphaned session" in capsys.readouterr().err
    assert tmux.killed == []


def test_what_may_have_been_meant_can_be_typed(
    files: Files, tmux: ScriptedTmux, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tui.cli.commands.kill.tmux_of", lambda options: tmux)
    assert main(["kill", "goodd", "-w", str(files.path)]) == 2
    meant = capsys.readouterr().err.splitlines()[-1]
    assert meant.startswith("did you mean ") and "good" in meant
    assert all(each.isascii() and "\\" not in each for each in meant)


def test_a_socket_that_cannot_be_typed_is_in_no_option() -> None:
    assert socket_option(Path("/a b/s")) == "-S '/a b/s'"
    assert socket_option(Path("/a\u202e/s")) == "-S with the socket '/a\\u202e/s'"


def test_a_hook_gets_no_id_of_another_agent(roll: RollCall) -> None:
    rows = list(roll.agents())
    values = _values("zombie", "x", [row for row in rows if row.record.id != "good"], roll)
    assert "good" not in values["id"].split(",")
    comma = [replace(row, record=replace(row.record, id="x,good")) for row in rows[:1]]
    assert _values("zombie", "x", comma, roll)["id"] == "x\\x2cgood"


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        ("a b", "'a b'"),
        ("$(reboot)", "'$(reboot)'"),
        ("größe", "größe"),
        ("good\ufe0f", None),
        ("--orphans", None),
    ],
)
async def test_what_is_copied_is_one_word_for_a_shell(
    tmp_path: Path, name: str, copied: str | None
) -> None:
    async with opened(Files(tmp_path, {"TASK-1": [entry(name)]})) as (app, _, pilot):
        await pilot.press("y")
        assert app.clipboard == (copied or "")
        assert any(each.startswith("Copied" if copied else "Not copied") for each in app.said)


def test_a_message_of_tmux_names_its_socket_as_it_is(roll: RollCall) -> None:
    unknown = replace(roll.answer, state=TmuxState.UNKNOWN, socket=Path("/a\n/s"))
    asked = replace(roll, evidence=Evidence(unknown))
    shown = "\n".join(roll_table(asked, 0.0, None))
    assert shown_name("/a\n/s") in shown and shown_name(SOCKET) == str(SOCKET)
