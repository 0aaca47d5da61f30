"""Which files are opened, and with what."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from registry.errors import RegistryError
from tests.support.rolls import no_server
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import Files, entry, row_of, take
from tui.app.terminal.open_file import NoViewerError, files_of, opened, viewer
from tui.view.outline import Line, OrphansKey, TaskKey, WorkspaceKey

EVIL = "../../../etc/passwd"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, {"TASK-1": [entry("a"), entry(EVIL)]})


def names(files: Files, agent_id: str) -> list[str]:
    roll = take(files, ScriptedTmux(no_server()))
    row = row_of(roll, agent_id)
    return [each.name for each in files_of(Line(row.key, row, 1, None), roll)]


def test_an_agents_files_are_offered_as_far_as_they_are_there(files: Files) -> None:
    assert names(files, "a") == ["registry"]
    task = files.registry().parent
    for folder, name in (("logs", "a_stream.jsonl"), ("progress", "a_progress.jsonl")):
        (task / folder).mkdir()
        (task / folder / name).touch()
    (task / "agent_prompt_a.txt").touch()
    assert names(files, "a") == ["registry", "log", "progress", "prompt"]


def test_no_id_leads_out_of_the_task_and_nothing_but_files_is_opened(files: Files) -> None:
    assert names(files, EVIL) == ["registry"]
    task = files.registry().parent
    (task / "logs").mkdir()
    os.mkfifo(task / "logs" / "a_stream.jsonl")
    (task / "agent_prompt_a.txt").symlink_to("/etc/passwd")
    assert names(files, "a") == ["registry"]


def test_tasks_and_workspaces_have_their_registries(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    (task,) = roll.tasks()
    line = Line(TaskKey(task.state.registry), task, 0, False)
    paths = [each.path for each in files_of(line, roll)]
    assert paths == [files.registry(), files.global_registry]
    (workspace,) = roll.workspaces
    line = Line(WorkspaceKey(workspace.path), workspace, 0, False)
    assert [each.path for each in files_of(line, roll)] == [files.global_registry]
    assert files_of(Line(OrphansKey(), None, 0, False), roll) == ()
    assert files_of(None, None) == ()


PATH = {"PATH": "/usr/bin:/bin"}


def test_a_program_gets_the_path_of_a_file_that_no_other_user_can_replace(files: Files) -> None:
    """An editor can save it."""
    with opened(files.registry()) as (path, descriptors):
        assert (path, descriptors) == (str(files.registry()), ())


@pytest.mark.parametrize("shared", [".", ".."])
def test_a_program_gets_the_file_that_was_checked_whatever_replaces_it(
    files: Files, tmp_path: Path, shared: str
) -> None:
    registry = files.registry()
    (registry.parent / shared).chmod(0o770)
    before = registry.read_bytes()
    victim = tmp_path / "victim"
    victim.write_text("nothing of the workspace")
    with opened(registry) as (path, descriptors):
        registry.unlink()
        registry.symlink_to(victim)
        done = subprocess.run(["cat", path], pass_fds=descriptors, capture_output=True, check=True)
        assert done.stdout == before
    with pytest.raises(RegistryError), opened(registry):
        pass


def test_the_pager_comes_before_the_editor_and_is_split_as_a_shell_would() -> None:
    assert viewer({**PATH, "PAGER": "cat -n 'a b'", "EDITOR": "vi"}) == ["cat", "-n", "a b"]
    assert viewer({**PATH, "EDITOR": "cat -v"}) == ["cat", "-v"]


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PAGER": "less 'x"}, "missing closing quote"),
        ({"PAGER": "no-such-program -x"}, r"cannot find no-such-program; set \$PAGER"),
        ({"PAGER": "cat; touch /tmp/x"}, "cannot find cat;;"),
    ],
)
def test_a_program_that_cannot_be_run_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(NoViewerError, match=says):
        viewer({**PATH, **environment})


def test_without_any_pager_the_error_names_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoViewerError, match=r"set \$PAGER or \$EDITOR"):
        viewer({"PATH": str(tmp_path)})
    less = tmp_path / "less"
    less.touch(mode=0o755)
    assert viewer({"PATH": str(tmp_path)}) == ["less"]
