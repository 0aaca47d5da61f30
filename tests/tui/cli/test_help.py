"""`--help` is a man page: it is whole, true, and fits a terminal."""

from __future__ import annotations

import io
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import fields

import pytest

from registry.audit.log import AUDIT_LOG
from registry.schema.layout import ENVIRONMENT_VARIABLE, GLOBAL_REGISTRY
from tui.cli.help import COMMANDS, Page
from tui.cli.main import _COMMANDS
from tui.cli.parser import joined, mistaken_command, parser_of, take_command
from tui.model.policy import Policy

EVERY = ["", *COMMANDS]


def shown(command: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    output = io.StringIO()
    with redirect_stdout(output):
        parser_of(command).print_help()
    return output.getvalue()


def test_every_command_has_its_page_and_every_page_its_command() -> None:
    assert set(COMMANDS) == set(filter(None, _COMMANDS))


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
        assert len(COMMANDS[command].text.split(".")[0]) > 20


def test_the_first_page_names_every_command_and_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown("", monkeypatch)
    for name, page in COMMANDS.items():
        assert re.search(
            rf"^  muster {re.escape(page.usage)} +{re.escape(page.line)}$", text, re.M
        )
        assert page.usage.split()[0] == name
    settable = [f"MUSTER_{each.name.upper()}" for each in fields(Policy)]
    for word in (*settable, ENVIRONMENT_VARIABLE, "TMUX_TMPDIR", GLOBAL_REGISTRY, AUDIT_LOG):
        assert word in text


@pytest.mark.parametrize("page", COMMANDS.values(), ids=COMMANDS)
def test_every_example_is_understood(page: Page) -> None:
    for example, _ in page.examples:
        inside = re.search(r"\$\((.*)\)", example)
        command = (inside[1] if inside else example).split(" | ")[0].split(" > ")[0]
        words = shlex.split(command)
        given = words[words.index("muster") + 1 :]
        name = take_command(given)
        assert name == page.usage.split()[0]
        parser = parser_of(name)
        if name == "completion":
            parser.parse_args(given)
        else:
            parser.parse_intermixed_args(joined(given))


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
    assert (mistaken_command(words) or "").endswith(f"did you mean {meant}?")


@pytest.mark.parametrize("words", [[], ["--json"], ["/tmp"], ["./lst"], ["xyzzy"], ["."]])
def test_what_may_be_a_workspace_is_no_typo(words: list[str]) -> None:
    assert mistaken_command(words) is None


def test_a_filter_may_begin_with_a_minus() -> None:
    given = joined(["--where", "-verdict:live", "--where=-id:x", "ws", "--where", "a b"])
    options = parser_of("list").parse_intermixed_args(given)
    assert options.where == ["-verdict:live", "-id:x", "a b"]
    assert options.workspaces == ["ws"]
    assert options.hide_finished is False
