"""Whatever a registry calls a session: no other one is touched, and no shell runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.schema.session_names import is_tmux_name_certain, spellings
from tests.support.commands import decoded, muster
from tests.support.dialects import DIALECTS, DatabaseFiles, in_both
from tests.support.real_tmux import RealTmux
from tests.support.selection import in_torture, part_in_torture
from tests.support.waiting import until
from tests.support.workspaces import Files, entry, take
from tui.actions.execute import carry_out
from tui.actions.footprint import weighed_kill
from tui.cli.main import main

CANARY = "CANARY"
"""Stands for a path that a shell would write to."""

NAMES = (
    "",
    "-t",
    "-a",
    "--",
    "$0",
    "$1",
    "@0",
    "@1",
    "%0",
    "%1",
    "=agent_x-1",
    "=",
    "!",
    "+",
    "-",
    "~",
    "*",
    "?",
    "[a-z]*",
    "agent_*",
    "agent_x-",
    "agent_x",
    "AGENT_X-1",
    "agent_x-1:",
    "agent_x-1:0",
    "agent_x-1:0.0",
    "agent_x-1.0",
    ":",
    ".",
    "{last}",
    "{mouse}",
    "#{session_name}",
    "agent_#{pid}",
    f"#(touch {CANARY})",
    f"agent_#(touch {CANARY})",
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"x; touch {CANARY}",
    f"'; run-shell 'touch {CANARY}'; '",
    f'"; run-shell "touch {CANARY}',
    f"agent_x-1' ; run-shell 'touch {CANARY}",
    "a\nkill-server",
    "a\r\nkill-server\r\n",
    "\n",
    "\x00",
    "\x1b]0;x\x07",
    "\t",
    " ",
    " agent_x-1",
    "agent_x-1 ",
    "\\",
    "agent_x-1\\",
    "'",
    '"',
    ";",
    "\\;",
    "agent_x-1;",
    "\ud800",
    "\u202eagent_x-1",
    "agent_x-1\u200b",
    "agent_х-1",  # noqa: RUF001 - a Cyrillic letter
    "a" * 10_240,
    "agent_x-1" * 1_138,
    "#(" * 5_000,
)
"""Names that tmux changes, takes for something else, or that a shell would act on."""

OTHERS = {"agent_x-1", "agent_x-10", "agent_x-1b", "keeper"}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What no shell may have written."""
    return tmp_path / "sings"


@pytest.fixture(scope="module")
def harness() -> Iterator[RealTmux]:
    """A server for all tests of this module that leave nothing else on it."""
    with RealTmux() as made:
        yield made


@pytest.fixture
def others(harness: RealTmux) -> RealTmux:
    """A server with others on it, and with nothing that an earlier test left."""
    if harness.names() != OTHERS:
        harness.kill_server()
        for name in sorted(OTHERS):
            harness.start(name)
    return harness


@pytest.fixture
def crew(others: RealTmux, canary: Path) -> Iterator[RealTmux]:
    """A server with others on it, who must all live, and whose shells must do nothing."""
    yield others
    assert others.names() == OTHERS
    # tmux runs jobs in the background; those that it began before this one have begun.
    others.run("run-shell", "true")
    assert not canary.exists()


def registered(kind: type[Files], directory: Path, **fields: Any) -> Files:
    return kind(directory / "work", {"TASK-1": [entry("odd") | fields]})


def kill_everybody(files: Files, server: RealTmux) -> None:
    tmux = server.client()
    roll = take(files, tmux)
    carry_out(weighed_kill(roll, roll.agents()), tmux, "")


@pytest.mark.parametrize(("kind", "name"), in_both(part_in_torture(NAMES, first=1), every=12))
def test_whatever_a_session_is_called_in_a_registry_no_other_one_ends(
    crew: RealTmux, tmp_path: Path, canary: Path, kind: type[Files], name: str
) -> None:
    name = name.replace(CANARY, str(canary))
    kill_everybody(registered(kind, tmp_path, tmux_session=name), crew)


@pytest.mark.parametrize(("kind", "name"), in_both(part_in_torture(NAMES), every=12))
def test_whatever_an_agent_is_called_only_its_own_session_ends(
    crew: RealTmux, tmp_path: Path, canary: Path, kind: type[Files], name: str
) -> None:
    name = name.replace(CANARY, str(canary))
    crew.start("agent_its-own")
    kill_everybody(registered(kind, tmp_path, id=name, tmux_session="agent_its-own"), crew)


def test_a_shell_that_ran_would_have_been_seen(server: RealTmux, canary: Path) -> None:
    server.start("keeper")

    def seen() -> bool:
        # tmux ends the job of a client that is gone, sometimes before it did anything.
        server.run("list-sessions", "-F", f"#(touch {canary})")
        return canary.exists()

    assert until(seen, "the canary")


STARTABLE = tuple(
    name
    for name in NAMES
    if name and "\x00" not in name and "\ud800" not in name and CANARY not in name
    and "#" not in name and len(name) < 5_000 and spellings(name).isdisjoint(OTHERS)
)  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), in_both(part_in_torture(STARTABLE, 3), every=24))
def test_a_session_of_such_a_name_is_killed_alone_or_refused(
    others: RealTmux, tmp_path: Path, kind: type[Files], name: str
) -> None:
    typed = f"{name[:-1]}\\;" if name.endswith(";") else name
    assert others.takes(typed) or not name.isprintable()
    there = others.names() - OTHERS
    kill_everybody(registered(kind, tmp_path, tmux_session=name), others)
    ended = is_tmux_name_certain(name) and not there.isdisjoint(spellings(name))
    assert others.names() == (OTHERS if ended else OTHERS | there)
    for line in others.run("list-sessions", "-F", "#{session_id} #{session_name}").splitlines():
        session, _, called = line.partition(" ")
        if called not in OTHERS:
            others.kill(session)


FLAGS = ("", "--tree", "--task")


def exit_code(*words: str) -> object:
    try:
        return main(words)
    except SystemExit as refused:
        # Taken for an option that there is not.
        return refused.code


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize("flag", FLAGS)
# The flags share the names; in the torture, each flag gets all names.
@pytest.mark.parametrize("share", [len(FLAGS), *in_torture(1)], ids=["some", "all"])
def test_a_hostile_name_on_the_command_line_kills_no_agent(
    crew: RealTmux, tmp_path: Path, canary: Path, kind: type[Files], flag: str, share: int
) -> None:
    files = kind(tmp_path / "work", {"TASK-1": [entry("y", "completed")]})
    before = files.bytes()
    where = ["-S", str(crew.socket), "-w", str(files.path), "--yes", *([flag] if flag else [])]
    for name in NAMES[FLAGS.index(flag) % share :: share]:
        word = name.replace(CANARY, str(canary))
        assert exit_code("kill", *where, "--", word) == 2, name
    assert files.bytes() == before


@pytest.mark.parametrize("kind", [Files, DatabaseFiles], ids=["json", "sqlite"])
def test_killing_one_that_is_gone_touches_neither_neighbour(
    others: RealTmux, tmp_path: Path, kind: type[Files]
) -> None:
    agents = [entry("x-1"), entry("x-10"), entry("x-1b")]
    # A session that is no agent's and begins with the agents could be one of theirs, renamed.
    agents.append(entry("keeper", tmux_session="keeper"))
    files = kind(tmp_path, {"TASK-1": agents})
    others.kill(others.client().ask().sessions["agent_x-1"].id)
    before = others.pane_pids()
    outcome = decoded(muster(files, "kill", "x-1", "-S", others.socket, "--yes", "--json"))
    assert [each["result"] for each in outcome["agents"]] == ["done"]
    assert others.names() == OTHERS - {"agent_x-1"}
    assert others.pane_pids() == before
    assert files.agent("x-1")["status"] == "terminated"
    assert files.agent("x-10")["status"] == files.agent("x-1b")["status"] == "running"
