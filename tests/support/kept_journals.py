"""Journals whose commit is over: they stay beside their registry, and say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from registry.storage.journal import Journal, Role, digest, encode, is_over

Place = TypeVar("Place", str, Path)


def without_kept(files: Mapping[Place, bytes]) -> dict[Place, bytes]:
    """The files without the journals that are over."""
    return {
        place: data
        for place, data in files.items()
        if not (Path(place).name.endswith(".journal") and is_over(data))
    }


def kept_journal(length: int = 3000) -> bytes:
    """What a commit before left: longer than what is written over it."""
    old, new = (b'{"text": "%s"}' % (letter * length) for letter in (b"k", b"l"))
    journal = Journal(
        "before", Role.SECOND, "../elsewhere", "a boot", len(old), digest(old), old, new
    )
    return b"\0" + encode(journal)[1:]
