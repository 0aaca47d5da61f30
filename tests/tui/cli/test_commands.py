"""Tests of every command's module: its contents, its imports, and the rules for all commands."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import tui.cli.commands
from tests.support.workspaces import Files, entry
from tui.cli.main import COMMANDS, main, module_of, page_of, parser_of

EVERY = ["", *COMMANDS]

LIGHT = {
    "tui.cli", "tui.errors", "tui.host.suspension", "tui.host.tmux_types", "tui.model.evidence",
    "tui.model.policy",
    "tui.model.roll",
    "tui.model.verdicts", "tui.text.ascii", "tui.text.sanitize", "tui.view.sort",
    "registry.errors", "registry.text", "registry.schema.layout", "registry.schema.records",
    "registry.schema.places", "registry.schema.trust", "registry.schema.unread_database",
    "registry.schema.workspaces", "registry.schema.workspaces_around",
    "registry.schema.session_names", "registry.schema.statuses", "registry.schema.timestamps",
    "registry.sources.source",
}  # fmt: skip
"""The modules of this repository that `--help` may import, besides the commands."""


def imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split("\n")[-2].split())


def commands_in(modules: set[str]) -> set[str]:
    return {each for each in COMMANDS if f"tui.cli.commands.{each}" in modules}


@pytest.mark.parametrize("command", EVERY)
def test_a_command_is_whole_and_in_its_module(command: str) -> None:
    module = module_of(command)
    assert page_of(command).text
    assert callable(module.add_arguments) and callable(module.run)


def test_a_module_of_a_command_is_in_the_table() -> None:
    made = {
        each.name
        for each in pkgutil.iter_modules(tui.cli.commands.__path__)
        if hasattr(importlib.import_module(f"tui.cli.commands.{each.name}"), "run")
    }
    assert made == {*COMMANDS, "monitor"}


def test_the_first_page_and_its_parser_import_no_command() -> None:
    modules = imported("from tui.cli.main import parser_of\nparser_of('')")
    assert commands_in(modules) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_parser_imports_its_command_and_nothing_that_only_runs(command: str) -> None:
    modules = imported(f"from tui.cli.main import parser_of\nparser_of({command!r})")
    assert commands_in(modules) == {command}
    # What reads a file safely is behind the names that a workspace may have.
    ours = {
        each
        for each in modules
        if each.startswith(("tui.", "registry."))
        and not each.startswith(("tui.cli.", "registry.storage."))
        and each.count(".") > 1
    }
    assert ours <= LIGHT
    heavy = {"textual", "rich", "libtmux", "watchfiles", "msgspec", "portalocker", "difflib"}
    assert not heavy & modules


CHANGING = [each for each in COMMANDS if any(a.dest == "yes" for a in parser_of(each)._actions)]

WORDS: dict[str, Sequence[str]] = {
    "kill": ["a"],
    "complete": ["a"],
    "doctor": ["--fix"],
    "undo": [],
}


@pytest.mark.parametrize("command", CHANGING)
def test_a_command_that_changes_something_obeys_read_only(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    before = files.bytes()
    settings = tmp_path / "config.toml"
    settings.write_text("read_only = true\n", encoding="utf-8")
    places = ["-w", str(files.path), "-S", str(tmp_path / "nobody"), "--config", str(settings)]
    assert main([command, *WORDS[command], *places, "--yes"]) == 2
    assert "nothing is changed: read_only is set in" in capsys.readouterr().err
    main([command, *WORDS[command], *places, "--dry-run"])
    assert "read_only" not in capsys.readouterr().err
    assert files.bytes() == before
