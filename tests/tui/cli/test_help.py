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
from tui.cli.main import COMMANDS, main, page_of, parser_of
from tui.cli.parser import _FLAG_OF, _TAKES_VALUE, first_word, joined, parse, take_command
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
    assert (
        str(mistaken_command(first_word(words), COMMANDS))
        .split("did you mean ")[-1]
        .startswith(meant)
    )


def test_a_word_that_is_neither_a_command_nor_a_path_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["xyzzy", "--no-such-option"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "muster: there is no command and no file 'xyzzy'; `muster help` lists the commands\n"
    )


@pytest.mark.parametrize(
    ("words", "command", "left"),
    [
        (["-S", "s", "list", "--json"], "list", ["-S", "s", "--json"]),
        (["--reason", "kill", "complete", "a"], "complete", ["--reason", "kill", "a"]),
        (["--task", "T", "show", "a"], "show", ["--task", "T", "a"]),
        (["--task", "kill", "T"], "kill", ["--task", "T"]),
        (["--where", "-type:x", "ps"], "list", ["--where", "-type:x"]),
        (["ls", "ps"], "list", ["ps"]),
        (["--", "list"], "", ["--", "list"]),
        (["-S", "list"], "", ["-S", "list"]),
    ],
)
def test_options_may_stand_before_the_command(
    words: list[str], command: str, left: list[str]
) -> None:
    assert (take_command(words, COMMANDS), words) == (command, left)


def test_the_options_that_take_a_value_are_known_before_the_command_is() -> None:
    takes = {
        name
        for command in EVERY
        for action in parser_of(command)._actions
        for name in action.option_strings
        if action.nargs is None
    }
    assert takes == _TAKES_VALUE
    flags = {
        (name, command)
        for command in EVERY
        for action in parser_of(command)._actions
        for name in action.option_strings
        if action.nargs is not None and name in takes
    }
    assert flags == set(_FLAG_OF.items())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("list --jsn", "`muster list` has no option '--jsn'; did you mean --json?"),
        ("--flow tail", "`muster tail` has no option '--flow'; did you mean --follow?"),
        ("show --xyz", "`muster show` has no option '--xyz'; see `muster show --help`"),
        ("ls -q", "`muster list` has no option '-q'; see `muster list --help`"),
        ("show", "missing: AGENT; see `muster show --help`"),
        ("undo a b", "too many arguments: b; see `muster undo --help`"),
        ("log -n", "argument -n: expected one argument; see `muster log --help`"),
        ("help kil", "there is no command 'kil'; did you mean kill?"),
    ],
)
def test_a_wrong_argument_is_one_line_with_the_remedy(
    line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert says in said.err


def test_an_option_may_be_shortened() -> None:
    assert parse(parser_of("list"), ["--hide", "-Sx", "--sor=age"]).hide_finished


@pytest.mark.parametrize("command", ["", *COMMANDS, "ps"])
def test_help_prints_the_page_of_a_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["help", *command.split()]) == 0
    printed = capsys.readouterr().out
    assert printed == shown("list" if command == "ps" else command, monkeypatch)


@pytest.mark.parametrize("words", [[], ["--json"], ["/tmp"], ["./lst"], ["."]])
def test_what_may_be_a_workspace_is_no_typo(words: list[str]) -> None:
    assert mistaken_command(first_word(words), COMMANDS) is None


def test_a_filter_may_begin_with_a_minus() -> None:
    given = joined(["--where", "-verdict:live", "--where=-id:x", "ws", "--where", "a b"])
    options = parser_of("list").parse_intermixed_args(given)
    assert options.where == ["-verdict:live", "-id:x", "a b"]
    assert options.workspaces == ["ws"]
    assert options.hide_finished is False
