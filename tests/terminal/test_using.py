"""Settings, ASCII, read-only and the line to the terminal, of the whole program."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from pathlib import Path

import pytest

from tests.support.commands import run_muster
from tests.support.fixture_workspace import ZOMBIE, task_registry
from tests.support.fixture_workspace import workspace as workspace
from tests.support.hot_journal import cut_off_update
from tests.support.terminal import on_pty, terminal

SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 50)])


@SIZES
@pytest.mark.parametrize("how", ["--ascii", "LC_ALL", "setting"])
def test_nothing_beyond_ascii_reaches_the_terminal(
    workspace: Path, tmp_path: Path, columns: int, rows: int, how: str
) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    environment = {"LC_ALL": "C.UTF-8"}
    if how == "--ascii":
        arguments.insert(0, "--ascii")
    elif how == "LC_ALL":
        environment = {"LC_ALL": "C"}
    else:
        settings = tmp_path / "settings.toml"
        settings.write_text("ascii = true\n")
        environment["MUSTER_CONFIG"] = str(settings)
    with terminal(tmp_path, arguments, columns, rows, **environment) as screen:
        screen.shows("x 1 zombie", "+ 26 finished", "q Quit")
        assert screen.screen().isascii()
        screen.press("z", "c")
        screen.shows("Mark 1 agent as completed?", "Go ahead")
        assert screen.screen().isascii()
        screen.press("Escape")
        screen.hides("Go ahead")
        screen.press("?")
        screen.shows("Fold, or go to the parent")
        assert screen.screen().isascii()
        screen.press("Escape")
        screen.hides("Fold, or go to the parent")
        screen.press("q")
        assert screen.exit_code() == 0


@SIZES
def test_read_only_changes_no_byte_and_recovers_nothing(
    workspace: Path, tmp_path: Path, columns: int, rows: int
) -> None:
    cut_off_update(task_registry(workspace), ZOMBIE)
    files = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    arguments = ["--read-only", "-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, columns, rows) as screen:
        screen.shows("read-only", "1 unreadable", "14 finished", "Filter")
        assert "Kill" not in screen.screen()
        screen.press("z", "x", "c", "U", "X")
        screen.press("d")
        screen.shows("Doctor")
        screen.press("f")
        screen.press("Escape")
        screen.hides("Doctor")
        screen.press("q")
        assert screen.exit_code() == 0
    now = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert now == files


def test_commands_that_change_something_refuse_in_read_only_mode(
    workspace: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("read_only = true\n")
    before = task_registry(workspace).read_bytes()
    where = ("-S", tmp_path / "none", "-w", workspace)
    for command in (
        ("complete", "--zombies", "--yes", *where),
        ("kill", ZOMBIE, "--yes", *where),
        ("undo", "--yes", *where),
        ("doctor", "--fix", "--yes", *where),
    ):
        done = run_muster(*command, MUSTER_CONFIG=str(settings))
        assert done.returncode == 2, command
        assert f"read_only is set in {settings}" in done.stderr
        assert run_muster(*command[:1], "--config", settings, *command[1:]).returncode == 2
    planned = run_muster("complete", "--zombies", "--dry-run", "--config", settings, *where)
    assert ZOMBIE in planned.stdout and planned.returncode == 0
    assert task_registry(workspace).read_bytes() == before
    # What agents say of themselves is no change of an operator's.
    said = run_muster("report", ZOMBIE, "--progress", "50", "-w", workspace,
                      MUSTER_CONFIG=str(settings))  # fmt: skip
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = 'beige'\n", "theme: must be one of muster"),
        ("theme = \n", "invalid TOML: Invalid value (at line 1, column 9)"),
        ("[policy]\nproof = 0\n", "policy.proof: must be a number of seconds, 0.75 or"),
        ("[keys]\nkill = 'c'\n", "keys.kill: 'c' is also the key of complete in the roll"),
        ("[keys]\nkill = 'x'\nkill.tree = 'X'\n", "put ids with a dot in quotes"),
    ],
)  # fmt: skip
def test_a_settings_file_that_is_wrong_is_named_before_the_screen_opens(
    workspace: Path, tmp_path: Path, text: str, said: str
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(text)
    with terminal(tmp_path, ["--config", str(settings), str(workspace)], 120, 30) as screen:
        assert screen.exit_code() == 2
        # The terminal breaks lines anywhere.
        shown = "".join(screen.screen().split())
        for each in (said, "muster config --print"):
            assert "".join(each.split()) in shown
    done = run_muster("config", "--check", settings)
    assert done.returncode == 2 and said in done.stderr
    assert f"{settings} cannot be used:" in done.stderr


def test_config_prints_a_file_that_is_fine_says_where_it_lies_and_checks_it(
    workspace: Path, tmp_path: Path
) -> None:
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    path = Path(run_muster("config", "--path", **config).stdout.strip())
    assert path == tmp_path / "config" / "muster" / "config.toml"
    assert (
        "does not exist: the defaults are used" in run_muster("config", "--check", **config).stdout
    )
    printed = run_muster("config", "--print", **config)
    path.parent.mkdir(parents=True)
    path.write_text(printed.stdout.replace("#stall_timeout = 900", "stall_timeout = 1e9"))
    done = run_muster("config", "--check", **config)
    assert (done.returncode, done.stdout) == (0, f"{path} is valid\n")
    missing = run_muster("list", workspace, MUSTER_CONFIG=str(tmp_path / "no"), **config)
    assert missing.returncode == 2 and "the file does not exist" in missing.stderr
    # Also without a screen, and the environment goes before it.
    path.write_text("[policy]\nproof = 60\n")
    done = run_muster("list", "--json", "-S", tmp_path / "none", workspace,
                      MUSTER_PROOF="0.75", **config)  # fmt: skip
    assert json.loads(done.stdout)["counts"]["zombie"] == 1


@pytest.mark.parametrize("kind", ["directory", "fifo", "huge", "latin"])
def test_what_is_no_text_file_is_no_settings_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "settings"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"#" * (1 << 21) if kind == "huge" else b"theme = '\xe9'")
    done = run_muster("config", "--check", path)
    assert done.returncode == 2
    assert f"{path} cannot be used" in done.stderr


class _Line:
    """A pseudo-terminal with muster on it, which counts what it is sent."""

    def __init__(self, arguments: list[str]) -> None:
        self._ours, self.process = on_pty(arguments)

    def read(self, seconds: float, until: bytes | None = None) -> bytes:
        """What comes within some seconds, or until something has come."""
        seen = bytearray()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._ours], [], [], left)[0]:
                seen += os.read(self._ours, 65536)
            if until is not None and until in seen:
                break
        return bytes(seen)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        os.close(self._ours)


def test_nothing_is_sent_while_nothing_changes_and_little_for_a_change(
    workspace: Path, tmp_path: Path
) -> None:
    line = _Line(["-S", str(tmp_path / "none"), str(workspace)])
    try:
        assert b"finished" in line.read(30.0, b"26 finished")
        # Until its last verdict is proven, and the footer is drawn.
        while line.read(4.0):
            pass
        # An age may just change, but not twice.
        assert any(line.read(20.0) == b"" for _ in range(2))
        registry = json.loads(task_registry(workspace).read_text())
        registry["agents"][1]["progress"] = 43
        with task_registry(workspace).open("r+") as file:
            file.write(json.dumps(registry, indent=2))
            file.truncate()
        sent = line.read(4.0)
        assert len(sent) < 1000, sent
        line.press(b"\x1b[B")
        first = line.read(20.0, b"\x1b")
        assert 0 < len(first + line.read(1.0)) < 4000
    finally:
        line.close()
