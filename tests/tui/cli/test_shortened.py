"""Tests of shortened ids: commands that change nothing take them, the others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import muster
from tests.support.rolls import agent, answered, called, roll_call, session, task_state
from tests.support.workspaces import Files, entry
from tui.cli.commands.attach import meant_item
from tui.errors import UsageError
from tui.model.roll import AgentRow


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(
        tmp_path,
        {
            "TASK-1": [entry("fixer-1"), entry("fixer-22", "completed"), entry("same-5")],
            "TASK-2": [entry("lone-3") | {"type": "writer"}, entry("same-5")],
        },
    )
    progress = made.registry("TASK-2").parent / "progress"
    progress.mkdir()
    (progress / "lone-3_progress.jsonl").write_text('{"message": "half way"}\n')
    return made


@pytest.mark.parametrize("word", ["lone-3", "lo", "wri"])
def test_show_and_tail_take_the_beginning_of_an_id_or_of_a_type(files: Files, word: str) -> None:
    shown = muster(files, "show", word, "-S", files.path / "nobody")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "lone-3" in shown.stdout
    tail = muster(files, "tail", word)
    assert tail.returncode == 0 and "half way" in tail.stdout
    # The lines do not name the agent.
    assert tail.stderr == ("" if word == "lone-3" else "muster: the agent is lone-3\n")


@pytest.mark.parametrize("command", ["show", "tail"])
def test_a_beginning_of_several_ids_names_them_and_prints_nothing(
    files: Files, command: str
) -> None:
    done = muster(files, command, "fix", "-S", files.path / "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "muster: 'fix' can mean several agents; give more of the id: fixer-1, fixer-22\n"
    )


@pytest.mark.parametrize("command", ["show", "tail"])
def test_an_id_in_two_tasks_needs_the_task(files: Files, command: str) -> None:
    done = muster(files, command, "sa", "-S", files.path / "nobody")
    assert done.returncode == 2 and "in more than one task" in done.stderr
    done = muster(files, command, "sa", "--task", "TASK-2", "-S", files.path / "nobody")
    assert done.returncode == 0
    assert "TASK-2" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["show", "tail"])
def test_a_word_that_begins_no_id_is_refused(files: Files, command: str) -> None:
    done = muster(files, command, "ixer-1", "-S", files.path / "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no agent 'ixer-1'" in done.stderr


@pytest.mark.parametrize(
    "words", [("kill",), ("complete",), ("report", "--status", "failed")], ids=" ".join
)
@pytest.mark.parametrize("word", ["lone", "writer"])
def test_what_changes_an_agent_takes_a_whole_id(
    files: Files, words: tuple[str, ...], word: str
) -> None:
    before = files.bytes()
    yes = [] if words[0] == "report" else ["--yes"]
    done = muster(files, *words, word, *yes, "-S", files.path / "nobody")
    assert done.returncode == 2 and f"no agent '{word}'" in done.stderr
    assert files.bytes() == before


def test_attach_takes_an_agent_or_the_whole_name_of_an_orphan() -> None:
    answer = answered(session("agent_a-1"), session("agent_lost"))
    lost = answer.sessions["agent_lost"]
    rows = called(task_state(agent("a-1"), agent("agent_x")), answer=answer)
    roll = roll_call(*rows, orphans=(lost,), answer=answer)
    assert meant_item(roll, "agent_lost", None) == lost
    for word in ("a-1", "a-"):
        row = meant_item(roll, word, None)
        assert isinstance(row, AgentRow) and row.key.id == "a-1"
    for word in ("agent_lo", "a"):
        with pytest.raises(UsageError):
            meant_item(roll, word, None)
    with pytest.raises(UsageError, match="no agent 'agent_lost'"):
        meant_item(roll, "agent_lost", "TASK-1")
