"""Encodes the journal of a commit, and decides how recovery uses the journal. Pure.

SQLite's rollback journal contains the old text. This journal contains the new text, so that the
next process that opens the registry finishes an interrupted commit.

A journal has these parts:

1. a magic line with the length of parts 2 to 4,
2. a header as one line of JSON,
3. the old text (only for durable commits),
4. the new text,
5. a digest of parts 1 to 4.

If the digest is missing, the journal is incomplete, and the registry has not been changed yet. All
commits of a registry use the same journal file. So bytes of an older and longer journal may follow
the digest. A journal whose commit is over begins with a NUL.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import Any

from registry.dataclass import dataclass
from registry.storage.files.interruption import hand_on

SECTOR = 512
"""The number of bytes that a disk writes completely or not at all."""

OVER = b"\0"
"""The first byte of a journal whose commit is over."""

_MAGIC = b"muster journal 2 "
# Compiled at the first use, because readers decode no journal.
_HEAD = re.escape(_MAGIC) + rb"([0-9a-f]{16})\n"
_DIGEST_SIZE = 16


class Role(Enum):
    """The role of a registry in a commit."""

    ALONE = "alone"
    """The only file of the commit."""
    FIRST = "first"
    """The first of two files."""
    SECOND = "second"
    """The second of two files. When the journal of this file is complete, the commit is valid."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The change of one registry by a commit.

    Attributes:
        transaction: The id of the commit, which is the same in both journals of a commit.
        role: The role of this registry in the commit.
        partner: The path of the commit's other file, relative to the directory of this registry;
            None if the commit has one file.
        boot: The id of the machine's boot during which the journal was written.
        old_length: The length of the old text in bytes.
        old_digest: The digest of the old text.
        old: The old text; None if the commit is not durable.
        new: The new text.
    """

    transaction: str
    role: Role
    partner: str | None
    boot: str
    old_length: int
    old_digest: str
    old: bytes | None
    new: bytes


def _digest(text: bytes) -> bytes:
    # Imported at the first use: a reader without a journal does not need it.
    from hashlib import blake2b

    return blake2b(text, digest_size=_DIGEST_SIZE).digest()


def digest(text: bytes) -> str:
    """Returns the digest of a text, in hexadecimal."""
    return _digest(text).hex()


def journal_path(registry: Path) -> Path:
    """Returns the path of the journal of a registry, in the directory of the registry."""
    return registry.with_name(f".{registry.name}.journal")


def encode(journal: Journal) -> bytes:
    """Encodes a journal."""
    header = {
        "transaction": journal.transaction,
        "role": journal.role.value,
        "partner": journal.partner,
        "boot": journal.boot,
        "old_length": journal.old_length,
        "old_digest": journal.old_digest,
        "old_kept": journal.old is not None,
        "new_length": len(journal.new),
    }
    rest = b"".join((json.dumps(header).encode("ascii"), b"\n", journal.old or b"", journal.new))
    body = b"%s%016x\n%s" % (_MAGIC, len(rest), rest)
    return body + _digest(body)


def is_over(start: bytes) -> bool:
    """Returns whether a journal's first bytes show that its commit is over or never began."""
    return start[:1] in (b"", OVER)


def decode(data: bytes) -> Journal | None:
    """Decodes a journal; returns None if it is incomplete, or if its commit is over.

    Raises:
        ValueError: The journal is complete, but is not one that this library could have written.
    """
    head = re.match(_HEAD, data)
    if head is None:
        return None
    end = head.end() + int(head[1], 16)
    body = data[:end]
    if _digest(body) != data[end : end + _DIGEST_SIZE]:
        return None
    try:
        return _decoded(body, head.end())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        hand_on(error)
        raise ValueError("is not a journal that this library writes") from None


def _decoded(body: bytes, start: int) -> Journal:
    text = body.index(b"\n", start) + 1
    header: dict[str, Any] = json.loads(body[start:text])
    old_length, kept = header["old_length"], header["old_kept"]
    middle = text + (old_length if kept else 0)
    partner, boot, old_digest = header["partner"], header["boot"], header["old_digest"]
    strings = (header["transaction"], boot, old_digest, *(() if partner is None else (partner,)))
    if not (isinstance(old_length, int) and old_length >= 0 and middle <= len(body)):
        raise ValueError(old_length)
    if not all(isinstance(value, str) for value in strings):
        raise TypeError(strings)
    return Journal(
        transaction=header["transaction"],
        role=Role(header["role"]),
        partner=partner,
        boot=boot,
        old_length=old_length,
        old_digest=old_digest,
        old=body[text:middle] if kept else None,
        new=body[middle:],
    )


class RecoveryAction(Enum):
    """The action by which recovery ends an interrupted commit of a registry."""

    NOTHING = auto()
    """Keep the registry as it is."""
    CUT_BACK = auto()
    """Truncate the registry to the old length, because the commit had only reserved space."""
    WRITE = auto()
    """Write the new text."""
    SET_ASIDE = auto()
    """Keep a copy of the present text, which is corrupt; then write the new text."""


def decide(
    journal: Journal, data: bytes, *, boot: str, committed: bool, parses: bool
) -> RecoveryAction:
    """Returns the action that recovers a registry after an interrupted commit.

    Args:
        journal: The complete journal.
        data: The present content of the registry.
        boot: The id of the present boot.
        committed: Whether the journal of the commit's other file is complete, too. Then the commit
            is valid, even if this registry has the old text.
        parses: Whether `data` is a valid registry.
    """
    if data == journal.new:
        return RecoveryAction.NOTHING
    # Reserved space may follow the old text; after a power cut, only a part of this space.
    tail = data[journal.old_length :]
    if digest(data[: journal.old_length]) == journal.old_digest and not tail.strip(b" \0"):
        if committed:
            return RecoveryAction.WRITE
        return RecoveryAction.CUT_BACK if tail else RecoveryAction.NOTHING
    if data[:1] == b"\0":
        # Only a commit writes this byte, while it replaces the text.
        return RecoveryAction.WRITE
    if boot != journal.boot and journal.old is not None and _is_mix(journal.old, journal, data):
        return RecoveryAction.WRITE
    if parses:
        return RecoveryAction.NOTHING
    return RecoveryAction.SET_ASIDE


def _is_mix(old: bytes, journal: Journal, data: bytes) -> bool:
    """Returns whether a power cut during this commit could leave this content in a registry.

    This is so if each sector contains one of these:

    - the old text,
    - the new text,
    - spaces, which reserved disk space,
    - zeros, if the file system had only extended the file.

    If one of the texts ends inside a sector, the parts before and after this end are compared
    separately.
    """
    ends = {len(old), len(journal.new), len(data)}
    edges = sorted(edge for edge in ends.union(range(0, len(data), SECTOR)) if edge <= len(data))
    for start, end in pairwise(edges):
        piece = data[start:end]
        if piece not in (old[start:end], journal.new[start:end]) and piece.strip(b" \0"):
            return False
    return True
