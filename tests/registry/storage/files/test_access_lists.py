"""Registries with an access control list: who may use their journals, and who is believed."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.storage.files import access_list
from registry.storage.files.access_list import (
    GROUP,
    MASK,
    OTHERS,
    OWNER,
    OWNING_GROUP,
    UNNAMED,
    USER,
    AccessList,
)
from registry.storage.files.permissions import (
    Access,
    journal_access,
    why_unbelievable,
    why_unfinishable,
)
from registry.storage.journal import journal_path
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
    killed_half_way,
    searchable,
    shared,
)

alice = User(ALICE)
bob = User(BOB)
carol = User(CAROL, (AGENTS,))

FOR_BOB = {
    (OWNER, UNNAMED): 6,
    (USER, BOB): 6,
    (OWNING_GROUP, UNNAMED): 0,
    (MASK, UNNAMED): 6,
    (OTHERS, UNNAMED): 0,
}


def has_lists(folder: Path) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        access_list.write(fd, {**FOR_BOB, (OWNER, UNNAMED): 7})
    except OSError as error:
        assert error.errno == errno.ENOTSUP
        return False
    finally:
        os.close(fd)
    return True


@pytest.fixture
def home() -> Iterator[Path]:
    with searchable() as path:
        probe = path / "probe"
        probe.mkdir()
        if not has_lists(probe):
            pytest.skip("the file system of the temporary directory has no access control lists")
        yield path


def give(path: Path, entries: AccessList) -> None:
    with path.open("r+b") as file:
        access_list.write(file.fileno(), entries)


def listed(home: Path, folder: int = 0o777) -> Path:
    """Alice's registries, which bob alone may use besides her; her group may not."""
    task = shared(home, mode=0o600, folder=folder)
    give(task, FOR_BOB)
    give(task.parent.parent / "registry" / "GLOBAL_REGISTRY.json", FOR_BOB)
    return task


def may(user: User, path: Path, mode: str) -> bool:
    done = user.do(lambda: path.open(mode).close())
    assert done.error == "" or done.error.startswith("PermissionError")
    return done.error == ""


@only_root
@pytest.mark.parametrize("writer", [alice, bob, User(0)], ids=["owner", "named", "root"])
def test_the_journal_is_open_to_those_alone_who_may_use_the_registry(
    home: Path, writer: User
) -> None:
    task = listed(home)
    # Killed: what another user leaves when its commit ends is removed.
    assert writer.do(killed_half_way(task)).signal == signal.SIGKILL
    journal = journal_path(task)
    for user, allowed in ((alice, True), (bob, True), (carol, False), (User(MALLORY), False)):
        assert may(user, task, "rb") == allowed
        assert may(user, journal, "rb") == may(user, journal, "r+b") == allowed


@only_root
@pytest.mark.parametrize(
    ("killed", "next_one"), [(alice, bob), (bob, alice), (bob, User(0)), (User(0), bob)]
)
def test_a_commit_that_was_cut_off_is_finished_by_the_other(
    home: Path, killed: User, next_one: User
) -> None:
    # In a directory that others may write, bob is known as a writer by his name in the list.
    task = listed(home)
    before = load(task)["max_agents"]
    cut_off_by(killed, task)
    assert next_one.do(counting(task)).error == ""
    assert load(task)["max_agents"] == before + 2


@only_root
def test_a_journal_has_no_list_that_its_directory_hands_down(home: Path) -> None:
    task = shared(home)
    everybody = {**FOR_BOB, (OWNER, UNNAMED): 7, (USER, BOB): 7, (MASK, UNNAMED): 7}
    os.setxattr(task.parent, "system.posix_acl_default", access_list.pack(everybody))
    cut_off_by(alice, task)
    assert not may(bob, task, "r+b")
    assert not may(bob, journal_path(task), "r+b")


@only_root
def test_a_journal_that_a_list_opens_to_more_users_is_not_followed(home: Path) -> None:
    task = shared(home)
    before = load(task)["max_agents"]
    cut_off_by(alice, task)
    give(journal_path(task), FOR_BOB)
    done = alice.do(counting(task))
    assert "is writable for users who are not allowed to write the registry" in done.error
    give(journal_path(task), {**FOR_BOB, (USER, BOB): 4})
    assert alice.do(counting(task)).error == ""
    assert load(task)["max_agents"] == before + 2


# --- the rule itself

USERS, GROUPS = (ALICE, BOB, CAROL), (AGENTS, 64201, 64202)
BITS = st.sampled_from([0, 4, 6])


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    owner, group = draw(st.sampled_from(USERS)), draw(st.sampled_from(GROUPS))
    if draw(st.booleans()):
        return Access(owner, group, draw(st.sampled_from([0o600, 0o640, 0o660, 0o664, 0o666])))
    entries = {(OWNER, UNNAMED): 6, (OWNING_GROUP, UNNAMED): draw(BITS)}
    entries |= {(USER, user): draw(BITS) for user in draw(st.sets(st.sampled_from(USERS)))}
    entries |= {(GROUP, each): draw(BITS) for each in draw(st.sets(st.sampled_from(GROUPS)))}
    entries |= {(MASK, UNNAMED): draw(BITS), (OTHERS, UNNAMED): draw(BITS)}
    mode = 0o600 | entries[MASK, UNNAMED] << 3 | entries[OTHERS, UNNAMED]
    return Access(owner, group, mode, entries)


@given(accesses(), st.sampled_from(USERS), st.sampled_from(GROUPS))
def test_a_new_journal_is_open_to_nobody_else(registry: Access, user: int, group: int) -> None:
    journal = journal_access(user, group, registry)
    for bit in (2, 4):
        ours, theirs = journal.allowed(bit), registry.allowed(bit)
        if registry.listed is None and group != registry.group:
            # Its group are others to the registry.
            assert ours.groups <= (theirs.groups | ({group} if theirs.others else set()))
        else:
            assert ours.groups <= theirs.groups
        assert ours.users <= theirs.users | {registry.owner}
        assert theirs.others or not ours.others


@given(accesses(), st.sampled_from(USERS), st.sampled_from(GROUPS))
def test_a_writer_whose_journal_the_others_can_read_is_believed_by_them(
    registry: Access, user: int, group: int
) -> None:
    journal = journal_access(user, group, registry)
    writes = user == registry.owner or user in registry.allowed(2).users
    directory = Access(registry.owner, AGENTS, 0o1777)
    if writes and why_unfinishable(journal, registry) is None:
        assert why_unbelievable(journal, registry, directory) is None


@given(accesses())
def test_with_a_list_all_who_may_write_can_finish_the_owners_commit(registry: Access) -> None:
    journal = journal_access(registry.owner, registry.group, registry)
    if registry.listed is not None and not registry.allowed(2).others:
        assert why_unfinishable(journal, registry) is None


@given(accesses())
def test_a_list_is_written_as_it_is_read(access: Access) -> None:
    if access.listed is not None:
        assert access_list.unpack(access_list.pack(access.listed)) == access.listed


@pytest.mark.parametrize("data", [b"", b"\2\0\0", b"\3\0\0\0", b"\2\0\0\0\1\0"])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an access control list"):
        access_list.unpack(data)
