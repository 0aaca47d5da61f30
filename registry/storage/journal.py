"""The journal of a commit, and what a file that is found beside one needs. Pure.

SQLite's rollback journal, turned around: it holds the text that is to come, so
that a commit that was cut off is finished by whoever opens the registry next.

The layout: a magic line with the length of what follows, a header as one line of
JSON, the old text (of durable commits only), the new text, and a digest of all of
that. A journal without its digest was not finished, and the registry not yet
touched. What lies behind the digest is left of a longer journal before: the file
is kept, and a journal whose commit is over begins with a NUL.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import Any

from registry.storage.interruption import hand_on

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

OVER = b"\0"
"""What a journal begins with once its commit is over."""

_MAGIC = b"muster journal 2 "
_LENGTH = re.compile(rb"([0-9a-f]{16})\n")
_DIGEST_SIZE = 16


class Role(Enum):
    """Which of a commit's files a journal is of."""

    ALONE = "alone"
    FIRST = "first"
    SECOND = "second"  # Once this one is complete, the whole commit counts.


@dataclass(frozen=True, slots=True)
class Journal:
    """What a commit is about to do to one registry.

    Attributes:
        transaction: The same for both files of one commit.
        partner: The other file of the commit, relative to this one's directory.
        boot: Which boot of the machine it was written in.
        old_length: Bytes of the text before.
        old_digest: Digest of the text before.
        old: The text before, or None where a power cut need not be survived.
        new: The text after.
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
    # Imported on first use: a reader that finds no journal has none for it.
    from hashlib import blake2b

    return blake2b(text, digest_size=_DIGEST_SIZE).digest()


def digest(text: bytes) -> str:
    """The digest by which a text is known again."""
    return _digest(text).hex()


def journal_path(registry: Path) -> Path:
    """Where the journal of a registry lies: beside it."""
    return registry.with_name(f".{registry.name}.journal")


def encode(journal: Journal) -> bytes:
    """A journal as it is written."""
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
    """Whether what a journal begins with says that its commit is over, or never began."""
    return start[:1] in (b"", OVER)


def decode(data: bytes) -> Journal | None:
    """Reads a journal; None when it was not finished, or is over.

    Raises:
        ValueError: It is whole, but is not what this library writes.
    """
    length = _LENGTH.match(data, len(_MAGIC))
    if length is None or not data.startswith(_MAGIC):
        return None
    end = length.end() + int(length[1], 16)
    body = data[:end]
    if _digest(body) != data[end : end + _DIGEST_SIZE]:
        return None
    try:
        return _decoded(body, length.end())
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
    if not all(isinstance(each, str) for each in strings):
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
    """What makes a registry whole that was found beside a journal."""

    NOTHING = auto()
    CUT_BACK = auto()  # to the old length: only room had been reserved
    WRITE = auto()  # the new text
    SET_ASIDE = auto()  # keep a copy of what is there, then write the new text


def decide(
    journal: Journal, data: bytes, *, boot: str, committed: bool, parses: bool
) -> RecoveryAction:
    """Decides what a registry needs whose commit was cut off.

    Args:
        journal: The complete journal found beside it.
        data: What the registry holds now.
        boot: Which boot this is.
        committed: Whether the commit counts though this file was not touched yet:
            the other file's journal was complete, too.
        parses: Whether `data` is a registry.
    """
    if data == journal.new:
        return RecoveryAction.NOTHING
    # Behind the old text: reserved room, or what a power cut left of it.
    tail = data[journal.old_length :]
    if digest(data[: journal.old_length]) == journal.old_digest and not tail.strip(b" \0"):
        if committed:
            return RecoveryAction.WRITE
        return RecoveryAction.CUT_BACK if tail else RecoveryAction.NOTHING
    if data[:1] == b"\0":
        # No peer writes that: it is the mark of a commit under way.
        return RecoveryAction.WRITE
    if boot != journal.boot and journal.old is not None and _is_mix(journal.old, journal, data):
        return RecoveryAction.WRITE
    if parses:
        return RecoveryAction.NOTHING
    return RecoveryAction.SET_ASIDE


def _is_mix(old: bytes, journal: Journal, data: bytes) -> bool:
    """Whether every sector is one that the commit may have left there.

    After a power cut each sector is of the old or of the new text, of the spaces
    that reserved room, or zeros where the file system had grown the file only.
    In a sector that one of the texts ends in, what lies behind that end is a
    matter of its own: the old text's tail was not cut off yet, or a recovery that
    was itself cut off had reserved room behind what the first cut had left.
    """
    ends = {len(old), len(journal.new), len(data)}
    edges = sorted(edge for edge in ends.union(range(0, len(data), SECTOR)) if edge <= len(data))
    for start, end in pairwise(edges):
        piece = data[start:end]
        if piece not in (old[start:end], journal.new[start:end]) and piece.strip(b" \0"):
            return False
    return True
