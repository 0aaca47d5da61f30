"""Names that are never taken for others, and command lines that hold what they say."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import registry
import tui
from registry.errors import (
    AgentNotFoundError,
    LockTimeoutError,
    RegistryNotFoundError,
    WorkspaceNotFoundError,
)
from registry.text import (
    _BLANK,
    _IGNORABLE,
    NAME_AT_MOST,
    choices,
    command_line,
    is_invisible,
    is_plain,
    quoted_name,
    shell_word,
    shown_name,
    typed_word,
    whole_name,
)
from tests.support.harm import WIDENING, any_text, harmful
from tui.cli.main import COMMANDS
from tui.text.sanitize import harmless

INVISIBLE = (
    "\u3164\u115f\u1160\uffa0\u2800\u17b4\u17b5\u034f\u00ad\ufe0f\u180f\u2065\ufff0\ufffc"
    "\U0001d159\U00016fe4\U00013441\U0001bca0\U000e0001\U000e0fff"
)
"""Some of what shows nothing, of every kind."""

LOOKALIKES = (
    "good",
    "good\ufe0f",
    "good\ufe0e",
    "good\u20e3",
    "good\U0001f44d\U0001f3fd",
    "good\U0001f1e9\U0001f1ea",
    "good\u200b",
    "good\u0301\u0302\u0303\u0304",
    "good\u0301\u0302\u0303",
    "good\u0301\u0302",
    " good",
    "good ",
    "good\u00a0",
    "good\x1b",
    "good\\x1b",
    "good\\e",
    "good\\ufe0f",
    "'good'",
    "'good '",
    '"good"',
    "go\u00f6d",
    "goo\u0308d",
    "good\n",
    "good\r",
    "\ufeffgood",
    "g\u043e\u043ed",
)
"""Ids that differ in what is not seen, or is seen as another one's escapes."""


def test_names_that_differ_look_different() -> None:
    assert len(set(map(shown_name, LOOKALIKES))) == len(LOOKALIKES)
    assert len(set(map(quoted_name, LOOKALIKES))) == len(LOOKALIKES)


@given(any_text, any_text)
def test_no_two_names_are_shown_the_same(one: str, other: str) -> None:
    if one != other:
        assert shown_name(one) != shown_name(other)
        assert whole_name(one) != whole_name(other)


@given(any_text)
def test_a_name_that_is_shown_acts_on_no_terminal(name: str) -> None:
    assert harmful(shown_name(name)) == set()
    assert quoted_name(name).isascii() and quoted_name(name).isprintable()


def test_a_plain_name_is_shown_as_it_is() -> None:
    for name in ("fixer-215911-8c90c7", "/home/ann/a b", "日本語", "größe", "a'b", "👍"):
        assert shown_name(name) == name


def test_names_too_long_to_be_compared_are_told_by_their_hash() -> None:
    one, other = ("x" * 10_000 + end for end in "ab")
    assert whole_name(one) != whole_name(other)
    assert len(whole_name(one)) < 400


def test_foreign_letters_are_told_where_an_action_is_chosen_by_them() -> None:
    assert whole_name("g\u043e\u043ed") == "g\u043e\u043ed ('g\\u043e\\u043ed')"
    assert whole_name("good") == "good"


@pytest.mark.parametrize("character", ["a", "\x1b", "日", "\ufe0f", "'"], ids=ascii)
def test_a_megabyte_of_a_name_is_cut_before_it_is_looked_at(character: str) -> None:
    name = character * (1 << 20)
    for said in (shown_name(name), quoted_name(name)):
        assert len(said) <= 10 * NAME_AT_MOST + 40
        assert said.endswith("… (1048576 characters)")
    assert typed_word(name) is None
    assert len(str(AgentNotFoundError(name))) < 10 * NAME_AT_MOST + 100


# Command lines


@given(st.lists(any_text, max_size=4), st.lists(any_text, max_size=3))
def test_a_shell_takes_a_command_line_apart_into_what_was_meant(
    names: list[str], values: list[str]
) -> None:
    line = command_line("muster", "kill", names=names, options=[("-w", each) for each in values])
    if line is None:
        return
    assert line.isascii() and line.isprintable()
    done = subprocess.run(
        ["sh", "-c", f'muster() {{ printf "%s\\0" "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.split("\0")[:-1]
    options = [each for value in values for each in ("-w", value)]
    if any(each.startswith("-") for each in names):
        assert words == ["kill", *options, "--", *names]
    else:
        assert words == ["kill", *names, *options]


AWKWARD = (
    "a b",
    "it's",
    '"',
    "$(reboot)",
    "`reboot`",
    "a;b",
    "*",
    "~",
    "=ls",
    "%1",
    "!x",
    "{a,b}",
    "#",
)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "ksh", "fish", "busybox"])
def test_every_shell_takes_an_argument_as_it_was_meant(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [shell, "sh", "-c"] if shell == "busybox" else [shell, "-c"]
    line = command_line("printf", r"%s\n".replace("\\n", "|"), names=AWKWARD)
    assert line is not None
    done = subprocess.run([*words, line], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{each}|" for each in AWKWARD)


@pytest.mark.parametrize(
    "name", ["good\ufe0f", "g\u043e\u043ed", "a\nb", "a\x1bb", "a\\b", "", "\udcff", "x" * 2000],
    ids=ascii,
)  # fmt: skip
def test_what_nobody_can_type_for_sure_is_in_no_command_line(name: str) -> None:
    assert typed_word(name) is None
    assert command_line("muster", "kill", names=[name]) is None
    assert command_line("muster", options=[("-S", name)]) is None


def test_two_dashes_come_before_a_name_that_looks_like_an_option() -> None:
    line = command_line("muster", "kill", names=["--orphans"], options=[("-w", "/a b")])
    assert line == "muster kill -w '/a b' -- --orphans"
    assert command_line("muster", options=[("-S", "-x")]) is None


def test_only_names_that_can_be_typed_are_to_choose_from() -> None:
    assert choices(["a b", "good\ufe0f", "c"]) == "'a b', c, 1 more"
    assert choices(["good\ufe0f"]) == "1 name that cannot be typed"


@given(any_text)
def test_a_word_to_be_copied_is_one_word_of_a_shell(name: str) -> None:
    if not is_plain(name):
        return
    done = subprocess.run(
        ["sh", "-c", f"printf %s {shell_word(name)}"], capture_output=True, check=True
    )
    assert done.stdout.decode() == name


# Errors


def test_errors_show_paths_that_look_like_no_others() -> None:
    path = Path("/a\x1b[2J\nmuster: done")
    for error in (
        LockTimeoutError(path, 1),
        RegistryNotFoundError(path),
        AgentNotFoundError(str(path)).named(path),
    ):
        assert "\x1b" not in str(error) and "\n" not in str(error)
    said = str(WorkspaceNotFoundError((path,), "Name one."))
    assert len(said.splitlines()) == 3
    assert "fuser" not in str(LockTimeoutError(path, 1))
    assert "`fuser -v '/a b'`" in str(LockTimeoutError(Path("/a b"), 1))


# Nothing goes around it

_COMMAND = re.compile(
    r"(?:^|[\s`'\"(;])(?:"
    rf"muster(?: (?:{'|'.join(COMMANDS)}))?(?: -[\w-]+)*"
    r"|tmux(?: -\w+)+|tmux (?:attach|kill|new|switch|send)[\w-]*(?: -\w+)*"
    r"|sudo(?: -\w+)*|(?:fuser|chmod|chown|rm|mv|cp|kill)(?: -?[\w+=-]+)*"
    r"|-[SLwu]|--(?:task|workspace|config)"
    r")[ =]['\"`]?$"
)

_OF_HELP = ("tui/cli/parser.py", "tui/cli/help.py", "tui/cli/manual.py")
"""Where the program's name stands before constants."""


def _made_by_hand(source: Path) -> Iterator[tuple[int, str]]:
    """Texts before a value that begin a command or an option."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            pairs = zip(node.values, node.values[1:], strict=False)
            found = [a for a, b in pairs if isinstance(b, ast.FormattedValue)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            found = [node.left]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "format":
            found = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        else:
            continue
        for each in found:
            text = each.value if isinstance(each, ast.Constant) else None
            if isinstance(text, str) and _COMMAND.search(re.split("[{%]", text)[0]):
                yield node.lineno, text


def test_no_command_line_is_composed_by_hand() -> None:
    by_hand = []
    for package in (registry, tui):
        (folder,) = package.__path__
        for source in sorted(Path(folder).rglob("*.py")):
            name = f"{package.__name__}/{source.relative_to(folder)}"
            by_hand += [
                f"{name}:{line}: {text!r}"
                for line, text in _made_by_hand(source)
                if not (name in _OF_HELP and text.endswith("muster "))
            ]
    assert by_hand == []


@pytest.mark.parametrize(
    "source",
    [
        'f"end it: muster kill {name}"',
        'f"find the process with `fuser -v {path}`"',
        'f"try -S {socket}"',
        '"muster undo " + key',
        'f"(chmod go-w {path})"',
        '"mv %s aside" % path',
        '"ask with sudo -u {}".format(owner)',
        "f\"muster kill '{name}'\"",
    ],
)
def test_the_search_finds_command_lines_made_by_hand(source: str, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(source, encoding="utf-8")
    assert list(_made_by_hand(path))


# What shows nothing


def _characters_of(first: int, last: int) -> st.SearchStrategy[str]:
    return st.characters(min_codepoint=first, max_codepoint=last)


@given(st.sampled_from(sorted(_BLANK)) | st.one_of([_characters_of(*each) for each in _IGNORABLE]))
def test_a_name_with_something_invisible_is_not_shown_as_it_is(character: str) -> None:
    name = f"fixer{character}-1"
    assert not is_plain(name)
    assert shown_name(name).isascii() and shown_name(name) != "fixer-1"


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_what_is_printable_but_not_seen_is_escaped(character: str) -> None:
    assert is_invisible(character)
    assert shown_name(f"fixer-1{character}") == ascii(f"fixer-1{character}")
    said = f"x{character}y"
    if character not in WIDENING and unicodedata.category(character) not in ("Mn", "Me"):
        assert (character in harmless(said)) is (character == "\u2800")


def test_letters_that_are_seen_are_none_of_them() -> None:
    assert not any(map(is_invisible, "fixer-1 größe日本語한글👍🏽🇩🇪⠿ក"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("\u00c5ngel", "\u212bngel"), ("\uac00", "\u1100\u1161"), ("\u00e9", "e\u0301")],
)
def test_two_spellings_of_one_text_look_different(one: str, other: str) -> None:
    assert unicodedata.normalize("NFC", other) == one
    assert shown_name(one) == one
    assert shown_name(other).isascii()
