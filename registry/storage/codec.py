"""Decodes and encodes the JSON text of a registry without loss.

The text is written in the orchestrator's format: two spaces of indent, ASCII with escapes. Lone
surrogates, NaN, big integers and floats are kept. A text that cannot be written back without loss
is refused, for example a text with duplicate keys.
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
from registry.storage.files.interruption import hand_on
from registry.text import quoted_name

Json: TypeAlias = dict[str, Any]

MAX_BYTES = 64 * 1024 * 1024
"""The largest size, in bytes, of a registry that is read.

The largest known registry has a 300th of this size.
"""

MAX_VALUES = 2_000_000
"""The largest number of values in a registry that is read.

Without this limit, a text of `MAX_BYTES` with only empty arrays would take over 1 GB of memory.
"""


class _DuplicateKeyError(ValueError):
    pass


class _TooLargeError(ValueError):
    pass


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        # The number would be written back as Infinity, which is not JSON.
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
        "The file begins with a NUL: a commit was interrupted, and the new content is in "
        f".{path.name}.journal in the same directory. Do not delete the journal: the next process "
        "that opens the registry for writing finishes the commit"
    )


def check_size(size: int, path: Path, largest: int = MAX_BYTES) -> None:
    """Checks the size of a file, in bytes, before the file is read as a registry.

    Raises:
        CorruptRegistryError: The file is too large.
    """
    if size > largest:
        raise CorruptRegistryError(
            path,
            f"is larger than {largest >> 20} MB, so it was not read",
            remedy="Make the file smaller by hand, or restore a copy",
        )


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def _has_too_many_values(data: bytes) -> bool:
    """Returns whether a text has too many values, by counting ``,``, ``[`` and ``{``.

    If this count is too high, the characters are counted a second time, outside strings only.
    """
    if len(data) <= MAX_VALUES or _values_in(data) <= MAX_VALUES:
        return False
    # A value and its key have at most two strings. So a text with more has too many values.
    if data.count(b'"') - data.count(b'\\"') > 4 * MAX_VALUES:
        return True
    return _values_in(_STRING.sub(b"", data)) > MAX_VALUES


def _values_in(data: bytes) -> int:
    return sum(data.count(sign) for sign in b",[{")


def decode(data: bytes, path: Path, *, lenient: bool = False) -> Json:
    """Decodes the text of a registry.

    Args:
        data: The bytes of the file.
        path: The path, for errors.
        lenient: Whether to use the last value of a duplicate key, as other writers do.

    Raises:
        CorruptRegistryError: One of these:

            - The text is not UTF-8, not JSON, or not an object.
            - The text is too large or nested too deep.
            - An integer has more digits than Python converts.
            - An object has a key twice, and `lenient` is False. Writing this object back would
              lose a value.
    """
    check_size(len(data), path)
    if _has_too_many_values(data):
        raise CorruptRegistryError(
            path,
            f"has more than {MAX_VALUES:,} values, so it was not read",
            remedy="Make the file smaller by hand, or restore a copy",
        )
    if not data.strip():
        raise CorruptRegistryError(
            path,
            "is empty",
            remedy="Try again, because a process may be writing the file; if the file stays "
            "empty, restore a copy",
        )
    if data.startswith(_BYTE_ORDER_MARK):
        raise CorruptRegistryError(
            path,
            "begins with a byte order mark (BOM)",
            remedy="Save the file as UTF-8 without a byte order mark",
        )
    text = ""
    try:
        text = data.decode("utf-8")
        hook = None if lenient else _refuse_duplicates
        decoded = json.loads(text, object_pairs_hook=hook, parse_float=None if lenient else _float)
    except UnicodeDecodeError as error:
        hand_on(error)
        raise CorruptRegistryError(
            path, f"is not UTF-8 at byte {error.start}", remedy="Save the file as UTF-8"
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
            f"has the key {quoted_name(error, 80)} twice in one object: writing the object back "
            "would lose one of the two values",
            remedy="Keep a copy of the file, and rename or remove one of the two keys by hand",
        ) from None
    except RecursionError as error:
        hand_on(error)
        raise CorruptRegistryError(
            path,
            "is nested too deep",
            remedy="Make the content of the file flatter by hand, or restore a copy of the file",
        ) from None
    except _TooLargeError as error:
        raise CorruptRegistryError(
            path,
            f"has the number {str(error)[:40]}, which is too large to be written back unchanged",
        ) from None
    except ValueError as error:
        hand_on(error)
        limit = sys.get_int_max_str_digits()
        raise CorruptRegistryError(path, f"has an integer of more than {limit} digits") from None
    if not isinstance(decoded, dict):
        raise CorruptRegistryError(path, f"contains {kind_of(decoded)}, not an object")
    return decoded


def parses(text: bytes, path: Path) -> bool:
    """Returns whether other programs that write registries could decode a text."""
    try:
        decode(text, path, lenient=True)
    except CorruptRegistryError as error:
        hand_on(error)
        return False
    return True


def prepare() -> None:
    """Imports the modules that a write needs, so that no lock is held during the import."""
    import encodings.ascii  # noqa: F401

    import msgspec  # noqa: F401


def _indented(registry: Json) -> bytes:
    """Returns the same bytes as ``json.dumps(registry, indent=2)``, but several times faster.

    The standard library is fast only without an indent, because it then encodes in C. So it
    encodes without an indent, and msgspec adds the white space. msgspec refuses NaN and lone
    surrogates, which are not JSON. A registry with such a value is indented by the standard
    library.
    """
    # Imported at the first write: readers do not need it, and the import takes longer than a
    # read.
    import msgspec

    tight = json.dumps(registry).encode("ascii")
    try:
        return msgspec.json.format(tight, indent=2)
    except msgspec.DecodeError as error:
        hand_on(error)
        return json.dumps(registry, indent=2).encode("ascii")


def kind_of(value: object) -> str:
    """Returns the JSON type of a decoded value, with an article."""
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
    """Returns a copy of a caller's fields: encodes the fields as JSON, and decodes this text.

    Raises:
        TypeError: `fields` is not a mapping, or JSON cannot represent a value.
        ValueError: A value contains itself or has more than 500 levels, or two keys are equal
            after their conversion to strings.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields must be a mapping, not {fields!r:.80}")
    text = json.dumps(fields)
    if _depth(text) > _DEEPEST:
        raise ValueError(f"the fields are nested deeper than {_DEEPEST}; make them flatter")
    decoded: Json = json.loads(text, object_pairs_hook=_refuse_duplicates)
    return decoded


_DEEPEST = 500


def _depth(text: str) -> int:
    """Returns an upper bound of a text's nesting depth; brackets inside strings count too."""
    deepest = depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def encode(registry: Json, path: Path) -> bytes:
    """Encodes a registry in the format of the other writers.

    Raises:
        CorruptRegistryError: The registry is nested too deep to be written, or its text is too
            large to be read again.
        TypeError: JSON cannot represent a value.
    """
    try:
        text = _indented(registry)
    except RecursionError as error:
        hand_on(error)
        raise CorruptRegistryError(
            path,
            "is nested too deep to be written",
            remedy="Make the content flatter before you write the registry",
        ) from None
    if len(text) > MAX_BYTES:
        raise CorruptRegistryError(
            path,
            f"would become larger than {MAX_BYTES >> 20} MB",
            remedy="Write less, or move old content to another file",
        )
    if _has_too_many_values(text):
        raise CorruptRegistryError(
            path,
            f"would have more than {MAX_VALUES:,} values",
            remedy="Write less, or move old content to another file",
        )
    return text
