"""A workspace that several users write: who may finish whose commits, and whom one believes.

Real processes of other users, who need no accounts; only root can start them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from registry import publish_metrics, read_registry, recover_registry, register_agent
from registry.audit.log import append, log_of, read_log
from registry.storage.files import new_file, permissions
from registry.storage.files.access_list import MASK, OTHERS, OWNER, OWNING_GROUP, UNNAMED
from registry.storage.files.permissions import Access, why_unbelievable, why_unfinishable
from registry.storage.journal import is_over, journal_path
from registry.storage.locked_file import editing_two
from tests.support.other_users import User, only_root
from tests.support.registries import load
from tests.support.shared_registry import (
    AGENTS,
    ALICE,
    BOB,
    CAROL,
    MALLORY,
    counting,
    cut_off_by,
    shared,
)
from tests.support.shared_registry import home as home

alice = User(ALICE)
bob = User(BOB, (AGENTS,))
carol = User(CAROL, (AGENTS,))
root = User(0)


def killed_while_the_journal_is_made(task: Path) -> Callable[[], None]:
    def count() -> None:
        os.fchmod = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        counting(task)()

    return count


def leaves_an_empty_journal(task: Path) -> Callable[[], None]:
    """As a version before this one did that was killed while it made its journal."""
    return lambda: os.close(os.open(journal_path(task), os.O_WRONLY | os.O_CREAT, 0o600))


def without_nameless_files() -> None:
    """In a process of its own: as on a file system that has none."""
    # Another user may not be able to read this Python's files, so what is needed is imported.
    assert ctypes.sizeof(ctypes.c_int)
    new_file.make_nameless = lambda *_: None


def succeeds(user: User, task: Path) -> None:
    assert user.do(counting(task)).error == ""


@only_root
@pytest.mark.parametrize(
    ("umask", "folder", "next_one"),
    [
        # Each umask with each folder and, in other pairs, each user who may be next.
        pytest.param(
            umask,
            folder,
            user,
            id=f"{umask:03o}-{folder:o}-{name}",
            marks=() if number % 3 == (row + column) % 3 else pytest.mark.torture,
        )
        for row, umask in enumerate((0o022, 0o077, 0o007, 0))
        for column, folder in enumerate((0o775, 0o2775, 0o3775, 0o1777))
        for number, (name, user) in enumerate(
            (("owner", alice), ("member", carol), ("root", root))
        )
    ],
)
def test_whoever_may_write_it_finishes_the_commit_of_a_member_who_was_killed(
    home: Path, monkeypatch: pytest.MonkeyPatch, umask: int, folder: int, next_one: User
) -> None:
    if folder & 0o002:
        # Everybody may put files there: only the database of groups tells who may be believed.
        monkeypatch.setattr(permissions, "is_member", lambda user, _: user in (BOB, CAROL))
    task = shared(home, folder=folder)
    before = load(task)["max_agents"]
    cut_off_by(bob, task, umask)
    journal = journal_path(task).stat()
    assert (journal.st_uid, journal.st_gid) == (BOB, AGENTS)
    assert stat.S_IMODE(journal.st_mode) == 0o664
    succeeds(next_one, task)
    assert load(task)["max_agents"] == before + 2


@only_root
@pytest.mark.parametrize("killed", [alice, root], ids=["owner", "root"])
def test_a_member_finishes_the_commit_of_the_owner_or_root(home: Path, killed: User) -> None:
    task = shared(home)
    before = load(task)["max_agents"]
    cut_off_by(killed, task)
    succeeds(bob, task)
    assert load(task)["max_agents"] == before + 2


@only_root
def test_a_member_finishes_a_commit_in_the_owners_directory(
    home: Path,
) -> None:
    task = shared(home, folder=0o755)
    succeeds(root, task)
    before = load(task)["max_agents"]
    os.chown(journal_path(task), ALICE, AGENTS)
    cut_off_by(bob, task)
    succeeds(carol, task)
    succeeds(alice, task)
    assert load(task)["max_agents"] == before + 3


@only_root
@pytest.mark.parametrize("killed", [bob, alice, root], ids=["member", "owner", "root"])
@only_root
@pytest.mark.parametrize("next_one", [alice, carol, root], ids=["owner", "member", "root"])
def test_killed_while_making_its_journal_it_keeps_nobody_out(
    home: Path, killed: User, next_one: User
) -> None:
    task = shared(home)
    before = load(task)["max_agents"]
    assert killed.do(leaves_an_empty_journal(task)).error == ""
    assert stat.S_IMODE(journal_path(task).stat().st_mode) == 0o600
    succeeds(next_one, task)
    assert load(task)["max_agents"] == before + 1


def changing_both(task: Path) -> Callable[[], None]:
    def change() -> None:
        with editing_two(task, _global(task), 5) as edits:
            for edit in edits:
                edit.registry["note"] = "n" * 9000
                edit.changed = True

    return change


def _global(task: Path) -> Path:
    return task.parent.parent / "registry" / "GLOBAL_REGISTRY.json"


def at_call(number: int, of: str, act: Callable[[], None], what: Callable[[], None]) -> None:
    """Does something, and something else instead of one call of a function of `os`."""
    real, calls = getattr(os, of), 0

    def call(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            what()
        return real(*given)

    setattr(os, of, call)
    act()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupt() -> None:
    raise KeyboardInterrupt


@only_root
@pytest.mark.parametrize("next_one", [alice, carol, root], ids=["owner", "member", "root"])
def test_killed_while_making_the_second_journal_it_blocks_nobody(
    home: Path, next_one: User
) -> None:
    task = shared(home)
    before = load(task)["max_agents"]

    def change() -> None:
        without_nameless_files()
        at_call(2, "fchmod", changing_both(task), die)

    killed = bob.do(change)
    assert killed.signal == signal.SIGKILL
    assert not journal_path(_global(task)).exists()
    assert journal_path(task).stat().st_size
    succeeds(next_one, task)
    assert load(task)["max_agents"] == before + 1
    assert next_one.do(changing_both(task)).error == ""


@only_root
@pytest.mark.parametrize("call", [1, 2])
def test_a_hardly_begun_journal_keeps_nobody_out(home: Path, call: int) -> None:
    # Its owner is outside the group: its journal may be read by members, not written.
    task = shared(home)
    killed = alice.do(lambda: at_call(call, "pwrite", counting(task), die))
    assert killed.signal == signal.SIGKILL
    assert stat.S_IMODE(journal_path(task).stat().st_mode) & 0o022 == 0
    succeeds(bob, task)
    assert "note" not in load(task)
    bob.do(changing_both(task))
    assert load(task)["note"] == load(_global(task))["note"]


@only_root
@pytest.mark.parametrize(
    ("folder", "broken"),
    [
        pytest.param(0o755, fail, id="0o755-fail"),
        pytest.param(0o3775, interrupt, id="0o3775-interrupt"),
        *(
            pytest.param(folder, broken, marks=pytest.mark.torture)
            for folder, broken in (
                (0o755, interrupt),
                (0o3775, fail),
                (0o775, fail),
                (0o775, interrupt),
            )
        ),
    ],
)
def test_a_commit_that_failed_is_made_by_nobody_later(
    home: Path, folder: int, broken: Callable[[], None]
) -> None:
    for number in range(1, 100):
        task = shared(home, folder=folder)
        global_ = _global(task)
        texts = [each.read_bytes() for each in (task, _global(task))]
        for each in (task, _global(task)):
            place = journal_path(each)
            place.write_bytes(b"\0")
            os.chown(place, ALICE, AGENTS)
            place.chmod(0o664)
        done = bob.do(partial(at_call, number, "pwrite", changing_both(task), broken))
        if not done.error:
            break
        assert "HalfWrittenError" not in done.error
        if broken is interrupt and "note" in load(task) and "note" in load(_global(task)):
            # It came after the commit counted.
            continue
        assert [each.read_bytes() for each in (task, _global(task))] == texts
        for each in (task, global_):
            assert alice.do(partial(recover_registry, each)).error == ""
        assert "note" not in read_registry(task)
        assert "note" not in read_registry(global_)
    assert number > 8


@only_root
def test_the_next_ends_a_members_journal_in_a_sticky_directory(
    home: Path,
) -> None:
    task = shared(home, folder=0o3775)
    cut_off_by(bob, task)
    os.chown(task.parent, 0, AGENTS)
    succeeds(carol, task)
    place = journal_path(task)
    assert place.stat().st_uid == BOB
    succeeds(carol, task)
    assert is_over(place.read_bytes())
    succeeds(bob, task)
    assert not place.exists()


@only_root
@pytest.mark.parametrize("killed", [bob, root], ids=["member", "root"])
@pytest.mark.parametrize("folder", [0o3775, 0o3770], ids=oct)
@pytest.mark.parametrize("owner", [0, ALICE], ids=["root's", "owner's"])
@pytest.mark.parametrize("nameless", [True, False])
def test_killed_while_making_its_journal_it_leaves_nothing_in_anybodys_way(
    home: Path,
    killed: User,
    folder: int,
    owner: int,
    nameless: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not nameless:
        assert ctypes.sizeof(ctypes.c_int)
        monkeypatch.setattr(new_file, "make_nameless", lambda *_: None)
    task = shared(home)
    os.chown(task.parent, owner, AGENTS)
    task.parent.chmod(folder)
    done = killed.do(killed_while_the_journal_is_made(task))
    assert not os.path.lexists(journal_path(task))
    assert done.signal == signal.SIGKILL
    # Alice owns the registry, but is in no group that may write a folder of root's.
    for each in (bob, carol) if owner == 0 else (alice, bob, carol):
        succeeds(each, task)


@only_root
def test_who_can_remove_a_journal_from_a_sticky_directory_is_named(home: Path) -> None:
    task = shared(home, folder=0o3775)
    before = task.read_bytes()
    assert bob.do(leaves_an_empty_journal(task)).error == ""
    done = carol.do(counting(task))
    assert "UntrustedJournalError" in done.error
    assert f"only user {ALICE} or user {BOB} or root can move this file" in done.error
    assert task.read_bytes() == before
    succeeds(alice, task)
    succeeds(carol, task)


@only_root
def test_a_commit_that_the_owner_could_not_finish_is_not_started(
    home: Path,
) -> None:
    task = shared(home, mode=0o660)
    before = task.read_bytes()
    done = bob.do(counting(task))
    assert "UnfinishableCommitError" in done.error
    assert f"user {ALICE}, the registry's owner, could not read the journal" in done.error
    assert "Nothing was changed" in done.error
    assert task.read_bytes() == before
    assert not journal_path(task).exists()
    # What the owner left is used by all.
    succeeds(root, task)
    succeeds(bob, task)


@only_root
def test_an_owner_outside_the_group_is_refused_its_commit(
    home: Path,
) -> None:
    task = shared(home, mode=0o660)
    done = alice.do(counting(task))
    assert f"members of group {AGENTS} could not read the journal" in done.error
    assert not journal_path(task).exists()


@only_root
def test_a_refused_global_registry_is_left_out_of_a_change_of_both(
    home: Path,
) -> None:
    task = shared(home)
    global_ = task.parent.parent / "registry" / "GLOBAL_REGISTRY.json"
    global_.chmod(0o660)
    before = global_.read_bytes()
    done = bob.do(lambda: register_agent(task, global_, "tester", agent_id="new").problems)
    assert done.error == ""
    assert "the global registry was not updated" in done.value[0]
    assert "the registry's owner, could not read the journal" in done.value[0]
    assert load(task)["agents"][-1]["id"] == "new"
    assert global_.read_bytes() == before


def plant(task: Path, user: int, group: int, mode: int) -> Path:
    """Lets a member be killed, and then the journal be another user's."""
    cut_off_by(bob, task)
    place = journal_path(task)
    os.chown(place, user, group)
    place.chmod(mode)
    return place


@only_root
@pytest.mark.parametrize(
    ("folder", "user", "group", "mode"),
    [
        (0o1777, MALLORY, MALLORY, 0o644),
        (0o1777, MALLORY, AGENTS, 0o644),
        (0o777, MALLORY, AGENTS, 0o664),
        (0o3777, MALLORY, AGENTS, 0o664),
        (0o775, BOB, AGENTS, 0o666),
        (0o775, ALICE, AGENTS, 0o666),
        (0o775, BOB, MALLORY, 0o664),
    ],
)
def test_a_journal_that_another_user_may_have_written_is_not_followed(
    home: Path, folder: int, user: int, group: int, mode: int
) -> None:
    task = shared(home, folder=folder)
    place = plant(task, user, group, mode)
    before = task.read_bytes(), place.read_bytes()
    for each in (alice, carol, root):
        done = each.do(counting(task))
        assert "UntrustedJournalError" in done.error
        assert (task.read_bytes(), place.read_bytes()) == before


@only_root
def test_a_journal_that_may_not_be_read_is_kept_and_its_user_is_named(home: Path) -> None:
    task = shared(home)
    place = plant(task, BOB, BOB, 0o600)
    before = task.read_bytes(), place.read_bytes()
    done = alice.do(counting(task))
    assert f"cannot be read by this user, but by user {BOB}" in done.error
    assert f"let user {BOB} or root finish the commit: muster doctor --fix {task}" in done.error
    assert "Do not delete this file" in done.error
    assert (task.read_bytes(), place.read_bytes()) == before
    succeeds(bob, task)
    succeeds(alice, task)


@only_root
def test_a_kept_copy_may_be_read_by_all_readers_of_the_registry(
    home: Path,
) -> None:
    task = shared(home)
    cut_off_by(bob, task)
    task.write_bytes(b'{"cut": ')
    os.utime(task, (1, 1))
    succeeds(carol, task)
    (copy,) = task.parent.glob(".*.broken")
    assert (copy.read_bytes(), copy.stat().st_gid) == (b'{"cut": ', AGENTS)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o664


@only_root
@pytest.mark.parametrize("first", [bob, root], ids=["member", "root"])
def test_the_metrics_that_one_made_keep_no_other_out(home: Path, first: User) -> None:
    task = shared(home)

    def publish() -> bool:
        counting(task)()
        return publish_metrics(task.parent.parent)

    made = first.do(publish)
    assert (made.value, made.error) == (first is root, "")
    assert root.do(publish).value
    for each in (alice, bob, carol):
        done = each.do(publish)
        assert (done.value, done.error) == (True, "")


@only_root
def test_the_audit_log_that_root_made_is_the_folders_owners(home: Path) -> None:
    log = shared(home).parent.parent / "registry" / "muster_audit.jsonl"
    for each in (root, alice, root):
        assert each.do(partial(append, log, b"{}\n")).error == ""
    assert log.stat().st_uid == ALICE


@only_root
@pytest.mark.parametrize("first", [root, alice, bob], ids=["root", "owner", "member"])
def test_the_audit_log_that_one_made_keeps_no_other_out(home: Path, first: User) -> None:
    task = shared(home)
    log = log_of(task)
    owner = User(ALICE, (AGENTS,))
    first = owner if first is alice else first
    for user in (first, bob, owner, root, carol, first):
        assert user.do(partial(append, log, b"{}\n")).error == ""
    assert (log.stat().st_uid, stat.S_IMODE(log.stat().st_mode)) == (ALICE, 0o640)
    lines = log.read_bytes().splitlines()
    assert len(lines) == (2 if first is bob else 4)
    for member in (bob, carol):
        own = log.with_name(f"muster_audit.uid{member.number}.jsonl")
        assert (own.stat().st_uid, stat.S_IMODE(own.stat().st_mode)) == (member.number, 0o640)

        def records() -> int:
            content = read_log(log)
            return len(content.records) + content.damaged

        # A member reads its own file and the file of the owner.
        assert member.do(records).value == len(lines) + len(own.read_bytes().splitlines())


@only_root
def test_only_who_may_write_the_registry_reads_the_audit_log(home: Path) -> None:
    task = shared(home)
    (task.parent.parent / "registry" / "GLOBAL_REGISTRY.json").chmod(0o644)
    log = log_of(task)
    assert alice.do(partial(append, log, b"{}\n")).error == ""
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@only_root
@pytest.mark.parametrize("user", [root, alice, bob], ids=["root", "owner", "member"])
def test_a_file_of_another_user_in_the_place_of_the_audit_log_is_moved_aside(
    home: Path, user: User
) -> None:
    log = log_of(shared(home))
    place = log if user is not bob else log.with_name(f"muster_audit.uid{BOB}.jsonl")
    place.touch(mode=0o600)
    os.chown(place, CAROL, AGENTS)
    error = user.do(partial(append, log, b"{}\n")).error
    assert str(place.name) in error or str(log.name) in error
    assert f"belongs to another user (user id {CAROL}); move it aside" in error


# --- the rule itself

REGISTRY = Access(ALICE, AGENTS, 0o664)
PLAIN = Access(ALICE, AGENTS, 0o775)
NOTHING_MORE = {
    (OWNER, UNNAMED): 6,
    (OWNING_GROUP, UNNAMED): 0,
    (MASK, UNNAMED): 6,
    (OTHERS, UNNAMED): 4,
}


def _journals() -> Iterable[tuple[Access, Access, Access, bool]]:
    by_member = Access(BOB, AGENTS, 0o664)
    yield by_member, REGISTRY, PLAIN, True
    yield by_member, Access(ALICE, AGENTS, 0o644), PLAIN, False
    yield by_member, Access(ALICE, CAROL, 0o664), PLAIN, False
    yield by_member, REGISTRY, Access(ALICE, AGENTS, 0o2775), True
    yield by_member, REGISTRY, Access(ALICE, AGENTS, 0o2777), False
    yield by_member, REGISTRY, Access(ALICE, MALLORY, 0o2777), False
    yield by_member, REGISTRY, Access(ALICE, MALLORY, 0o775), False
    yield by_member, REGISTRY, Access(MALLORY, AGENTS, 0o775), False
    yield by_member, REGISTRY, Access(ALICE, AGENTS, 0o775, NOTHING_MORE), False
    yield by_member, REGISTRY, Access(ALICE, MALLORY, 0o755), True
    yield by_member, Access(ALICE, AGENTS, 0o664, NOTHING_MORE), PLAIN, False
    yield Access(MALLORY, MALLORY, 0o644), Access(ALICE, AGENTS, 0o666), PLAIN, True
    yield Access(MALLORY, MALLORY, 0o644), REGISTRY, PLAIN, False
    yield Access(ALICE, ALICE, 0o600), REGISTRY, PLAIN, True
    yield Access(0, 0, 0o600), REGISTRY, PLAIN, True


@pytest.mark.parametrize(("journal", "registry", "directory", "believed"), _journals())
def test_only_who_may_write_the_registry_is_believed(
    journal: Access, registry: Access, directory: Access, believed: bool
) -> None:
    assert (why_unbelievable(journal, registry, directory) is None) == believed


@pytest.mark.parametrize(
    ("journal", "registry", "finishable"),
    [
        (Access(BOB, AGENTS, 0o664), REGISTRY, True),
        (Access(BOB, AGENTS, 0o660), Access(ALICE, AGENTS, 0o660), False),
        (Access(ALICE, AGENTS, 0o660), Access(ALICE, AGENTS, 0o660), True),
        (Access(ALICE, ALICE, 0o600), Access(ALICE, ALICE, 0o600), True),
        (Access(ALICE, ALICE, 0o600), REGISTRY, False),
        (Access(BOB, BOB, 0o600), Access(0, 0, 0o666), False),
        (Access(0, 0, 0o600), Access(0, 0, 0o644), True),
        (Access(0, 0, 0o600), Access(ALICE, ALICE, 0o600), False),
    ],
)
def test_all_writers_can_finish_a_journal_or_it_is_refused(
    journal: Access, registry: Access, finishable: bool
) -> None:
    assert (why_unfinishable(journal, registry) is None) == finishable
