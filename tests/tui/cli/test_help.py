"""Tests of `--help`: it is complete and correct, and fits a terminal."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import fields

import pytest

from registry.audit.log import AUDIT_LOG
from registry.schema.layout import GLOBAL_REGISTRY
from registry.schema.places import ENVIRONMENT_VARIABLE
from tui.cli.main import COMMANDS, page_of, parser_of
from tui.cli.parser import first_word, joined, parse, take_command
from tui.cli.suggest import mistaken_command
from tui.model.policy import Policy

EVERY = ["", *COMMANDS]


def shown(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    output = io.StringIO()
    with redirect_stdout(output):
        parser_of(command).print_help()
    return output.getvalue()


@pytest.mark.parametrize("command", EVERY)
def test_help_says_what_it_does_its_options_and_its_exit_codes(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(command, monkeypatch)
    assert "exit codes:\n" in text
    for action in parser_of(command)._actions:
        assert action.help, action
    assert all(len(line) <= 100 for line in text.splitlines()), text
    if command:
        assert len(page_of(command).text.split(".")[0]) > 20


def test_the_first_page_names_every_command_and_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown("", monkeypatch)
    for name, command in COMMANDS.items():
        usage = f"{name} {command.words}".strip()
        assert re.search(rf"^  muster {re.escape(usage)} +{re.escape(command.line)}$", text, re.M)
    settable = [f"MUSTER_{each.name.upper()}" for each in fields(Policy)]
    for word in (*settable, ENVIRONMENT_VARIABLE, "TMUX_TMPDIR", GLOBAL_REGISTRY, AUDIT_LOG):
        assert word in text


@pytest.mark.parametrize("command", EVERY)
def test_every_example_is_understood(command: str) -> None:
    for example, _ in page_of(command).examples:
        inside = re.search(r"\$\((.*)\)", example)
        words = shlex.split((inside[1] if inside else example).split(" | ")[0].split(" > ")[0])
        given = words[words.index("muster") + 1 :]
        name = take_command(given, COMMANDS)
        # The first page has examples of others as well.
        assert name == command or not command
        parse(parser_of(name), given)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["lst"], "list"),
        (["-L", "x", "kil", "a-1"], "kill"),
        (["wach", "--json"], "watch"),
        (["docter"], "doctor"),
    ],
)
def test_a_typo_of_a_command_is_guessed(words: list[str], meant: str) -> None:
    assert (mistaken_command(first_word(words), COMMANDS) or "").endswith(f"did you mean {meant}?")


@pytest.mark.parametrize("words", [[], ["--json"], ["/tmp"], ["./lst"], ["xyzzy"], ["."]])
def test_what_may_be_a_workspace_is_no_typo(words: list[str]) -> None:
    assert mistaken_command(first_word(words), COMMANDS) is None


def test_a_filter_may_begin_with_a_minus() -> None:
    given = joined(["--where", "-verdict:live", "--where=-id:x", "ws", "--where", "a b"])
    options = parser_of("list").parse_intermixed_args(given)
    assert options.where == ["-verdict:live", "-id:x", "a b"]
    assert options.workspaces == ["ws"]
    assert options.hide_finished is False
