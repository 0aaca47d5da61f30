"""Makes untrusted text safe to show, and formats ages and sizes. Pure.

All text from registries, tmux and logs goes through `harmless` before it is shown on the screen or
on standard output. Ids, session names and paths go through `registry.text` instead. `harmless`
drops some characters, but two different names must never look the same.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from registry.text import NAME_AT_MOST, is_flag_letter, is_invisible, may_join, shown_name

SHOWN_AT_MOST = 4096
"""How many characters of one text are shown; the rest is cut off."""

# Categories of characters that move the cursor, start an escape sequence, or reorder or hide
# text, and of characters that terminals draw differently: control, format (bidi marks, zero
# width joiners), surrogate, private use, unassigned, line and paragraph separator.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_COMBINING_AT_MOST = 2

_CHUNKS_OF_A_PIECE = 10_000

# In less room, the end of an id is cut.
_SHORTEST_ID = 8

# The end of an agent's id after its type: the time and random digits, or any short part.
_ID_END = r"(?:-\d{6})?-([0-9A-Za-z]{1,8})$"

# The shortest end of an id that still tells agents apart.
_SHORTEST_END = 4

# Variation selectors and the keycap mark. Some terminals and versions of tmux change the width of
# the character before such a mark, others do not.
_WIDENING = frozenset({*map(chr, range(0xFE00, 0xFE10)), "\u20e3"})

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e"}


def harmless(text: str, limit: int = SHOWN_AT_MOST) -> str:
    """Makes a text safe to show on one line: control characters become escapes.

    Skin tones are dropped, and a flag becomes its two letters.

    The text is cut before the characters are examined, so the time is limited.

    Args:
        text: Any text.
        limit: The number of characters to keep; ``…`` replaces the rest.
    """
    cut = text[:limit]
    if cut.isascii() and cut.isprintable():
        return cut if len(text) <= limit else cut + "…"
    shown = []
    marks = 0
    for character in cut:
        category = unicodedata.category(character)
        if character in _WIDENING or may_join(character):
            if is_flag_letter(character):
                shown.append(chr(ord(character) - ord("\U0001f1e6") + ord("A")))
            continue
        if category in _HARMFUL or _is_filler(character, category):
            shown.append(_SHORT.get(character) or _escaped(character))
            marks = 0
        elif category in ("Mn", "Me"):
            # Terminals draw a letter with many marks over the neighbouring lines.
            marks += 1
            if marks <= _COMBINING_AT_MOST:
                shown.append(character)
        else:
            shown.append(character)
            marks = 0
    if len(text) > limit:
        shown.append("…")
    return "".join(shown)


def _is_filler(character: str, category: str) -> bool:
    """Whether a character is invisible, and could make two texts look the same.

    False for combining marks, which `harmless` counts separately. False for the blank braille
    character, too, because charts in agents' output contain this character.
    """
    return category not in ("Mn", "Me") and character != "\u2800" and is_invisible(character)


class _Escapes(dict[int, str]):
    """Maps each character code to the text that is shown; computes a text at its first use."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        harmful = unicodedata.category(character) in _HARMFUL
        shown = (_SHORT.get(character) or _escaped(character)) if harmful else character
        self[code] = shown
        return shown


_ESCAPES = _Escapes({0x0A: "\n"})


def inert(text: str) -> str:
    """Escapes all control characters except the line feed.

    Unlike `harmless`, this function does not cut the text, and drops no characters.
    """
    if text.isascii() and (text.isprintable() or text.replace("\n", "").isprintable()):
        return text
    return text.translate(_ESCAPES)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def named(agent_id: str | None, limit: int = NAME_AT_MOST) -> str:
    """Returns an agent's id as safe text, or ``(no id)``. Different ids look different."""
    return shown_name(agent_id, limit) if agent_id else "(no id)"


def harmless_lines(text: str, limit: int = SHOWN_AT_MOST) -> list[str]:
    """Splits a text into lines that are safe to show; expands tabs."""
    cut = text[:limit] + ("…" if len(text) > limit else "")
    return [harmless(line.expandtabs(4)) for line in cut.replace("\r\n", "\n").split("\n")]


def width(text: str) -> int:
    """Returns the width of a safe text in terminal cells."""
    if text.isascii():
        return len(text)
    # Imported at the first text that needs it; most texts are ASCII.
    from rich.cells import cell_len

    return cell_len(text)


def fit(text: str, cells: int) -> str:
    """Cuts or pads a safe text to an exact width in cells; a cut text ends in ``…``."""
    if cells <= 0:
        return ""
    if width(text) <= cells:
        return _sized(text, cells)
    return _sized(_sized(text, cells - 1).rstrip() + "…", cells)


def _sized(text: str, cells: int) -> str:
    """Cuts or pads a safe text to an exact width in cells."""
    if text.isascii():
        return text[:cells].ljust(cells)
    from rich.cells import set_cell_size

    return set_cell_size(text, cells)


def fit_id(text: str, cells: int) -> str:
    """Cuts or pads an id like `fit`, but cuts in the middle, because ids differ at their end."""
    wide = width(text)
    if wide <= cells or cells < _SHORTEST_ID:
        return fit(text, cells)
    tail = _last_cells(text, min(cells // 2, 14))
    head = _sized(text, cells - 1 - width(tail)).rstrip()
    return _sized(f"{head}…{tail}", cells)


def fit_agent(name: str, kind: str, cells: int) -> str:
    """Cuts or pads an agent's id to an exact width, and adds the agent's type if there is room.

    The type at the start of an id is cut last; of the end, the last characters stay, because they
    tell agents of one type apart.

    Args:
        name: The agent's id; safe text.
        kind: The agent's type; safe text, which may be empty.
        cells: The width.
    """
    end = re.search(_ID_END, name)
    start = name[: end.start()] if end else name
    is_told = name.startswith(kind) or kind.startswith(start)
    if not is_told and width(name) + width(kind) + 3 <= cells:
        return fit(f"{name} ({kind})", cells)
    if end is None or width(name) <= cells or cells < _SHORTEST_ID:
        return fit_id(name, cells)
    room = cells - 1
    kept = max(min(_SHORTEST_END, len(end[1])), min(len(end[1]), room - width(start)))
    head = start if width(start) + kept <= room else _sized(start, room - kept)
    return _sized(f"{head.rstrip()}…{end[1][len(end[1]) - kept :]}", cells)


def _last_cells(text: str, cells: int) -> str:
    start = len(text)
    while start > 0 and width(text[start - 1 :]) <= cells:
        start -= 1
    return text[start:]


def age(seconds: float | None) -> str:
    """Returns an age in one unit and at most four characters, such as ``5m``.

    Args:
        seconds: The age in seconds; None if unknown. An age below a minute becomes ``<1m``.
            A time more than a minute in the future becomes ``?``, because the clocks or
            time zones differ.
    """
    if seconds is None:
        return "-"
    if seconds < -60:
        return "?"
    minutes = int(seconds // 60)
    if minutes < 1:
        return "<1m"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h"
    return f"{min(minutes // (24 * 60), 999)}d"


def age_in_words(seconds: float) -> str:
    """Returns an age for a sentence, such as ``2 h 5 min``."""
    total = max(0, int(seconds))
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else "less than a minute"


def size(count: int) -> str:
    """Returns a number of bytes with its unit, such as ``12 MB``."""
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"


def short_size(count: int) -> str:
    """Returns a number of bytes in at most five characters, rounded to two significant digits."""
    amount = float(count)
    for unit in ("B", "K", "M", "G", "T"):
        if _coarse(amount) < 1000 or unit == "T":
            break
        amount /= 1024
    amount = min(_coarse(amount), 9999.0)
    return f"{amount:.1f}{unit}" if amount < 10 and unit != "B" else f"{amount:.0f}{unit}"


def short_percent(percent: float) -> str:
    """Returns a percentage in at most five characters, rounded to two significant digits."""
    return f"{min(_coarse(percent) if percent >= 10 else round(percent), 9999):.0f}%"


def _coarse(amount: float) -> float:
    """Rounds a number to two significant digits."""
    return float(f"{amount:.2g}")


def some(count: int, one: str, many: str | None = None) -> str:
    """Returns a count with its noun: ``1 agent``, ``3 agents``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def as_json(value: Any) -> str:
    """Returns a value as indented JSON; all characters except printable ASCII are escaped."""
    return "".join(json_pieces(value))


def json_pieces(value: Any) -> Iterator[str]:
    """Yields the text that `as_json` returns, in pieces, so that large values need less memory.

    The encoder makes millions of short strings from a large value. All strings together would need
    many times the memory of the text.
    """
    chunks = json.JSONEncoder(indent=2).iterencode(value)
    while piece := "".join(itertools.islice(chunks, _CHUNKS_OF_A_PIECE)):
        yield piece.replace("\x7f", "\\u007f")


def as_json_line(value: Any) -> str:
    """Returns a value as JSON on one line, with the escapes of `as_json`."""
    return json.dumps(value).replace("\x7f", "\\u007f")
