"""Tests that no control character reaches a terminal, from any source and by any command."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import atomic_update_agent_status, report_progress
from registry.schema.places import ENVIRONMENT_VARIABLE
from tests.support.harm import harmful
from tests.support.rolls import answered, session
from tests.support.selection import in_torture
from tests.support.terminal import MUSTER
from tests.support.workspaces import Files, entry, read, write
from tui.cli import main
from tui.cli.main import COMMANDS, parser_of
from tui.cli.output import HarmlessStream, is_terminal
from tui.host.tmux import Tmux
from tui.host.tmux_types import TmuxSnapshot

DATA = "x\x1b[2J\x1b]0;t\x07\x9b31m\u202e\u2028\u200b\r\nFORGED\x7f\x00\ud800"
"""Texts for a registry: each kind of control character, and a line break."""

GIVEN = "x\x1b[2J\x1b]0;t\x07\x9b31m\u202e\u2028\u200b\r\nFORGED\x7f\udcff"
"""The texts of `DATA` that an argument, a variable or a path can contain."""

SAFE = "fixer-1"

ENDLESS = {"--follow", "-f"}

MONITORS = {"", "demo"}
"""The commands that need a terminal, and say so in this test."""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A workspace in which every text contains control characters."""
    made = Files(
        tmp_path / GIVEN.replace("/", "_"),
        {
            "TASK-1": [
                entry(SAFE, type=DATA, prompt=DATA, parent=DATA, last_update=DATA),
                entry(DATA, type=DATA, tmux_session=DATA, started_at=DATA),
                entry("odd", DATA, parent=SAFE, progress=10),
                entry("old", "completed", tmux_session="agent_old"),
            ],
            "TASK-2": [entry("writer-1", completed_at=DATA)],
        },
    )
    task = read(made.registry())
    task |= {"task_description": DATA, "status": DATA, "priority": DATA, DATA: DATA}
    task["agent_hierarchy"] = {DATA: [DATA, "nobody"], "orchestrator": [DATA]}
    write(made.registry(), task)
    whole = read(made.global_registry)
    whole["agents"][DATA] |= {"status": DATA, "task_id": DATA}
    whole["tasks"][DATA] = {"description": DATA, "status": DATA, "workspace": DATA}
    write(made.global_registry, whole)
    (made.path / GIVEN).mkdir()
    (made.path / GIVEN / "AGENT_REGISTRY.json").write_text("{", encoding="utf-8")
    report_progress(made.registry("TASK-2"), None, "writer-1", progress=5, message=DATA)
    for folder, kind in (("progress", "progress"), ("findings", "findings"), ("logs", "stream")):
        path = made.path / "TASK-1" / folder / f"{SAFE}_{kind}.jsonl"
        path.parent.mkdir(exist_ok=True)
        fields = ("timestamp", "message", "status", "severity", "finding_type", "type", "data")
        lines = [json.dumps(dict.fromkeys(fields, DATA)), DATA, "{"]
        path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return made


@pytest.fixture(autouse=True)
def tmux(files: Files, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tmux server with the sessions and some more, whose socket has such a name."""
    socket = files.path.parent / "s"
    names = (DATA, f"agent_{SAFE}", "agent_odd", "agent_old", "agent_writer-1", f"agent_{DATA}")
    made = [session(each, number=n, created=time.time() - 30) for n, each in enumerate(names)]
    listed = {each.name: each for each in made}

    def ask(tmux: Tmux) -> TmuxSnapshot:
        answer = answered(*listed.values(), asked_at=time.monotonic())
        return TmuxSnapshot(
            answer.state, DATA, tmux.socket, listed, answer.asked_at, 4711, int(time.time() - 60)
        )

    monkeypatch.setattr(Tmux, "ask", ask)
    return socket


@pytest.fixture(autouse=True)
def kept_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the output that an error would discard, because these descriptors are pytest's."""
    monkeypatch.setattr(main, "discard_output", lambda: None)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Writes a settings file with these keys and values."""
    made = tmp_path / f"{GIVEN.replace('/', '_')}.toml"
    quoted = json.dumps(DATA.rstrip("\ud800")).replace("\x7f", "\\u007f")
    made.write_text(
        f"theme = {quoted}\n{quoted} = 1\n[keys]\n{quoted} = {quoted}\nkill = {quoted}\n"
        f"[policy]\n{quoted} = 3\nproof = {quoted}\n[notify]\nzombie = [{quoted}]\n"
        f'on_zombie = ["x", {json.dumps("{a}")}]\n',
        encoding="utf-8",
    )
    return made


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs muster, checks all of its output, and returns standard output."""

    def run(*arguments: str) -> str:
        try:
            code = main.main(arguments)
        except SystemExit as done:
            code = int(done.code or 0)
        out, error = capfd.readouterr()
        where = " ".join(map(ascii, arguments))
        for text in (out, error):
            assert harmful(text.replace("\n", "")) == set(), where
            forged = [each for each in text.split("\n") if each.startswith("FORGED")]
            assert not forged or "--path" in arguments, where
        assert "Traceback" not in error, f"{where}: {error}"
        assert code in (0, 1, 2, 130), where
        if "--json" in arguments and out.startswith("{"):
            for each in [out] if out.startswith("{\n") else out.splitlines():
                json.loads(each)
        return out

    yield run


def plain_words(action: argparse.Action) -> list[str]:
    """Returns the words for a positional argument with which a command works."""
    known = {"agent": SAFE, "type": "fixer", "shell": "bash", "message": "half"}
    return [known[action.dest]] if action.dest in known else []


def lines_of(command: str) -> Iterator[list[str]]:
    """Returns command lines with each option and argument of a command, from the parser."""
    parser = parser_of(command)
    actions = [each for each in parser._actions if each.dest != "help"]
    needed = [word for each in actions if not each.option_strings for word in plain_words(each)]
    yield needed
    yield [*needed, "--help"]
    yield [*needed, f"--{GIVEN}"]
    yield [*needed, f"-{GIVEN}"]
    yield [*needed, GIVEN, GIVEN]
    yield [GIVEN]
    yield [*needed, "--", GIVEN]
    for action in actions:
        if not action.option_strings:
            others = [w for each in actions if each is not action and not each.option_strings
                      for w in plain_words(each)]  # fmt: skip
            yield [*others, GIVEN]
            continue
        name = action.option_strings[-1]
        if name in ENDLESS or not ENDLESS.isdisjoint(action.option_strings):
            continue
        if action.nargs == 0:
            yield [*needed, name]
            yield [*needed, f"{name}={GIVEN}"]
            if command not in ("", "metrics", "demo", "completion", "config"):
                yield [*needed, name, "--json"]
        else:
            yield [*needed, name, GIVEN]
            yield [*needed, f"{name}={GIVEN}"]
            yield [*needed, name]


def with_places(command: str, line: list[str], files: Files, socket: Path) -> list[str]:
    """Adds the workspace and the socket to a line, if the command takes them."""
    options = {name for each in parser_of(command)._actions for name in each.option_strings}
    words = [command] if command else []
    if "-w" in options:
        words += ["-w", str(files.path)]
    if "-S" in options and not {"-L", "-S"} & set(line):
        words += ["-S", str(socket)]
    if "workspaces" in {each.dest for each in parser_of(command)._actions} and "-w" not in options:
        words.append(str(files.path))
    return [*words, *line]


@pytest.mark.parametrize("command", [each for each in ("", *COMMANDS) if each != "watch"])
def test_no_command_says_anything_that_acts(
    command: str, files: Files, tmux: Path, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(files.path.parent / "config"))
    for line in lines_of(command):
        said(*with_places(command, line, files, tmux))
        said(*([command] if command else []), *line)


ACTING = (
    ["kill", SAFE, "--yes"],
    ["kill", "odd", "old", "--yes", "--json"],
    ["kill", "--orphans", "--yes", "--reason", GIVEN],
    ["kill", "--task", "TASK-1", "--dry-run"],
    ["kill", "--tree", SAFE, "--dry-run", "--json"],
    ["complete", SAFE, "writer-1", "--yes", "--reason", GIVEN],
    ["complete", "--zombies", "--yes", "--json"],
    ["doctor", "--fix", "--yes", "--reason", GIVEN],
    ["doctor", "--fix", "--yes", "--json"],
    ["report", SAFE, "--progress", "5", GIVEN],
    ["register", "fixer", "--task", "TASK-1", "--prompt", GIVEN, "--parent", GIVEN],
    ["log", "--all"],
    ["log", "--json"],
    ["undo", "--dry-run"],
    ["undo", "--yes"],
    ["undo", "--yes", "--json"],
    ["list", "--where", GIVEN, "--sort", "urgency"],
    ["list", "--where", f"{GIVEN}:{GIVEN}"],
    ["show", "odd", "--task", GIVEN],
    ["tail", SAFE, "--only", GIVEN],
    ["completion", "--words", "show", ""],
    ["completion", "--words", GIVEN, GIVEN],
)


def test_no_action_says_anything_that_acts(files: Files, tmux: Path, said: Any) -> None:
    # One after the other: what was done by one is on record for the next ones.
    for command, *line in ACTING:
        said(*with_places(command, line, files, tmux))


@pytest.mark.parametrize(
    "variable",
    [
        ENVIRONMENT_VARIABLE,
        "TMUX",
        "TMUX_TMPDIR",
        "MUSTER_CONFIG",
        "MUSTER_PROOF",
        "XDG_CONFIG_HOME",
    ],
)
@pytest.mark.parametrize("whole", [False, *in_torture(True)], ids=["some", "all"])
def test_no_variable_is_said_as_it_is(
    variable: str, whole: bool, files: Files, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (GIVEN, f"/{GIVEN}", str(files.path), "x" * 120_000, "/x" * 60_000):
        if value.startswith("/x/x") and not whole:
            continue
        monkeypatch.setenv(variable, value)
        for line in (["list"], ["doctor"], ["kill", "x"], ["config", "--check"], []):
            out = said(*line)
            assert len(out) < 100_000 or variable in ("TMUX", ENVIRONMENT_VARIABLE)


def test_no_setting_is_said_as_it_is(settings: Path, said: Any) -> None:
    for line in (["config", "--check", str(settings)], ["config", "--print"], ["config", "--path"],
                 ["list"], ["config", "--init"]):  # fmt: skip
        said(*line, "--config", str(settings))
    settings.write_bytes(b"\xff\x1b[2J")
    said("config", "--check", str(settings))
    settings.write_text("\x1b[2J = \x1b", encoding="utf-8")
    said("config", "--check", str(settings))
    said("config", "--check", str(settings.parent))


@pytest.mark.parametrize("length", [120_000, *in_torture(1 << 20)])
def test_a_megabyte_is_cut_before_anything_is_said_of_it(
    length: int, files: Files, tmux: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for character in ("x", "\x1b", "日", "-"):
        word = character * length
        for command in COMMANDS:
            if command == "watch":
                continue
            for line in ([word], [f"--{word}"], ["--task", word], ["-w", word], ["-S", word]):
                with contextlib.suppress(SystemExit):
                    main.main([command, *line])
                out, error = capfd.readouterr()
                assert len(error) < 30_000, (command, line[0][:9], len(error))
                assert out.count(character * 5_000) == 0


def test_a_megabyte_in_a_registry_is_cut_in_what_people_read(
    files: Files, tmux: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    word = "x" * (1 << 20)
    files.write_task("TASK-3", entry(word, word, type=word, parent=word, prompt=word))
    for line in (["list"], ["doctor"], ["kill", word, "--dry-run"], ["complete", word, "--yes"],
                 ["log", "--all"], ["undo", "--dry-run"], ["show", word]):  # fmt: skip
        main.main(with_places(line[0], line[1:], files, tmux))
        out, error = capfd.readouterr()
        assert len(out + error) < 100_000, line[0]


def test_what_is_watched_is_harmless_too(files: Files) -> None:
    command = [*MUSTER, "watch", "-S", str(files.path.parent / "nobody"), str(files.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while (line := process.stdout.readline()) != "\n" or not any("TASK-2" in x for x in lines):
            lines.append(line)
        atomic_update_agent_status(files.registry("TASK-2"), "writer-1", DATA.rstrip("\ud800"))
        lines.append(process.stdout.readline())
        process.terminate()
    assert "writer-1" in lines[-1]
    for line in lines:
        assert harmful(line.rstrip("\n")) == set() and not line.startswith("FORGED")


def test_a_stream_that_grows_is_harmless_too(files: Files) -> None:
    path = files.path / "TASK-1" / "progress" / f"{SAFE}_progress.jsonl"
    command = [*MUSTER, "tail", "-f", "-n", "9", "--only", "progress", SAFE, "-w", str(files.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode()]
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"message": f"grown {DATA}", "status": DATA}) + "\n")
        while "grown" not in lines[-1]:
            lines.append(process.stdout.readline().decode())
        process.terminate()
    for line in lines:
        assert harmful(line.rstrip("\n")) == set() and not line.startswith("FORGED")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_encoding_that_lacks_a_character_gets_its_escape(encoding: str, tmp_path: Path) -> None:
    ids = ("x-\u65e5", "x-\u672c", "x-\u00e9", "x-e")
    files = Files(tmp_path / "\u65e5", {"TASK-1": [entry(each, "completed") for each in ids]})
    environment = os.environ | {
        "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding,
    }  # fmt: skip
    command: list[str | bytes] = [*MUSTER, "list", "-S", str(tmp_path / "nobody")]
    command.append(os.fsencode(files.path))
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [each for each in done.stdout.decode(encoding).splitlines() if "x-" in each]
    assert len({each.split()[1] for each in lines}) == len(ids)


def test_arguments_that_are_no_text_are_said_as_escapes(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MUSTER, "kill", b"\xff\x1b\x9b\nx", "-w", os.fsencode(tmp_path) + b"/\xfe\x1b"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and b"\\udcfe\\x1b" in done.stderr
    assert harmful(done.stderr.decode().replace("\n", "")) == set()


# The net beneath


def test_what_others_write_is_harmless_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(options: argparse.Namespace) -> int:
        logger = logging.Logger("none")
        logger.warning("logged %s", DATA)
        warnings.warn(f"warned {DATA}", stacklevel=1)
        print(f"printed {DATA}")
        raise RuntimeError(f"raised {DATA}")

    monkeypatch.setattr("tui.cli.commands.list.run", broken)
    monkeypatch.setattr(warnings, "showwarning", _shown_plainly)
    assert main.main(["list"]) == 1
    out, error = capfd.readouterr()
    assert "printed x\\e[2J" in out
    for word in ("logged", "warned", "raised"):
        assert f"{word} x\\e[2J" in error
    assert harmful((out + error).replace("\n", "")) == set()


def _shown_plainly(message: Any, *rest: Any, **more: Any) -> None:
    import sys

    sys.stderr.write(f"{message}\n")


def test_nobody_sends_colours_through_the_net(capfd: pytest.CaptureFixture[str]) -> None:
    import sys

    stream = HarmlessStream(sys.stdout)
    assert not stream.isatty() and not is_terminal(stream)
    stream.writelines(iter(["a\x1b[1m\n", "\tb"]))
    assert capfd.readouterr().out == "a\\e[1m\n\\tb"
