"""Tests of completion: the offered words, and the scripts in real shells."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.storage.files.safe_open import is_safe_name
from tests.support.real_tmux import RealTmux
from tests.support.terminal import MUSTER
from tests.support.workspaces import Files, entry
from tui.cli.commands.completion import _SCRIPTS, SHELLS, candidates
from tui.cli.main import COMMANDS, main


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(
        tmp_path,
        {
            "TASK-1": [entry("fixer-1"), entry("tester-2", "completed"), entry("$(reboot)")],
            "TASK-2": [entry("fixer-3", "failed"), entry("a b"), entry("-rf")],
        },
    )
    made.write_task("${workspaceFolder}", entry("lost-4"))
    made.write_task("TASK-3").write_text("{")
    return made


def offered(files: Files, *words: str, **environment: str) -> list[str]:
    return candidates(words, environment, files.path.parent)


def test_commands_are_offered_first(files: Files) -> None:
    assert offered(files, "") == sorted([*COMMANDS, ".agent-workspace"])
    assert offered(files, "-L", "x", "re") == ["register", "report"]
    assert offered(files) == offered(files, "")


def test_options_are_those_of_the_command(files: Files) -> None:
    assert offered(files, "list", "--s") == ["--sort"]
    assert offered(files, "tail", "--f") == ["--follow"]
    assert offered(files, "--s") == ["--sort"]
    assert offered(files, "--f") == []
    assert "--words" not in offered(files, "completion", "-")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("show", ["fixer-1", "fixer-3", "lost-4", "tester-2"]),
        ("tail -n 3 --only log", ["fixer-1", "fixer-3", "lost-4", "tester-2"]),
        ("complete", ["fixer-1", "lost-4"]),
        ("kill fixer-1", ["fixer-1", "lost-4"]),
        ("kill --task", ["TASK-1", "TASK-2", "TASK-3"]),
        ("show --task", ["TASK-1", "TASK-2", "TASK-3"]),
        ("register tester --parent", ["fixer-1", "fixer-3", "lost-4", "tester-2"]),
        ("list --sort", ["age", "heard", "id", "progress", "status", "urgency"]),
        ("list --sort =", ["age", "heard", "id", "progress", "status", "urgency"]),
        ("tail --only", ["findings", "log", "progress"]),
        ("complete --as", ["completed", "terminated"]),
        ("completion", list(SHELLS)),
        ("log -n", []),
        ("list --where", []),
        ("demo", []),
    ],
)
def test_what_can_stand_there_is_offered(files: Files, line: str, expected: list[str]) -> None:
    assert offered(files, *line.split(), "") == sorted(expected)


@pytest.mark.parametrize("line", ["--", "kill --", "show --", "config --"])
def test_two_dashes_are_the_beginning_of_an_option(
    files: Files, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files.path.parent)
    assert main(["completion", "--words", *line.split()]) == 0
    words = capsys.readouterr().out.split()
    assert "--help" in words and all(word.startswith("--") for word in words)


def test_a_kill_is_offered_what_it_ends(files: Files, server: RealTmux) -> None:
    for name in ("agent_fixer-1", "agent_tester-2", "agent_stray-9", "mine"):
        server.start(name)
    expected = ["agent_stray-9", "fixer-1", "lost-4", "tester-2"]
    assert offered(files, "kill", "-S", str(server.socket), "") == expected


def test_only_what_begins_so_is_offered(files: Files) -> None:
    assert offered(files, "show", "fix") == ["fixer-1", "fixer-3"]


def test_nothing_is_offered_that_means_something_to_a_shell(files: Files) -> None:
    everything = offered(files, "show", "") + offered(files, "kill", "--task", "")
    assert everything
    for word in everything:
        assert shlex.quote(word) == word and is_safe_name(word)


def test_ids_are_those_of_the_workspace_that_is_named(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path / "other", {"TASK-9": [entry("writer-9")]})
    assert offered(files, "show", "-w", str(other.path), "") == ["writer-9"]
    assert offered(files, "show", "-w", str(tmp_path / "nowhere"), "") == []
    assert offered(files, "show", "", MUSTER_WORKSPACES=str(other.path)) == ["writer-9"]


def test_workspaces_are_those_of_the_environment_and_those_near(
    files: Files, tmp_path: Path
) -> None:
    Files(tmp_path / "other", {})
    Files(tmp_path / "with blank", {})
    near = offered(files, "list", "", MUSTER_WORKSPACES="/one:/t$o")
    assert near == [".agent-workspace", "/one", "other"]
    assert offered(files, "list", f"{tmp_path}/o") == [f"{tmp_path}/other"]
    assert offered(files, "list", "no/where/") == []


# No argument of a process holds a zero byte.
_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.lists(st.one_of(_words, st.sampled_from([*COMMANDS, "-w", "--task", "-"])), max_size=5))
def test_any_line_is_completed_or_not(words: list[str]) -> None:
    for each in candidates(words, {}, Path("/nowhere")):
        assert each.startswith(words[-1] if words and words[-1] != "=" else "")


# In shells


def ask_bash(files: Files, directory: Path, *words: str) -> list[str]:
    """Returns the words that bash offers if `muster` is on PATH."""
    program = directory / "bin" / "muster"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.join(MUSTER)} "$@"\n')
    program.chmod(0o755)
    line = shlex.join(["muster", *words])
    script = f"""
    PATH={shlex.quote(str(program.parent))}:$PATH
    eval "$(muster completion bash)"
    [[ $(complete -p muster) == *"-F _muster muster" ]] || exit 3
    COMP_WORDS=({line}) COMP_CWORD={len(words)}
    _muster
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        cwd=files.path.parent,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


def test_bash_offers_commands_options_and_ids(files: Files, tmp_path: Path) -> None:
    assert ask_bash(files, tmp_path, "re") == ["register", "report"]
    assert ask_bash(files, tmp_path, "show", "fix") == ["fixer-1", "fixer-3"]
    assert ask_bash(files, tmp_path, "kill", "--task", "") == ["TASK-1", "TASK-2", "TASK-3"]
    assert ask_bash(files, tmp_path, "list", "--hide") == ["--hide-finished"]
    assert ask_bash(files, tmp_path, "show", "nobody") == [""]


@pytest.mark.parametrize("shell", [each for each in SHELLS if shutil.which(each)])
def test_a_shell_that_is_here_takes_its_script(shell: str) -> None:
    done = subprocess.run(
        [shell, "-n"], input=_SCRIPTS[shell], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_script_asks_for_words() -> None:
    assert set(_SCRIPTS) == set(SHELLS)
    assert all("muster completion --words" in script for script in _SCRIPTS.values())
