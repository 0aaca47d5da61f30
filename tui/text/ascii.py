"""Replaces characters outside ASCII, and keeps the width of the text. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from tui.text.sanitize import width

_SIGNS = {
    # Verdicts, marks and folds.
    "●": "*", "◐": "~", "✗": "x", "▲": "^", "◆": "#", "✓": "+", "■": "!", "○": "o",
    "†": "-", "▌": "|", "▸": ">", "▾": "v",
    "▶": ">", "▼": "v", "▏": "|",
    # Bars.
    "━": "=", "╸": "=", "╺": "-", "…": "~", "·": ".", "•": "*", "→": ">", "←": "<", "↑": "^",
    "↓": "v", "⏎": "<", "⌫": "<", "│": "|", "┃": "|", "║": "|", "─": "-", "═": "=",
    "▔": "-", "▎": "|", "▊": "|", "▍": "|", "▋": "|", "▐": "|", "▕": "|",
    "\u00d7": "x", "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'",
    "\u201c": '"', "\u201d": '"', "\u201e": '"',
    "▁": "_", "▂": ".", "▃": "-", "▄": "=", "▅": "+", "▆": "*", "▇": "%", "█": "#",
    "\u00a0": " ", "\u3000": " ",
}  # fmt: skip


@lru_cache(4096)
def _one(character: str) -> str:
    if character.isascii():
        return character
    if character in _SIGNS:
        return _SIGNS[character].ljust(width(character))
    cells = width(character)
    if cells == 0:
        return ""
    if "\u2500" <= character <= "\u257f":
        return "+"
    if "\u2580" <= character <= "\u259f":
        return "#"
    if "\u2800" <= character <= "\u28ff":
        return ":" if character != "\u2800" else " "
    # A letter without its accent is easier to read than a question mark.
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return plain if len(plain) == cells and plain.isprintable() else "?" * cells


def ascii_only(text: str) -> str:
    """Returns a text in ASCII that has the same width in cells.

    Args:
        text: A text that is safe to show.
    """
    if text.isascii():
        return text
    done = "".join(map(_one, text))
    cells = width(text)
    # Combined characters may be narrower than the sum of their parts.
    return done[:cells].ljust(cells, "?")


def is_ascii_locale(environment: Mapping[str, str]) -> bool:
    """Whether the locale's encoding is not UTF-8.

    False if no locale is set, because containers and ssh often set no locale, but use UTF-8.
    """
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environment.get(name)
        if value:
            return "utf8" not in value.lower().replace("-", "")
    return False
