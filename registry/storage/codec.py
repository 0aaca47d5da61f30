"""Decodes and encodes the JSON text of a registry without loss.

The text is written as the orchestrator writes it: two spaces of indent, ASCII with
escapes. Lone surrogates, NaN, big integers and floats survive. A text that cannot be
written back without loss, for example with duplicate keys, is refused.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from registry.errors import CorruptRegistryError
from registry.storage.interruption import hand_on
from registry.text import quoted_name

Json: TypeAlias = dict[str, Any]

MAX_BYTES = 64 * 1024 * 1024
"""Largest registry that is read, in bytes: 300 times the largest real one."""

MAX_VALUES = 2_000_000
"""Most values in a registry that is read.

A text of `MAX_BYTES` that holds nothing but empty arrays would take over 1 GB of memory.
"""


class _DuplicateKeyError(ValueError):
    pass


class _TooLargeError(ValueError):
    pass


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        # It would be written back as Infinity, which is no JSON.
        raise _TooLargeError(text)
    return number


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return decoded


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _cut_off(path: Path) -> str:
    return (
        "It begins with a NUL: a commit was cut off, and what was to be written is in "
        f".{path.name}.journal beside it. Do not delete that; whoever opens the registry for "
        "writing next finishes the commit"
    )


def check_size(size: int, path: Path, largest: int = MAX_BYTES) -> None:
    """Refuses a file that is too large to be a registry, before it is read.

    Raises:
        CorruptRegistryError: It has more bytes than the largest that is read.
    """
    if size > largest:
        raise CorruptRegistryError(
            path,
            f"is larger than {largest >> 20} MB; not read",
            remedy="Make it smaller by hand, or put back a copy of it",
        )


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def _has_too_many_values(data: bytes) -> bool:
    """Counts the bytes that come before a value; looks into strings only if it must."""
    if len(data) <= MAX_VALUES or _values_in(data) <= MAX_VALUES:
        return False
    # A value has at most a key, and so two strings. To look into more would take long.
    if data.count(b'"') - data.count(b'\\"') > 4 * MAX_VALUES:
        return True
    return _values_in(_STRING.sub(b"", data)) > MAX_VALUES


def _values_in(data: bytes) -> int:
    return sum(data.count(sign) for sign in b",[{")


def decode(data: bytes, path: Path, *, lenient: bool = False) -> Json:
    """Decodes the text of a registry.

    Args:
        data: The file's bytes.
        path: Named in errors only.
        lenient: Take the last of a key that is there twice, as peers do.

    Raises:
        CorruptRegistryError: Not UTF-8, not JSON, not an object, too large, nested
            too deep, an integer of more digits than Python converts, or an object with
            a key twice (unless `lenient`): nobody can tell which of them is meant,
            and writing it back would lose one.
    """
    check_size(len(data), path)
    if _has_too_many_values(data):
        raise CorruptRegistryError(
            path,
            f"holds more than {MAX_VALUES:,} values; not read",
            remedy="Make it smaller by hand, or put back a copy of it",
        )
    if not data.strip():
        raise CorruptRegistryError(
            path,
            "is empty",
            remedy="Try again, as a writer may be in the middle of it; if it stays so, put back "
            "a copy",
        )
    if data.startswith(_BYTE_ORDER_MARK):
        raise CorruptRegistryError(
            path,
            "begins with a byte order mark (BOM)",
            remedy="Save it as UTF-8 without a byte order mark",
        )
    text = ""
    try:
        text = data.decode("utf-8")
        hook = None if lenient else _refuse_duplicates
        decoded = json.loads(text, object_pairs_hook=hook, parse_float=None if lenient else _float)
    except UnicodeDecodeError as error:
        hand_on(error)
        raise CorruptRegistryError(
            path, f"is not UTF-8 at byte {error.start}", remedy="Save it as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        hand_on(error)
        if data[:1] == b"\0":
            raise CorruptRegistryError(
                path, error.msg, text, error.pos, remedy=_cut_off(path)
            ) from None
        raise CorruptRegistryError(path, error.msg, text, error.pos) from None
    except _DuplicateKeyError as error:
        raise CorruptRegistryError(
            path,
            f"has the key {quoted_name(error, 80)} twice in one object: writing it back would "
            "lose one of them",
            remedy="Keep a copy, and rename or remove one of them by hand",
        ) from None
    except RecursionError as error:
        hand_on(error)
        raise CorruptRegistryError(
            path,
            "is nested too deep",
            remedy="Make what is nested flatter by hand, or put back a copy of the file",
        ) from None
    except _TooLargeError as error:
        raise CorruptRegistryError(
            path,
            f"has the number {str(error)[:40]}, which is too large to be written back as it is",
        ) from None
    except ValueError as error:
        hand_on(error)
        limit = sys.get_int_max_str_digits()
        raise CorruptRegistryError(path, f"has an integer of more than {limit} digits") from None
    if not isinstance(decoded, dict):
        raise CorruptRegistryError(path, f"holds {kind_of(decoded)}, not an object")
    return decoded


def prepare() -> None:
    """Imports what writing takes, so that nothing is imported while a lock is held."""
    import encodings.ascii  # noqa: F401

    import msgspec  # noqa: F401


def _indented(registry: Json) -> bytes:
    """The same bytes as ``json.dumps(registry, indent=2)``, several times sooner.

    The standard library indents in Python, but encodes without indent in C;
    msgspec puts the white space in and leaves every token as it is. It refuses
    NaN and lone surrogates, which are no JSON but survive here all the same.
    """
    # Imported on first use: readers have none for it, and it takes longer than they do.
    import msgspec

    tight = json.dumps(registry).encode("ascii")
    try:
        return msgspec.json.format(tight, indent=2)
    except msgspec.DecodeError as error:
        hand_on(error)
        return json.dumps(registry, indent=2).encode("ascii")


def kind_of(value: object) -> str:
    """What JSON calls a decoded value, with an article."""
    return _KIND.get(type(value), "something")


_KIND = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def plain(fields: Mapping[str, Any]) -> Json:
    """A caller's own fields as they will be read again, and apart from the caller's objects.

    Raises:
        TypeError: They are no mapping, or JSON has no word for a value.
        ValueError: A value holds itself, is nested deeper than 500, or has keys that
            are the same once they are strings.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields must be a mapping, not {fields!r:.80}")
    text = json.dumps(fields)
    if _depth(text) > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    decoded: Json = json.loads(text, object_pairs_hook=_refuse_duplicates)
    return decoded


_DEEPEST = 500


def _depth(text: str) -> int:
    """An upper bound of how deep a JSON text is nested; brackets in strings count, too."""
    deepest = depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def encode(registry: Json, path: Path) -> bytes:
    """Encodes a registry as its peers do.

    Raises:
        CorruptRegistryError: Nested deeper than can be written, or so large that it
            could not be read again.
        TypeError: A caller put in something JSON has no word for.
    """
    try:
        text = _indented(registry)
    except RecursionError as error:
        hand_on(error)
        raise CorruptRegistryError(
            path,
            "is nested too deep to be written",
            remedy="Make what is nested flatter before it is written",
        ) from None
    if len(text) > MAX_BYTES:
        raise CorruptRegistryError(
            path,
            f"would become larger than {MAX_BYTES >> 20} MB",
            remedy="Write less, or move what is old to another file",
        )
    if _has_too_many_values(text):
        raise CorruptRegistryError(
            path,
            f"would hold more than {MAX_VALUES:,} values",
            remedy="Write less, or move what is old to another file",
        )
    return text
