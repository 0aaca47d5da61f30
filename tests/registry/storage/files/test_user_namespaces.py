"""In a user namespace all users that it does not know have one number: it proves nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import recover_registry
from registry.audit.log import append
from registry.storage.files.permissions import is_unmapped
from registry.storage.journal import Journal, Role, digest, encode, journal_path
from tests.support.other_users import User, only_root
from tests.support.shared_registry import AGENTS, ALICE, BOB, MALLORY, shared
from tests.support.shared_registry import home as home
from tests.support.user_namespaces import in_a_namespace, skip_without

PLANTED = b'{"tasks": {"PLANTED": {}}, "agents": {}}'

member = User(BOB, (AGENTS,))


@only_root
@pytest.mark.parametrize("wrapped", [lambda act: act, in_a_namespace], ids=["outside", "inside"])
def test_a_journal_of_an_unknown_user_is_not_followed(
    home: Path, wrapped: Callable[[Callable[[], object]], Callable[[], object]]
) -> None:
    global_ = shared(home, folder=0o1777).parent.parent / "registry" / "GLOBAL_REGISTRY.json"
    before = global_.read_bytes()
    partner = "../TASK-0/AGENT_REGISTRY.json"
    made = Journal("00" * 8, Role.SECOND, partner, "", len(before), digest(before), None, PLANTED)

    def plant() -> None:
        journal_path(global_).write_bytes(encode(made))

    assert User(MALLORY).do(plant).error == ""
    done = member.do(wrapped(lambda: recover_registry(global_, 2)))
    skip_without(done.value)
    assert "UntrustedJournalError" in done.error
    assert global_.read_bytes() == before


@only_root
def test_an_audit_log_of_an_unknown_user_is_not_written(home: Path) -> None:
    log = shared(home, folder=0o777).parent.parent / "registry" / "muster_audit.jsonl"
    log.touch(0o666)
    os.chown(log, MALLORY, MALLORY)
    log.chmod(0o666)
    done = member.do(in_a_namespace(lambda: append(log, b"{}\n")))
    skip_without(done.value)
    assert "belongs to another user" in done.error


def test_outside_of_a_namespace_every_number_is_a_user() -> None:
    mapped = Path("/proc/self/uid_map").read_text().split()
    if mapped != ["0", "0", "4294967295"]:
        pytest.skip("this process is in a user namespace of its own")
    assert not any(is_unmapped(user) for user in (0, ALICE, 65534))
