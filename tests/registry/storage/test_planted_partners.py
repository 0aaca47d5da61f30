"""A journal may name the other registry of its own workspace, and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from registry import UntrustedJournalError, read_registry, recover_registry
from registry.pair import editing_both
from registry.storage import commit
from registry.storage.journal import Journal, Role, digest, encode, journal_path
from tests.support.registries import Json, global_registry, load, task_registry, write

NEW = b'{"finished": true}'


def plant(
    registry: Path, role: Role, partner: str | None, transaction: str = "t", *, hot: bool = True
) -> bytes:
    """Leaves a journal that is complete; returns what stands in the registry."""
    old = registry.read_bytes()
    journal = Journal(transaction, role, partner, "a boot", len(old), digest(old), None, NEW)
    journal_path(registry).write_bytes(encode(journal))
    if hot:
        registry.write_bytes(b"\0" + old[1:])
    return registry.read_bytes()


def refused(registry: Path) -> str:
    before = registry.read_bytes(), journal_path(registry).read_bytes()
    with pytest.raises(UntrustedJournalError) as caught:
        recover_registry(registry, 1)
    assert (registry.read_bytes(), journal_path(registry).read_bytes()) == before
    return str(caught.value)


WRONG = [
    "/dev/ptmx",
    "../../../../../../dev/ptmx",
    "/etc/hostname",
    "../TASK-2/AGENT_REGISTRY.json",
    "../registry/other.json",
    "../registry/../TASK-2/AGENT_REGISTRY.json",
    "../../.agent-workspace/registry/GLOBAL_REGISTRY.json",
    "registry/GLOBAL_REGISTRY.json",
    "GLOBAL_REGISTRY.json",
    "..",
    "",
    "\0",
    None,
]


@pytest.mark.parametrize("partner", WRONG)
def test_a_journal_may_name_the_global_registry_alone(
    task: Path, global_: Path, partner: str | None
) -> None:
    plant(task, Role.FIRST, partner)
    opened: list[object] = []
    real = os.open

    def noted(path: object, *rest: int, **named: int) -> int:
        opened.append(path)
        return real(path, *rest, **named)  # type: ignore[arg-type]

    with mock.patch.object(os, "open", noted):
        said = refused(task)
    assert "which is not the other registry of its workspace" in said
    folders = {str(task.parent.parent), task.parent.name, "."}
    assert set(map(str, opened)) <= {*folders, task.name, journal_path(task).name}


@pytest.mark.parametrize(
    "partner",
    [
        "/dev/ptmx",
        "../registry/GLOBAL_REGISTRY.json",
        "../registry/AGENT_REGISTRY.json",
        "../../AGENT_REGISTRY.json",
        ".././AGENT_REGISTRY.json",
        "..//AGENT_REGISTRY.json",
        "../TASK\0/AGENT_REGISTRY.json",
        "../TASK-1/other.json",
        None,
    ],
)
def test_a_global_journal_that_names_anything_but_a_task_is_not_followed(
    global_: Path, partner: str | None
) -> None:
    plant(global_, Role.SECOND, partner)
    assert "which is not the other registry of its workspace" in refused(global_)


def test_a_journal_is_not_followed_in_the_other_files_part(task: Path, global_: Path) -> None:
    plant(task, Role.SECOND, "../registry/GLOBAL_REGISTRY.json")
    plant(global_, Role.FIRST, "../TASK-1/AGENT_REGISTRY.json")
    refused(task)
    refused(global_)


def test_a_partner_that_is_a_link_or_a_device_is_not_opened(task: Path, global_: Path) -> None:
    plant(task, Role.FIRST, "../registry/GLOBAL_REGISTRY.json")
    global_.unlink()
    global_.symlink_to("/dev/ptmx")
    opened: list[str] = []
    real = os.open

    def noted(path: str, *more: Any, **by_name: Any) -> int:
        opened.append(str(path))
        return real(path, *more, **by_name)

    with mock.patch.object(os, "open", noted):
        recover_registry(task, 1)
    # The task's text was half replaced, so its own change is finished without the other file.
    assert task.read_bytes() == NEW and global_.is_symlink()
    assert not any("ptmx" in each for each in opened)


def test_a_loop_of_journals_ends(task: Path, global_: Path) -> None:
    # Each is in order by itself: the task's first, the global one's second, each the
    # other's partner; and the global one's names yet another task.
    other = write(task.parent.with_name("TASK-2") / task.name, task_registry())
    plant(task, Role.FIRST, "../registry/GLOBAL_REGISTRY.json")
    plant(other, Role.FIRST, "../registry/GLOBAL_REGISTRY.json")
    plant(global_, Role.SECOND, "../TASK-2/AGENT_REGISTRY.json")
    for registry in (task, global_, other):
        recover_registry(registry, 1)
        assert registry.read_bytes() == NEW


@pytest.mark.parametrize("role", [Role.FIRST, Role.SECOND])
@pytest.mark.parametrize("closed", [False, True])
def test_a_chain_of_thousands_is_not_walked(
    task: Path, global_: Path, role: Role, closed: bool
) -> None:
    chain = [
        write(task.parent.with_name(f"TASK-{number}") / task.name, task_registry())
        for number in range(1, 1201)
    ]
    ends = [chain[0] if closed else global_]
    for registry, partner in zip(chain, [*chain[1:], *ends], strict=True):
        plant(registry, role, f"../{partner.parent.name}/{partner.name}")
    plant(global_, Role.SECOND, "../TASK-1/AGENT_REGISTRY.json")
    untouched = [each.read_bytes() for each in chain]
    refused(chain[0])
    with pytest.raises(UntrustedJournalError, match="TASK-1/"):
        recover_registry(global_, 1)
    assert [each.read_bytes() for each in chain] == untouched


def _noted(task: Path, global_: Path) -> None:
    with editing_both(task, global_, 1) as edits:
        for edit in edits:
            edit.registry["note"] = "n"
            edit.changed = True


def _killed_before_the_second(task: Path, global_: Path) -> None:
    pid = os.fork()
    if not pid:
        place = commit._place
        placed: list[int] = []

        def hot_journal(fd: int, text: bytes) -> None:
            if placed:
                os.kill(os.getpid(), signal.SIGKILL)
            placed.append(fd)
            place(fd, text)

        commit._place = hot_journal
        _noted(task, global_)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)


def _notes(*registries: Path) -> list[object]:
    found: list[Json] = []
    for registry in registries:
        recover_registry(registry, 1)
        found.append(read_registry(registry))
    return [each.get("note") for each in found]


def test_two_of_one_workspace_are_one_commit(task: Path, global_: Path) -> None:
    _killed_before_the_second(task, global_)
    assert _notes(global_, task) == ["n", "n"]


def test_two_of_different_workspaces_are_committed_each_for_itself(
    task: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / ".agent-workspace" / "registry" / "GLOBAL_REGISTRY.json"
    write(other, global_registry())
    _killed_before_the_second(task, other)
    assert _notes(other, task) == [None, "n"]
    _noted(task, other)
    assert load(other)["note"] == "n"


def test_what_fails_of_two_of_different_workspaces_is_undone_in_both(
    task: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / ".agent-workspace" / "registry" / "GLOBAL_REGISTRY.json"
    write(other, global_registry())
    before = task.read_bytes(), other.read_bytes()
    place, placed = commit._place, []

    def fails(fd: int, text: bytes) -> None:
        placed.append(fd)
        if len(placed) == 2:
            raise OSError(28, "No space left on device")
        place(fd, text)

    with mock.patch.object(commit, "_place", fails), pytest.raises(OSError, match="No space"):
        _noted(task, other)
    assert (task.read_bytes(), other.read_bytes()) == before
    assert _notes(task, other) == [None, None]


@pytest.mark.parametrize(
    "change",
    [
        (b'"old_length": ', b'"old_length": -'),
        (b'"transaction": "t"', b'"transaction": {}'),
        (b'"role": "alone"', b'"role": "other"'),
        (b'"old_kept": ', b'"old_kopt": '),
        (b'{"transaction"', b'["transaction"'),
    ],
)
def test_a_journal_whose_head_this_library_does_not_write_is_not_followed(
    task: Path, change: tuple[bytes, bytes]
) -> None:
    from registry.storage.journal import _digest

    plant(task, Role.ALONE, None)
    place = journal_path(task)
    _, head = place.read_bytes()[:-16].split(b"\n", 1)
    head = head.replace(*change)
    body = b"muster journal 2 %016x\n%s" % (len(head), head)
    place.write_bytes(body + _digest(body))
    assert "not a journal that this library writes" in refused(task)
