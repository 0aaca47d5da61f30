"""Tests of the columns, colours and the flat form of `muster list`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.agent_output import ProgressReport
from tests.support.commands import Done, run_muster
from tests.support.harm import any_text, harmful
from tests.support.rolls import (
    NOW,
    agent,
    answered,
    called,
    roll_call,
    session,
    task_record,
    task_state,
)
from tests.support.terminal import said_on_pty
from tests.support.workspaces import Files, entry
from tui.cli.format_columns import COLUMNS, FLAT, TABLE, flat_lines
from tui.cli.format_roll import roll_table
from tui.cli.output import _CODES
from tui.model.roll import AgentKey, RollCall
from tui.model.verdicts import VERDICTS
from tui.text.sanitize import width
from tui.view.sort import Order

THERE = answered(session("agent_a-1"))
STATE = task_state(agent("a-1"), agent("b 2", "completed", parent="a-1", progress=None))
ROLL = roll_call(
    *called(STATE, answer=THERE), orphans=(session("agent_lost", activity=NOW - 9),), answer=THERE
)


def report(message: str) -> ProgressReport:
    return ProgressReport(None, None, "working", None, message)


REPORTS: dict[AgentKey, ProgressReport] = {
    row.key: report(f"{row.key.id} digs on") for row in ROLL.agents()
}


def words(roll: RollCall, *names: str, order: Order | None = None) -> list[list[str]]:
    lines = flat_lines(roll, names, REPORTS, NOW, None, order)
    return [line.split(maxsplit=len(names) - 1) for line in lines]


def test_a_flat_list_has_one_line_an_agent_with_as_many_words_as_columns() -> None:
    assert words(ROLL, *FLAT) == [
        ["VERDICT", "AGENT", "TYPE", "TASK", "STATUS", "PROG", "HEARD", "SESSION", "REPORT"],
        ["live", "a-1", "tester", "TASK-1", "running", "40", "60", "agent_a-1", "a-1 digs on"],
        ["finished", "b\\x202", "tester", "TASK-1", "completed", "-", "60", "agent_b\\x202",
         "b 2 digs on"],
        ["orphan", "-", "-", "-", "-", "-", "9", "agent_lost", "-"],
    ]  # fmt: skip


def test_columns_are_chosen_and_ordered() -> None:
    assert words(ROLL, "parent", "agent") == [
        ["PARENT", "AGENT"], ["orchestrator", "a-1"], ["a-1", "b 2"], ["-", "-"],
    ]  # fmt: skip
    lines = list(roll_table(ROLL, NOW, None, "", ("report", "agent"), REPORTS))
    assert "    REPORT       AGENT" in lines
    assert "    b 2 digs on    b 2" in lines


def test_all_agents_of_a_flat_list_are_in_one_order() -> None:
    other = task_state(agent("0"), agent("z"), name="TASK-2")
    roll = roll_call(*called(STATE, other, answer=THERE), answer=THERE)
    ids = [line[0] for line in words(roll, "agent", order=Order.ID)[1:]]
    assert ids == ["0", "a-1", "b 2", "z"]


@given(any_text, st.sets(st.sampled_from([*COLUMNS]), min_size=1), st.integers(1, 120))
def test_a_flat_list_of_any_names_keeps_its_columns_and_harms_no_terminal(
    text: str, names: set[str], columns: int
) -> None:
    state = task_state(
        record=task_record((agent(text, text, parent=text, session=text),), task_id=text),
    )
    answer = answered(session(text))
    roll = roll_call(*called(state, answer=answer), orphans=(session(text),), answer=answer)
    (row,) = roll.agents()
    reports = {row.key: report(text)}
    chosen = sorted(names)
    for line in flat_lines(roll, chosen, reports, NOW, None):
        assert not harmful(line)
        assert len(re.split(" +", line.rstrip())) >= len(chosen)
        assert len(line.split(maxsplit=len(chosen) - 1)) == len(chosen)
    for cut in flat_lines(roll, chosen, reports, NOW, columns):
        assert width(cut) <= columns
    for cut in roll_table(roll, NOW, columns, "", chosen, reports):
        assert width(cut) <= columns


def test_on_a_narrow_terminal_long_ids_leave_room_for_the_report() -> None:
    name = "cache_invalidation_tester-230632-8ad5ff"
    roll = roll_call(*called(task_state(agent(name)), answer=THERE), answer=THERE)
    (row,) = roll.agents()
    reports = {row.key: report("Crop is right; waiting for the browser")}
    lines = list(roll_table(roll, NOW, 80, "", TABLE, reports))
    (line,) = (line for line in lines if "Crop" in line)
    assert "Crop is right" in line and "8ad5ff" in line
    assert width(line) <= 80


def test_every_style_of_a_verdict_has_a_code() -> None:
    for verdict in VERDICTS.values():
        assert set(verdict.style.split()) <= _CODES.keys()


# The command


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path, {"TASK-1": [entry("fixer-1"), entry("old-2", "completed")]})
    progress = made.registry().parent / "progress"
    progress.mkdir()
    (progress / "old-2_progress.jsonl").write_text('{"message": "It is mended"}\n')
    return made


def listed(files: Files, *arguments: str, **environment: str) -> Done:
    return run_muster("list", *arguments, "-S", files.path / "nobody", files.path, **environment)


def test_the_table_has_the_last_reports(files: Files) -> None:
    done = listed(files)
    assert re.search(r"VERDICT +AGENT +STATUS +PROG +HEARD +REPORT\n", done.stdout)
    assert re.search(r"finished +old-2 .*  It is mended\n", done.stdout)


def test_awk_reads_the_flat_list(files: Files) -> None:
    flat = listed(files, "--flat").stdout
    awk = shutil.which("awk")
    if awk is None:
        pytest.skip("awk is not installed")
    done = subprocess.run(
        [awk, '$1 == "finished" {print $2, NF}'], input=flat, capture_output=True, text=True
    )
    assert done.stdout == "old-2 11\n"


def test_a_flat_list_warns_on_standard_error(files: Files) -> None:
    files.registry().write_text("{")
    done = listed(files, "--flat")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert str(files.registry()) in done.stderr


def test_a_column_that_does_not_exist_is_refused_with_all_names(files: Files) -> None:
    done = listed(files, "--columns", "agent,nmae")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no column 'nmae'; the columns are: verdict, agent," in done.stderr


def test_the_colours_are_those_that_were_chosen(files: Files) -> None:
    assert "\x1b" not in listed(files).stdout
    for flat in ([], ["--flat"]):
        assert "\x1b[2mfinished\x1b[0m" in listed(files, *flat, "--color=always").stdout
    assert "\x1b[2m" in listed(files, "--color", "always", NO_COLOR="1").stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "colored"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),
        ((), {"TERM": "dumb"}, False),
        (("--color", "never"), {}, False),
        (("--flat",), {}, True),
        (("--json",), {}, False),
    ],
)
def test_a_terminal_gets_colours_and_no_line_that_is_wider(
    files: Files, arguments: tuple[str, ...], variables: dict[str, str], colored: bool
) -> None:
    place = ["-S", str(files.path / "nobody"), str(files.path)]
    code, said = said_on_pty(["list", *arguments, *place], **{"NO_COLOR": "", **variables})
    assert code == 0
    assert ("\x1b[2mfinished\x1b[0m" in said) is colored
    assert ("\x1b" in said) is colored
    if "--json" not in arguments:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
        assert all(len(line) <= 80 for line in plain.splitlines())


def test_a_hostile_text_stays_text_where_colours_are_on(files: Files) -> None:
    files.write_task("TASK-9", entry("\x1b[31mred\x1b[0m"))
    shown = listed(files, "--color=always").stdout
    assert "\x1b[31mred" not in shown and "red" in shown
    assert not re.findall(r"\x1b(?!\[[0-9;]*m)", shown)
    assert os.linesep in shown
