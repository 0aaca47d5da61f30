"""Tests of completion: the offered words, and the scripts in real shells."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.storage.files.safe_open import is_safe_name
from tests.support.real_tmux import RealTmux
from tests.support.terminal import MUSTER, Terminal
from tests.support.workspaces import Files, entry
from tui.cli.commands.completion import _SCRIPTS, SHELLS
from tui.cli.format_columns import COLUMNS
from tui.cli.main import COMMANDS, main
from tui.cli.offers import offered as offers
from tui.cli.offers import takes_files
from tui.model.verdicts import VERDICTS
from tui.view.filter import KEYS
from tui.view.sort import Order


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
    return [word for word, _ in offers(words, environment, files.path.parent)]


def test_commands_are_offered_first(files: Files) -> None:
    assert offered(files, "") == sorted([*COMMANDS, ".agent-workspace"])
    assert offered(files, "-L", "x", "re") == ["register", "report"]
    assert offered(files) == offered(files, "")


def test_options_are_those_of_the_command(files: Files) -> None:
    assert offered(files, "list", "--s") == ["--sort"]
    assert offered(files, "tail", "--f") == ["--follow"]
    assert offered(files, "--s") == ["--sort"]
    assert offered(files, "--f") == ["--fresh"]
    assert offered(files, "--fo") == []
    assert "--words" not in offered(files, "completion", "-")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("show", ["fixer-1", "fixer-3", "lost-4", "tester-2"]),
        ("tail -n 3 --only log", ["fixer-1", "fixer-3", "lost-4", "tester-2"]),
        ("complete", ["fixer-1", "lost-4"]),
        ("kill fixer-1", ["lost-4"]),
        ("show fixer-1", []),
        ("complete fixer-1", ["lost-4"]),
        ("report fixer-1", []),
        ("report", ["fixer-1", "lost-4"]),
        ("help", [*COMMANDS]),
        ("ps --sort", [*Order]),
        ("kill --task", ["TASK-1", "TASK-2", "TASK-3"]),
        ("show --task", ["TASK-1", "TASK-2", "TASK-3"]),
        ("register tester --parent", ["fixer-1", "fixer-3", "lost-4", "tester-2"]),
        ("list --sort", ["age", "heard", "id", "progress", "status", "urgency"]),
        ("list --sort =", ["age", "heard", "id", "progress", "status", "urgency"]),
        ("tail --only", ["findings", "log", "progress"]),
        ("complete --as", ["completed", "terminated"]),
        ("completion", list(SHELLS)),
        ("log -n", []),
        ("list --where", [f"{key}:" for key in KEYS]),
        ("list --color", ["always", "auto", "never"]),
        ("list --columns", [*COLUMNS]),
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
    words = [line.split(" -- ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "--help" in words and all(word.startswith("--") for word in words)


def test_only_what_begins_so_is_offered(files: Files) -> None:
    assert offered(files, "show", "fix") == ["fixer-1", "fixer-3"]


def test_nothing_is_offered_that_means_something_to_a_shell(files: Files) -> None:
    everything = offered(files, "show", "") + offered(files, "kill", "--task", "")
    for key in KEYS:
        filters = offered(files, "list", "--where", f"{key}:")
        if key != "workspace":
            everything += [word.removeprefix(f"{key}:") for word in filters]
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
    last = words[-1] if words and words[-1] != "=" else ""
    for each, _ in offers(words, {}, Path("/nowhere")):
        assert each.startswith(last.lstrip("'\""))
    takes_files(words)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ver", ["verdict:"]),
        ("verdict:zo", ["verdict:zombie"]),
        ("verdict:zombie,st", ["verdict:zombie,stalled"]),
        ("-verdict:li", ["-verdict:live"]),
        ("'verdict:zombie -task:TASK-1", ["verdict:zombie -task:TASK-1"]),
        ("status:f", ["status:failed"]),
        ("id:fix", ["id:fixer-1", "id:fixer-3"]),
        ("session:agent_l", ["session:agent_lost-4"]),
        ("nokey:", []),
        ("verdict:x", []),
    ],
)
def test_keys_and_values_of_a_filter_are_offered(
    files: Files, typed: str, expected: list[str]
) -> None:
    assert offered(files, "list", "--where", typed) == expected
    assert offered(files, "--where", typed) == expected
    if not typed.startswith("'"):
        assert offered(files, "watch", f"--where={typed}") == [f"--where={e}" for e in expected]


def test_values_after_an_equals_sign_and_in_lists_are_offered(files: Files) -> None:
    assert offered(files, "list", "--sort=a") == ["--sort=age"]
    assert offered(files, "list", "--columns", "agent,no") == ["agent,note"]
    assert offered(files, "list", "--columns=agent,no") == ["--columns=agent,note"]


def test_words_have_their_meanings(files: Files) -> None:
    def meaning(*words: str) -> str:
        return dict(offers(words, {}, files.path.parent))[words[-1]]

    assert meaning("kill") == COMMANDS["kill"].line
    assert meaning("list", "--flat") == "one line for each agent"
    assert meaning("list", "--where", "verdict:zombie").startswith("active in the registry")
    assert meaning("show", "tester-2") == "tester completed"


def test_a_meaning_from_a_registry_cannot_end_its_line(files: Files, tmp_path: Path) -> None:
    files.write_task("TASK-8", entry("evil-9", "a\tb\nc\x1b[31m") | {"type": "x" * 5000})
    ((_, meaning),) = offers(["show", "evil-9"], {}, files.path.parent)
    assert meaning.isprintable() and len(meaning) <= 80


@pytest.mark.parametrize(
    ("line", "files_too"),
    [
        ("", True), ("list ", True), ("-S ", True), ("show -w ", True), ("--config=", True),
        ("config --check ", True), ("config --", False), ("show ", False), ("kill ", False),
        ("list --where ", False), ("tail x ", False), ("help ", False),
    ],
)  # fmt: skip
def test_file_names_are_offered_only_where_a_path_can_stand(line: str, files_too: bool) -> None:
    assert takes_files(line.split(" ")) is files_too


def test_kill_and_attach_offer_what_they_can_end_or_show(files: Files, server: RealTmux) -> None:
    for name in ("agent_fixer-1", "agent_tester-2", "agent_stray-9", "mine"):
        server.start(name)
    place = ["-S", str(server.socket)]
    expected = ["agent_stray-9", "fixer-1", "lost-4", "tester-2"]
    assert offered(files, "kill", *place, "") == expected
    assert offered(files, "kill", *place, "fixer-1", "") == [*expected[:1], *expected[2:]]
    assert offered(files, "attach", *place, "") == ["agent_stray-9", "fixer-1", "tester-2"]


# In shells


def installed(directory: Path) -> Path:
    """Puts `muster` into a directory; returns the directory, for PATH."""
    program = directory / "bin" / "muster"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.join(MUSTER)} "$@"\n')
    program.chmod(0o755)
    return program.parent


def ask_bash(files: Files, directory: Path, *words: str, kind: int = 9) -> list[str]:
    """Returns the words that bash offers if `muster` is on PATH.

    Args:
        files: The workspace.
        directory: The directory for `muster`.
        words: The typed words, as bash separates them.
        kind: The code of the key: 9 for a completion, 63 for a list.
    """
    path = installed(directory)
    line = shlex.join(["muster", *words])
    script = f"""
    PATH={shlex.quote(str(path))}:$PATH
    eval "$(muster completion bash)"
    [[ $(complete -p muster) == *"-F _muster muster" ]] || exit 3
    COMP_WORDS=({line}) COMP_CWORD={len(words)} COMP_TYPE={kind}
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
    assert ask_bash(files, tmp_path, "list", "--where", "verdict", ":", "zo") == ["zombie"]
    assert ask_bash(files, tmp_path, "list", "--where", "verdict", ":") == [*sorted(VERDICTS)]
    assert ask_bash(files, tmp_path, "list", "--sort", "=", "a") == ["age"]
    assert ask_bash(files, tmp_path, "list", "--where", "=", "-status", ":", "f") == ["failed"]
    listed = ask_bash(files, tmp_path, "show", "", kind=63)
    assert "tester-2  -- tester completed" in listed


INTERACTIVE = {
    "bash": ("bash --norc -i", 'eval "$(muster completion bash)"'),
    "zsh": ("zsh -f -i", 'autoload -U compinit; compinit -u -D; eval "$(muster completion zsh)"'),
    "fish": ("fish --no-config -i", "muster completion fish | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_person_completes_a_line_in_a_shell(files: Files, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command, load = INTERACTIVE[shell]
    (files.path.parent / "zebra-file").touch()
    terminal = Terminal(tmp_path / "outer")
    terminal.tmux(
        "new-session", "-d", "-x", "120", "-y", "40", "-c", str(files.path.parent), "--",
        "env", f"HOME={tmp_path}", f"PATH={installed(tmp_path)}:{os.environ['PATH']}",
        "TERM=screen", *command.split(),
    )  # fmt: skip
    try:
        terminal.type(f"{load}; echo rea''dy")
        terminal.press("Enter")
        terminal.shows("ready")
        for typed, completed in (
            ("muster sho", "muster show"),
            ("muster tail lo", "muster tail lost-4"),
            ("muster list --hid", "muster list --hide-finished"),
            ("muster list --where verdict:zo", "muster list --where verdict:zombie"),
            ("muster list zeb", "muster list zebra-file"),
        ):
            terminal.press("C-l")
            terminal.type(typed)
            terminal.press("Tab")
            terminal.shows(completed)
            terminal.press("C-u")
        terminal.press("C-l")
        terminal.type("muster show ")
        terminal.press("Tab", "Tab")
        terminal.shows("fixer-1", "tester running", "tester-2", "tester completed")
        assert "zebra-file" not in terminal.screen()
    finally:
        terminal.tmux("kill-server")


@pytest.mark.parametrize("shell", [each for each in SHELLS if shutil.which(each)])
def test_a_shell_that_is_here_takes_its_script(shell: str) -> None:
    done = subprocess.run(
        [shell, "-n"], input=_SCRIPTS[shell], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_script_asks_for_words() -> None:
    assert set(_SCRIPTS) == set(SHELLS)
    assert all("muster completion --words" in script for script in _SCRIPTS.values())
