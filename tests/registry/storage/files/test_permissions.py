"""Whose journals are believed, and which files may name which other ones."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from registry.storage.files import permissions
from registry.storage.files.access_list import (
    GROUP,
    MASK,
    OTHERS,
    OWNER,
    OWNING_GROUP,
    UNNAMED,
    USER,
)
from registry.storage.files.permissions import Access, is_unmapped, other_writer, why_unbelievable

ALICE, BOB, TEAM, CLUB = 64301, 64302, 64400, 64401
FOLDER = Access(ALICE, TEAM, 0o755)


def listed(*entries: tuple[int, int, int], group: int = 6, others: int = 4) -> Access:
    """A file of ALICE and TEAM with an access control list."""
    bits = {
        (OWNER, UNNAMED): 6,
        (OWNING_GROUP, UNNAMED): group,
        (MASK, UNNAMED): 6,
        (OTHERS, UNNAMED): others,
    }
    bits |= {(kind, number): bit for kind, number, bit in entries}
    return Access(ALICE, TEAM, 0o664, bits)


def test_a_journal_that_a_refused_user_may_write_is_not_believed() -> None:
    journal = Access(ALICE, TEAM, 0o664)
    refused = (USER, BOB, 0)
    assert why_unbelievable(journal, listed(), FOLDER) is None
    assert why_unbelievable(journal, listed(refused), FOLDER) is not None
    assert why_unbelievable(listed(refused), listed(refused), FOLDER) is None


def test_a_journal_that_a_refused_group_may_write_is_not_believed() -> None:
    registry = Access(ALICE, TEAM, 0o606)
    assert why_unbelievable(Access(ALICE, TEAM, 0o664), registry, FOLDER) is not None
    assert why_unbelievable(Access(ALICE, TEAM, 0o666), registry, FOLDER) is not None
    assert why_unbelievable(Access(ALICE, TEAM, 0o606), registry, FOLDER) is None
    assert why_unbelievable(Access(ALICE, CLUB, 0o664), registry, FOLDER) is None


def test_a_registry_that_all_may_write_takes_every_journal() -> None:
    registry = Access(ALICE, TEAM, 0o666)
    assert why_unbelievable(Access(BOB, CLUB, 0o666), registry, FOLDER) is None


def test_a_task_is_named_only_by_who_may_write_it() -> None:
    assert other_writer(Access(ALICE, TEAM, 0o664), Access(ALICE, TEAM, 0o664)) is None
    assert other_writer(Access(ALICE, TEAM, 0o664), Access(ALICE, TEAM, 0o644)) == f"group {TEAM}"
    assert other_writer(Access(ALICE, TEAM, 0o664), listed((USER, BOB, 0))) is not None
    assert other_writer(Access(BOB, TEAM, 0o644), Access(ALICE, TEAM, 0o644)) is not None
    assert other_writer(listed((GROUP, CLUB, 6)), Access(ALICE, TEAM, 0o664)) == f"group {CLUB}"


@pytest.mark.parametrize(
    ("name", "members", "others", "is_private"),
    [
        ("alice", [], [], True),
        ("alice", ["alice"], [], True),
        ("alice", ["bob"], [], False),
        ("alice", [], [BOB], False),
        ("users", [], [], False),
    ],
)
def test_a_primary_group_is_private_only_without_other_members(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    members: list[str],
    others: list[int],
    is_private: bool,
) -> None:
    account = SimpleNamespace(pw_name="alice", pw_uid=ALICE, pw_gid=TEAM)
    accounts = [account, *(SimpleNamespace(pw_uid=other, pw_gid=TEAM) for other in others)]
    group = SimpleNamespace(gr_name=name, gr_mem=members)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account)
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    # The file that is named is ALICE's alone.
    why = other_writer(Access(ALICE, TEAM, 0o664), Access(ALICE, TEAM, 0o600))
    assert (why is None) is is_private


def test_unknown_users_are_known_as_such_without_the_kernels_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A /proc that is mounted with `subset=pid` has no /proc/sys."""

    class Proc(type(Path())):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            if "sys" in self.parts:
                raise FileNotFoundError
            return b"         0      64301          1\n"

    monkeypatch.setattr(permissions, "Path", Proc)
    assert is_unmapped(65534)
    assert not is_unmapped(0)
    assert not is_unmapped(os.geteuid()) or os.geteuid() == 65534
