"""Untrusted text made harmless; ages and sizes in few characters. Pure.

Everything that comes from a registry, from tmux or from a log goes through
`harmless` before it is shown, on a screen or on standard output. What something is
chosen by, an id, a session's name or a path, goes through `registry.text` instead:
`harmless` leaves out some marks, and two names must never look the same.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from registry.text import NAME_AT_MOST, is_invisible, shown_name

SHOWN_AT_MOST = 4096
"""Characters of one text that are looked at; what is behind them is cut off."""

# Categories that move the cursor, start an escape sequence, reorder or hide text,
# or that terminals draw each in their own way: control, format (bidi marks, zero
# width joiners), surrogate, private use, unassigned, line and paragraph separator.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_COMBINING_AT_MOST = 2

# Variation selectors and the mark that makes a key of a character: they change how wide the
# character before them is, in some terminals (and versions of tmux) and not in others.
_WIDENING = frozenset({*map(chr, range(0xFE00, 0xFE10)), "\u20e3"})

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e"}


def harmless(text: str, limit: int = SHOWN_AT_MOST) -> str:
    """Makes a text safe to show on one line: what acts on a terminal becomes visible.

    The length is cut first, so that no size of input costs more than `limit`.

    Args:
        text: Anything.
        limit: Characters of it to keep.
    """
    cut = text[:limit]
    if cut.isascii() and cut.isprintable():
        return cut if len(text) <= limit else cut + "…"
    shown = []
    marks = 0
    for character in cut:
        category = unicodedata.category(character)
        if character in _WIDENING:
            continue
        if category in _HARMFUL or _is_filler(character, category):
            shown.append(_SHORT.get(character) or _escaped(character))
            marks = 0
        elif category in ("Mn", "Me"):
            # More than a few marks on one letter are drawn across other lines.
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
    """Whether a letter or sign that shows nothing could make two texts look the same.

    Blank braille is part of charts in what agents put out; marks are counted apart.
    """
    return category not in ("Mn", "Me") and character != "\u2800" and is_invisible(character)


class _Escapes(dict[int, str]):
    """What each character is shown as; worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        harmful = unicodedata.category(character) in _HARMFUL
        shown = (_SHORT.get(character) or _escaped(character)) if harmful else character
        self[code] = shown
        return shown


_ESCAPES = _Escapes({0x0A: "\n"})


def inert(text: str) -> str:
    """A text of several lines in which nothing acts on a terminal but the line feed.

    Unlike `harmless` it cuts nothing off and leaves nothing out.
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
    """An agent's id where it is shown to be told from others'; also where it has none."""
    return shown_name(agent_id, limit) if agent_id else "(no id)"


def harmless_lines(text: str, limit: int = SHOWN_AT_MOST) -> list[str]:
    """Makes a text safe to show on several lines: only line ends keep their effect."""
    cut = text[:limit] + ("…" if len(text) > limit else "")
    return [harmless(line.expandtabs(4)) for line in cut.replace("\r\n", "\n").split("\n")]


def width(text: str) -> int:
    """How many terminal cells a harmless text takes."""
    if text.isascii():
        return len(text)
    # Imported for the first text that needs it: most have none but ASCII letters.
    from rich.cells import cell_len

    return cell_len(text)


def fit(text: str, cells: int) -> str:
    """Cuts or pads a harmless text to exactly so many cells; a cut ends in ``…``."""
    if cells <= 0:
        return ""
    if width(text) <= cells:
        return _sized(text, cells)
    return _sized(_sized(text, cells - 1).rstrip() + "…", cells)


def _sized(text: str, cells: int) -> str:
    """Cuts or pads a harmless text to exactly so many cells."""
    if text.isascii():
        return text[:cells].ljust(cells)
    from rich.cells import set_cell_size

    return set_cell_size(text, cells)


def fit_id(text: str, cells: int) -> str:
    """As `fit`, but cuts in the middle: an id's end tells it from its siblings."""
    wide = width(text)
    if wide <= cells or cells < 16:
        return fit(text, cells)
    tail = _last_cells(text, min(cells // 2, 14))
    head = _sized(text, cells - 1 - width(tail)).rstrip()
    return _sized(f"{head}…{tail}", cells)


def _last_cells(text: str, cells: int) -> str:
    start = len(text)
    while start > 0 and width(text[start - 1 :]) <= cells:
        start -= 1
    return text[start:]


def age(seconds: float | None) -> str:
    """How long ago, in one unit and at most four characters; changes once a minute.

    Args:
        seconds: None for unknown; below a minute it is ``<1m``. More than a minute in
            the future, which is another clock or zone, it is ``?``.
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
    """How long ago, for a sentence: ``2 h 5 min``; changes once a minute."""
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
    """A number of bytes, in the largest unit that leaves at least one."""
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TB"


def short_size(count: int) -> str:
    """A number of bytes in at most five characters; coarse, so that it seldom changes."""
    amount = float(count)
    for unit in ("B", "K", "M", "G", "T"):
        if _coarse(amount) < 1000 or unit == "T":
            break
        amount /= 1024
    amount = min(_coarse(amount), 9999.0)
    return f"{amount:.1f}{unit}" if amount < 10 and unit != "B" else f"{amount:.0f}{unit}"


def short_percent(percent: float) -> str:
    """A percentage in at most five characters; coarse, so that it seldom changes."""
    return f"{min(_coarse(percent) if percent >= 10 else round(percent), 9999):.0f}%"


def _coarse(amount: float) -> float:
    """A number with two digits that count."""
    return float(f"{amount:.2g}")


def some(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: ``1 agent``, ``3 agents``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def as_json(value: Any) -> str:
    """JSON in ASCII in which every control character is escaped."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")


def as_json_line(value: Any) -> str:
    """As `as_json`, on one line."""
    return json.dumps(value).replace("\x7f", "\\u007f")
