"""Which files are opened, and with what."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from registry.errors import RegistryError
from tests.support.rolls import no_server
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import Files, entry, row_of, take
from tui.app.terminal.open_file import (
    NoViewerError,
    Openable,
    command_line,
    files_of,
    line_of,
    opened,
    viewer,
)
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


def test_the_editor_comes_before_the_pager_and_is_split_as_a_shell_would() -> None:
    everything = {**PATH, "VISUAL": "cat -n 'a b'", "EDITOR": "head", "PAGER": "tail -n1"}
    assert viewer(everything) == ["cat", "-n", "a b"]
    assert viewer({**everything, "VISUAL": ""}) == ["head"]
    assert viewer({**PATH, "PAGER": "cat -v"}) == ["cat", "-v"]


def test_where_nothing_may_be_changed_no_editor_is_opened() -> None:
    assert viewer({**PATH, "VISUAL": "cat", "PAGER": "tail -n1"}, read_only=True)[0] == "tail"
    assert viewer({**PATH, "VISUAL": "cat", "EDITOR": "cat"}, read_only=True) != ["cat"]


@pytest.mark.parametrize("agent_id", ["a", EVIL, 'say "é"', "ü\\", "nobody"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_line_of_an_agent_is_that_of_its_id(
    files: Files, agent_id: str, ascii_only: bool
) -> None:
    ids = ["a", EVIL, 'say "é"', "ü\\", "aa"]
    registry = {"agents": [{"type": "x", "note": "id", "id": each} for each in ids]}
    text = json.dumps(registry, indent=1, ensure_ascii=ascii_only)
    files.registry().write_text(text, encoding="utf-8")
    line = line_of(Openable("registry", files.registry(), agent_id))
    if agent_id == "nobody":
        assert line is None
    else:
        assert line is not None
        assert json.loads("{" + text.split("\n")[line - 1].strip() + "}") == {"id": agent_id}
    assert line_of(Openable("log", files.registry())) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vi", "vi +7 /f"),
        ("/usr/bin/nano -l", "/usr/bin/nano -l +7 /f"),
        ("emacs -nw", "emacs -nw +7 /f"),
        ("less -R", "less -R +7 /f"),
        ("code --wait", "code --wait -g /f:7"),
        ("hx", "hx /f:7"),
        ("my-editor", "my-editor /f"),
    ],
)
def test_a_known_program_goes_to_the_line(words: str, expected: str) -> None:
    assert command_line(words.split(), "/f", 7) == expected.split()
    assert command_line(words.split(), "/f", None) == [*words.split(), "/f"]


def test_the_registry_is_opened_at_the_agent(files: Files) -> None:
    roll = take(files, ScriptedTmux(no_server()))
    row = row_of(roll, "a")
    (registry,) = files_of(Line(row.key, row, 1, None), roll)
    line = line_of(registry)
    assert line is not None and line > 1
    with opened(registry.path) as (path, _):
        done = subprocess.run(
            command_line(["sed", "-n", f"{line}p"], path, line), capture_output=True, text=True
        )
    assert done.stdout.strip().startswith('"id": "a"')


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PAGER": "less 'x"}, "missing closing quote"),
        ({"PAGER": "no-such-program -x"}, r"cannot find no-such-program; set \$PAGER"),
        ({"VISUAL": "no-such-program -x"}, r"cannot find no-such-program; set \$VISUAL"),
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
