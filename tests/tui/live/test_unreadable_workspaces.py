"""One workspace, folder or file that may not be read: its own error, and nobody else's."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import watchfiles._rust_notify  # noqa: F401  Another user may not read where it lies.

from registry import Audit, AuditContext, finish_agents
from registry.schema.layout import Workspace
from registry.schema.workspaces import find_workspaces
from tests.support.other_users import User, only_root
from tests.support.rolls import answered
from tests.support.scripted_tmux import ScriptedTmux, made_now
from tests.support.shared_registry import searchable
from tests.support.waiting import until
from tests.support.workspaces import QUICK, Files, entry
from tui.cli.main import main
from tui.host.directory_identity import identified
from tui.host.file_watch import DirectoryWatcher
from tui.live.collector import LiveRoll
from tui.live.once import take_roll
from tui.model.roll import RollCall

pytestmark = only_root

USER = User(64101)
BOTH = answered(made_now("agent_a", number=1), made_now("agent_b", number=2))


@dataclass(frozen=True, slots=True)
class Two:
    """Two workspaces of one user."""

    spoiled: Files
    good: Files

    @property
    def named(self) -> tuple[str, str]:
        return str(self.spoiled.path), str(self.good.path)


def owned(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, USER.number, USER.number)


@pytest.fixture
def two() -> Iterator[Two]:
    with searchable() as root:
        made = Two(
            Files(root / "one", {"TASK-A": [entry("a")]}),
            Files(root / "two", {"TASK-B": [entry("b")]}),
        )
        owned(root)
        yield made


PLACES: dict[str, Callable[[Files], Path]] = {
    "project": lambda files: files.path.parent,
    "workspace": lambda files: files.path,
    "registry folder": lambda files: files.path / "registry",
    "global registry": lambda files: files.global_registry,
    "task": lambda files: files.path / "TASK-A",
    "task's registry": lambda files: files.registry("TASK-A"),
}
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
some_places = pytest.mark.parametrize("place", list(PLACES.values())[:3], ids=list(PLACES)[:3])


def roll_of(two: Two) -> RollCall:
    return take_roll(find_workspaces(two.named, {}, Path("/")), ScriptedTmux(BOTH), QUICK)


def said_of(roll: RollCall, workspace: Path) -> list[str]:
    """What a roll says of a workspace and its tasks that is wrong."""
    (found,) = (each for each in roll.workspaces if each.path == workspace)
    return [error for error in (found.error, *(t.state.error for t in found.tasks)) if error]


@every_place
def test_what_may_not_be_read_is_said_in_its_place_alone(
    two: Two, place: Callable[[Files], Path]
) -> None:
    place(two.spoiled).chmod(0)

    def seen() -> tuple[list[str], list[str], set[str]]:
        roll = roll_of(two)
        spoiled, good = two.spoiled.path, two.good.path
        return said_of(roll, spoiled), said_of(roll, good), {r.key.id for r in roll.agents()}

    done = USER.do(seen)
    assert done.error == ""
    spoiled, good, agents = done.value
    assert good == [] and "b" in agents
    assert spoiled and all("Permission denied" in error for error in spoiled)


@every_place
def test_the_monitor_follows_the_others_meanwhile_and_it_when_it_is_back(
    two: Two, place: Callable[[Files], Path]
) -> None:
    spoiled = place(two.spoiled)

    def follow() -> list[str]:
        workspaces = tuple(Workspace(Path(path)) for path in two.named)
        live = LiveRoll(workspaces, ScriptedTmux(BOTH), QUICK)
        live.start()

        def shows(*ids: str) -> bool:
            roll = live.latest
            return roll is not None and {row.key.id for row in roll.agents()} >= set(ids)

        def says() -> list[str]:
            return [] if live.latest is None else said_of(live.latest, two.spoiled.path)

        until(lambda: shows("a", "b"), "both")
        mode = spoiled.stat().st_mode
        spoiled.chmod(0)
        live.refresh()
        errors = until(says, "the error")
        two.good.write_task("TASK-B", entry("b"), entry("later"))
        # Its last state stays, with the error.
        until(lambda: shows("a", "b", "later"), "the change of the other")
        spoiled.chmod(mode)
        live.refresh()
        until(lambda: not says(), "the end of the error")
        live.stop()
        return errors

    done = USER.do(follow)
    assert done.error == ""
    assert all("Permission denied" in error for error in done.value)


def test_a_directory_that_may_not_be_watched_keeps_no_event_of_another(two: Two) -> None:
    (two.spoiled.path / "TASK-A").chmod(0)
    registry = two.good.registry("TASK-B")

    def watch() -> bool:
        told: list[set[Path]] = []
        watcher = DirectoryWatcher(lambda paths: told.append(set(paths)), [registry.name])
        watcher.start()
        directories = [two.spoiled.path / "TASK-A", registry.parent]
        watcher.watch(identified(directories), ())
        until(lambda: set() in told, "the first look")
        two.good.write_task("TASK-B", entry("b"))
        until(lambda: {registry} in told, "the change")
        watcher.stop()
        return True

    assert USER.do(watch).value is True


def test_the_search_upwards_passes_over_what_it_may_not_look_into(two: Two) -> None:
    below = two.good.path.parent / "closed" / "below"
    below.mkdir(parents=True)
    owned(below.parent)
    below.parent.chmod(0)
    told: list[str] = []

    def search() -> tuple[Path, list[str]]:
        (found,) = find_workspaces((), {}, below, told.append)
        return found.path, told

    done = USER.do(search)
    assert done.error == ""
    path, said = done.value
    assert path == two.good.path
    assert said and all("cannot be examined" in line for line in said)


def test_a_task_that_nobody_lists_and_nobody_may_look_into_is_shown(two: Two) -> None:
    (two.spoiled.path / "TASK-X").mkdir()
    (two.spoiled.path / "lost+found").mkdir()
    owned(two.spoiled.path)
    (two.spoiled.path / "TASK-X").chmod(0)
    (two.spoiled.path / "lost+found").chmod(0)

    def tasks() -> list[str]:
        return [str(task.state.registry.parent.name) for task in roll_of(two).tasks()]

    assert USER.do(tasks).value == ["TASK-A", "TASK-X", "TASK-B"]


# Commands


def outputs(two: Two, *commands: str) -> Callable[[], list[tuple[int, str]]]:
    """Runs commands on both workspaces: their exit codes, and what they print."""

    def run() -> list[tuple[int, str]]:
        found = []
        for command in commands:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                where = [word for path in two.named for word in ("-w", path)]
                arguments = two.named if command in ("list", "log", "doctor") else where
                try:
                    code = main([*command.split(), *arguments])
                except SystemExit as error:
                    code = int(error.code or 0)
            found.append((code, printed.getvalue()))
        return found

    return run


@some_places
def test_commands_tell_of_the_others(two: Two, place: Callable[[Files], Path]) -> None:
    commands = ("list", "doctor", "log", "show b", "report b --progress 55")
    # What they import at the first use may lie where only root may look.
    outputs(two, *commands)()
    owned(two.good.path)
    place(two.spoiled).chmod(0)
    done = USER.do(outputs(two, *commands))
    assert done.error == ""
    (_, listed), (_, examined), (_, logged), (_, shown), (reported, _) = done.value
    assert "TASK-B" in listed and "Permission denied" in listed
    assert "Permission denied" in examined and "does not exist" not in examined
    assert "Errno" not in logged
    assert "TASK-B" in shown
    assert reported == 0 and two.good.agent("b", "TASK-B")["progress"] == 55


def test_a_log_that_may_not_be_read_hides_no_other(two: Two) -> None:
    first, second = Audit("complete", "first"), Audit("complete", "second")
    for files, agent, audit in ((two.spoiled, "a", first), (two.good, "b", second)):
        task, on_record = files.registry(f"TASK-{agent.upper()}"), AuditContext(audit)
        finish_agents(
            task, files.global_registry, [agent], status="completed", on_record=on_record
        )
    owned(two.spoiled.path)
    owned(two.good.path)
    outputs(two, "undo --dry-run", "log", "undo --dry-run nothing")()
    (two.spoiled.path / "registry").chmod(0)
    done = USER.do(
        outputs(
            two,
            "log",
            "undo --dry-run",
            f"undo --dry-run {second.action_id}",
            f"undo --dry-run {first.action_id}",
        )
    )
    assert done.error == ""
    (code, log), (last, unsure), (named, by_id), (hidden, unread) = done.value
    assert code == 1 and "second" in log and "first" not in log and "Permission denied" in log
    # It cannot be known which came last.
    assert last == 1 and "cannot be known" in unsure and "Permission denied" in unsure
    assert named == 0 and "b" in by_id
    assert hidden == 1 and "no readable log" in unread


def test_a_single_task_named_in_a_closed_workspace_is_its_error(two: Two) -> None:
    two.spoiled.path.chmod(0)
    registry = two.spoiled.registry("TASK-A")

    def find() -> list[tuple[Path, Path | None]]:
        names = (str(registry), str(registry.parent), str(two.spoiled.global_registry))
        return [
            (found.path, found.only)
            for name in names
            for found in find_workspaces((name,), {}, Path("/"))
        ]

    workspace = two.spoiled.path
    assert USER.do(find).value == [(workspace, registry)] * 2 + [(workspace, None)]


def test_its_global_registry_is_still_its_own_though_it_may_not_be_looked_at(two: Two) -> None:
    (two.spoiled.path / "registry").chmod(0)

    def global_registries() -> list[Path | None]:
        return [task.state.source.global_registry for task in roll_of(two).tasks()]

    expected = [two.spoiled.global_registry, two.good.global_registry]
    assert USER.do(global_registries).value == expected


def test_a_disk_that_fails_while_a_file_is_read_is_that_files_error(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.sources import JsonTask

    def fails(task: JsonTask, largest: int = 0) -> object:
        if task.registry == two.spoiled.registry("TASK-A"):
            raise OSError(116, "Stale file handle")
        return reads(task)

    reads = JsonTask.read
    monkeypatch.setattr(JsonTask, "read", fails)
    roll = roll_of(two)
    assert said_of(roll, two.spoiled.path) == ["Stale file handle"]
    assert {row.key.id for row in roll.agents()} == {"b"}
