"""Tests of the look at the free space of a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.database.free_space import is_full


@pytest.mark.parametrize(
    ("blocks", "free", "for_users", "user", "full"),
    [
        (100, 0, 0, 0, True),
        (100, 5, 0, 1000, True),
        # Root may use the reserved blocks.
        (100, 5, 0, 0, False),
        (100, 5, 5, 1000, False),
        # A file system without a size is not full.
        (0, 0, 0, 1000, False),
    ],
)
def test_a_disk_is_full_for_one_user_and_not_for_another(
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    free: int,
    for_users: int,
    user: int,
    full: bool,
) -> None:
    found = os.statvfs_result((4096, 4096, blocks, free, for_users, 9, 9, 9, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _: found)
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert is_full(Path("/anywhere")) is full


def test_a_disk_that_cannot_be_examined_is_not_called_full(tmp_path: Path) -> None:
    assert is_full(tmp_path / "missing") is False
