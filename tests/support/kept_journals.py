"""Journals of finished commits, which stay in the directory of the registry and have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from registry.storage.journal import Journal, Role, digest, encode, is_over

Place = TypeVar("Place", str, Path)


def without_kept(files: Mapping[Place, bytes]) -> dict[Place, bytes]:
    """Returns the files without the journals of finished commits."""
    return {
        place: data
        for place, data in files.items()
        if not (Path(place).name.endswith(".journal") and is_over(data))
    }


def kept_journal(length: int = 3000) -> bytes:
    """Returns a journal of a finished commit, longer than the journal that replaces it."""
    old, new = (b'{"text": "%s"}' % (letter * length) for letter in (b"k", b"l"))
    journal = Journal(
        "before", Role.SECOND, "../elsewhere", "a boot", len(old), digest(old), old, new
    )
    return b"\0" + encode(journal)[1:]
