"""Runs a function in a user namespace that maps only one user."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.storage import is_unmapped

_CLONE_NEWUSER = 0x10000000
_PR_SET_DUMPABLE = 4


def in_a_namespace(act: Callable[[], object]) -> Callable[[], object]:
    """Returns a function that calls `act` as root of a user namespace with this user only."""

    def enter_and_act() -> object:
        user, group = os.geteuid(), os.getegid()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWUSER):
            return f"no user namespace: {os.strerror(ctypes.get_errno())}"
        libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        assert is_unmapped(os.stat("/").st_uid) and not is_unmapped(0)
        return act()

    return enter_and_act


def skip_without(outcome: object) -> None:
    if isinstance(outcome, str):
        pytest.skip(outcome)
