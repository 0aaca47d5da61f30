"""The whole program in a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import math
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.fixture_workspace import ZOMBIE, global_registry, task_registry
from tests.support.fixture_workspace import workspace as workspace
from tests.support.selection import in_torture
from tests.support.terminal import MUSTER, terminal, until


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 50)])
def test_zombies_are_completed_in_both_registries_and_the_screen_follows(
    workspace: Path, tmp_path: Path, columns: int, rows: int
) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, columns, rows) as screen:
        screen.shows("1 zombie", "26 finished", "q Quit")
        screen.press("z")
        screen.shows("1 marked")
        screen.press("c")
        screen.shows("Mark 1 agent as completed?", ZOMBIE, "Go ahead")
        screen.type("gone since autumn")
        screen.confirm()
        screen.shows("1 done", "working -> completed")
        screen.press("Escape")
        screen.hides("1 done")
        screen.shows("27 finished")
        screen.hides("marked")
        screen.press("q")
        assert screen.exit_code() == 0
    task = json.loads(task_registry(workspace).read_text())
    agent = next(each for each in task["agents"] if each["id"] == ZOMBIE)
    assert agent["status"] == "completed"
    assert agent["completion_reason"] == "gone since autumn"
    assert (task["active_count"], task["completed_count"]) == (0, 13)
    listed = json.loads(global_registry(workspace).read_text())
    assert listed["agents"][ZOMBIE]["status"] == "completed"
    assert listed["active_agents"] == 0


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 50)])
def test_the_urgent_are_found_filtered_and_marked(
    workspace: Path, tmp_path: Path, columns: int, rows: int
) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, columns, rows) as screen:
        screen.shows("1 zombie", "26 finished", "q Quit")
        screen.press("t")
        screen.shows("by urgency")
        screen.press("3")
        screen.shows("only ✗ zombie", "1 of 27")
        screen.press("+")
        screen.shows("1 marked")
        screen.press("Escape")
        screen.hides("only ✗ zombie")
        screen.press("/")
        screen.shows("filter: words")
        screen.type("status:completed planner")
        screen.press("Enter")
        # Only with its own keys below has the roll the keys again.
        screen.shows("filter status:completed planner", "1 marked, 1 not shown", "q Quit")
        screen.press("*")
        screen.hides("1 marked, 1 not shown")
        screen.press("Escape")
        screen.hides("filter status:completed")
        screen.press("t", "h")
        screen.shows("finished hidden", "1 of 27")


def test_escape_leaves_everything_as_it_was(workspace: Path, tmp_path: Path) -> None:
    before = task_registry(workspace).read_bytes()
    with terminal(tmp_path, ["-S", str(tmp_path / "none"), str(workspace)], 80, 24) as screen:
        screen.shows("1 zombie")
        screen.press("z")
        screen.shows("1 marked")
        screen.press("x")
        screen.shows("Kill 1 agent?")
        screen.press("Escape")
        screen.hides("Kill 1 agent?")
        screen.shows("1 marked", "1 zombie")
    assert task_registry(workspace).read_bytes() == before


def test_a_change_a_new_task_and_a_deleted_one_are_seen_without_a_key(
    workspace: Path, tmp_path: Path
) -> None:
    with terminal(tmp_path, ["-S", str(tmp_path / "none"), str(workspace)], 160, 60) as screen:
        screen.shows("1 zombie", "26 finished")
        registry = json.loads(task_registry(workspace).read_text())
        registry["agents"][1]["status"] = "failed"
        with task_registry(workspace).open("r+") as file:
            file.write(json.dumps(registry, indent=2))
            file.truncate()
        screen.shows("0 zombie", "26 finished", "1 failed")
        new = workspace / ".agent-workspace" / "TASK-new"
        new.mkdir()
        agent = {"id": "late_comer-1", "type": "late_comer", "status": "completed"}
        (new / "AGENT_REGISTRY.json").write_text(
            json.dumps({"task_id": "TASK-new", "agents": [agent]})
        )
        screen.shows("late_comer-1", "27 finished")
        shutil.rmtree(new)
        screen.hides("late_comer-1")


def test_a_broken_registry_shows_its_error_and_the_others_stay(
    workspace: Path, tmp_path: Path
) -> None:
    with terminal(tmp_path, ["-S", str(tmp_path / "none"), str(workspace)], 160, 50) as screen:
        screen.shows("26 finished")
        task_registry(workspace).write_text('{"agents": [')
        screen.shows("! as of", "Expecting value", "code_auditor-213536")
        assert task_registry(workspace).read_text() == '{"agents": ['


def test_a_resize_never_breaks_it(workspace: Path, tmp_path: Path) -> None:
    with terminal(tmp_path, ["-S", str(tmp_path / "none"), str(workspace)], 200, 60) as screen:
        screen.shows("CPU", "26 finished")
        for columns, rows in ((80, 24), (20, 5), (200, 60), (100, 30)):
            screen.resize(columns, rows)
        screen.shows("26 finished", "VERDICT", "q Quit")


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "screen"}])
def test_it_works_without_colours_and_in_sixteen(
    workspace: Path, tmp_path: Path, setting: dict[str, str]
) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, 80, 24, **setting) as screen:
        screen.shows("✗ 1 zombie", "✓ 26 finished")


HARMFUL = (
    "\x1b[31mEVIL",
    "\x1b]52;c;RVZJTA==\x07",
    "\x9b31mEVIL\x9d52;c;RVZJTA==\x9c",
    "\u202eEVIL\u2066\u200f",
    "[/x][@click=app.quit]EVIL[/]",
    "\x00\x07\x08\r\n\x7fEVIL",
)


def _hostile_registry(*values: str) -> dict[str, object]:
    """A task with all of the texts, and an agent and its child with each of them."""
    whole = "".join(values)
    agents: list[dict[str, object]] = []
    for value in values:
        agent: dict[str, object] = dict.fromkeys(
            ("type", "tmux_session", "status", "started_at", "last_update", "termination"), value
        )
        agent |= {"id": "a" + value, "parent": value, "progress": 5, value[:80]: value}
        agent["prompt"] = whole
        agents += [agent, {"id": "child" + value, "parent": "a" + value, "status": "running"}]
    return {
        "task_id": whole,
        "task_description": whole,
        "status": whole,
        "created_at": whole,
        "agents": agents,
        "agent_hierarchy": {value: [value] for value in values},
    }


NEVER = math.nan
"""Equal to nothing, not even to itself."""


def work_of(pid: int) -> float:
    """The seconds of CPU time that a process has used, if it waits for something now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_SLEEPING:
            times = process.cpu_times()
            return times.user + times.system
    return NEVER


def _output_of(arguments: list[str], keys: bytes, seconds: float) -> bytes:
    """All bytes that muster sends to its terminal while the keys are pressed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
    process = subprocess.Popen(
        [*MUSTER, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"},
        start_new_session=True,
    )
    os.close(theirs)
    seen = bytearray()
    deadline = time.monotonic() + seconds
    before = NEVER
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.send_signal(signal.SIGKILL)
            raise AssertionError(f"did not quit; last output: {bytes(seen[-2000:])!r}")
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:
                break
        elif before != (before := work_of(process.pid)):
            # What the last key shows is to be drawn before the next one.
            continue
        elif b"child" in seen and keys:
            os.write(ours, keys[:1])
            keys, before = keys[1:], NEVER
    code = process.wait()
    os.close(ours)
    assert code == 0, bytes(seen[-3000:])
    return bytes(seen)


HUGE = "\x1b[31mX" * 1_700_000
"""Ten million characters; a registry of 64 MB has room for three of them."""

HUGE_FIELDS = (
    ("task_id", "status", "created_at"),
    ("task_description", "agent.id", "agent.type"),
    ("agent.status", "agent.tmux_session", "agent.parent"),
    ("agent.started_at", "agent.last_update", "agent.prompt"),
    ("agent.termination_reason",),
)


def _huge_registry(names: Iterable[str], value: str = HUGE) -> dict[str, object]:
    agent: dict[str, object] = {"id": "a", "type": "t", "status": "running"}
    content: dict[str, object] = {
        "task_id": "T",
        "agents": [agent, {"id": "child", "parent": "a"}],
    }
    for name in names:
        of, _, field = name.rpartition(".")
        (agent if of else content)[field] = value
    return content


@pytest.mark.parametrize(
    "content",
    [
        _hostile_registry(HARMFUL[0]),
        _hostile_registry(*HARMFUL),
        _huge_registry(itertools.chain(*HUGE_FIELDS), HUGE[:500_000]),
        *in_torture(*map(_hostile_registry, HARMFUL[1:])),
        *in_torture(*map(_huge_registry, HUGE_FIELDS)),
    ],
    ids=[
        *("csi", "all", "long", "osc52", "c1", "bidi", "markup", "c0"),
        *map(" ".join, HUGE_FIELDS),
    ],
)
def test_no_byte_of_a_registry_acts_on_the_terminal(
    tmp_path: Path, content: dict[str, object]
) -> None:
    registry = tmp_path / ".agent-workspace" / "TASK-x" / "AGENT_REGISTRY.json"
    registry.parent.mkdir(parents=True)
    registry.write_text(json.dumps(content))
    arguments = ["-S", str(tmp_path / "none"), str(tmp_path)]
    # Down to the agent and its child, each tab, mark, plans of kill and complete, help.
    keys = b"jj]]]]]]\t\t k\x1b" + b"c\x1b" + b"?\x1b" + b"q"
    seen = _output_of(arguments, keys, 60.0)
    assert b"child" in seen
    text = seen.decode("utf-8", "replace")
    for harm in ("\x1b[31mEVIL", "\x1b[31mX", "\x1b]52", "\x9b", "\x9d", "\x9c", "\u202e", "\x00"):
        assert harm not in text
    assert "\u2066" not in text
    assert "\x7f" not in text


def test_sigterm_gives_the_terminal_back(workspace: Path, tmp_path: Path) -> None:
    with terminal(tmp_path, ["-S", str(tmp_path / "none"), str(workspace)], 80, 24) as screen:
        screen.shows("26 finished")
        pid = int(screen.tmux("display-message", "-p", "-t", "%0", "#{pane_pid}"))
        os.kill(pid, signal.SIGTERM)
        screen.exit_code()
        alternate = screen.tmux("display-message", "-p", "-t", "%0", "#{alternate_on}")
        assert alternate.strip() == "0"


def _processes() -> Iterator[psutil.Process]:
    return psutil.process_iter(["cmdline"])


@pytest.mark.parametrize(
    "round_", [1, *(pytest.param(each, marks=pytest.mark.torture) for each in (0, 2, 3))]
)
def test_a_terminal_that_goes_away_takes_muster_along(
    workspace: Path, tmp_path: Path, round_: int
) -> None:
    def is_running() -> bool:
        return any(str(workspace) in " ".join(p.info["cmdline"] or ()) for p in _processes())

    with terminal(tmp_path, ["-S", str(tmp_path / "none"), str(workspace)], 80, 24) as screen:
        screen.shows("1 zombie")
        assert is_running()
        screen.press(*["Down"] * round_ * 10)
    until(lambda: not is_running(), "muster has ended")


def test_the_terminal_has_its_own_size_whatever_the_environment_says(
    workspace: Path, tmp_path: Path
) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, 100, 30, COLUMNS="40", LINES="10") as screen:
        screen.shows("26 finished", "q Quit", "TASK-")
        assert "q Quit" in screen.screen().rstrip("\n").split("\n")[29]
        screen.resize(90, 20)
        until(lambda: "q Quit" in screen.screen().split("\n")[19], "the footer at the new end")


def test_a_terminal_without_an_alternate_screen_keeps_no_picture(
    workspace: Path, tmp_path: Path
) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, 80, 24) as screen:
        screen.tmux("set-option", "-g", "alternate-screen", "off")
        screen.shows("26 finished", "q Quit")
        screen.press("q")
        assert screen.exit_code() == 0
        assert "finished" not in screen.screen()


def test_redrawing_repairs_what_another_program_wrote(workspace: Path, tmp_path: Path) -> None:
    arguments = ["-S", str(tmp_path / "none"), str(workspace)]
    with terminal(tmp_path, arguments, 80, 24) as screen:
        screen.shows("26 finished", "q Quit")
        before = screen.screen().split("\n")[2:5]
        device = screen.tmux("display-message", "-p", "-t", "%0", "#{pane_tty}").strip()
        with open(device, "w", encoding="utf-8") as other:
            other.write("\x1b[3;3Hbroadcast message\x1b[5;1H\x1b[2K")
        screen.shows("broadcast message")
        screen.press("C-l")
        screen.hides("broadcast message")
        until(lambda: screen.screen().split("\n")[2:5] == before, "the lines again")
