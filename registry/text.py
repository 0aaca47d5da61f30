"""Names in messages, and command lines that messages offer. Pure.

An id, a session's name or a path is what a person chooses by, so two that differ never
look the same: nothing of a name is left out, and what would not be seen is escaped. A
command line is offered to be pasted, so it holds each argument exactly, or is not offered.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable

NAME_AT_MOST = 256
"""Characters of one name that are shown; of a longer one its length is said."""

WHOLE_AT_MOST = 1024
"""Characters of the longest name that is shown whole where an action is chosen by it."""

_WORD_AT_MOST = 1024
_LINE_AT_MOST = 2048

# What neither shells nor muster's options take for anything else than a letter.
_PLAIN = frozenset("_./:@+,-")

# "…" marks a cut in what is shown, a quote and a backslash what is escaped.
_OWN_SIGNS = frozenset("\\…")
_QUOTES = ("'", '"')

_IGNORABLE = (
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160)),
    *((0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E)),
    *((0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)),
    (0xE0000, 0xE0FFF),
)
"""First and last of what is not drawn where it has no effect: Default_Ignorable_Code_Point
in DerivedCoreProperties.txt of the Unicode Character Database. The ranges have been the same
from version 14 on."""

# Blank braille, null notehead, Khitan filler, blank hieroglyphs, and what stands for an object.
_BLANK = frozenset("\u2800\U0001d159\U00016fe4\U00013441\U00013442\ufffc")


def is_invisible(character: str) -> bool:
    """Whether a character, though it may be called printable, shows nothing."""
    code = ord(character)
    return character in _BLANK or any(first <= code <= last for first, last in _IGNORABLE)


def is_plain(name: str, limit: int = NAME_AT_MOST) -> bool:
    """Whether a name can be shown as it is, and looks like no other one's escaped form."""
    if not name or len(name) > limit or not name.isprintable():
        return False
    if name != name.strip() or name.startswith(_QUOTES) or not _OWN_SIGNS.isdisjoint(name):
        return False
    return name.isascii() or not any(
        unicodedata.category(each) in ("Mn", "Me") or is_invisible(each) for each in name
    )


def shown_name(name: object, limit: int = NAME_AT_MOST) -> str:
    """A name as it is if it is plain; otherwise quoted, with all that is not ASCII escaped.

    Args:
        name: An id, a session's name, a path; what `str` makes of anything else.
        limit: Characters of it to show.
    """
    text = str(name)
    return text if is_plain(text, limit) else quoted_name(text, limit)


def quoted_name(name: object, limit: int = NAME_AT_MOST) -> str:
    """A name in quotes and in ASCII: for a message, whatever is in it.

    Args:
        name: Anything; what is behind `limit` is not looked at.
        limit: Characters of it to show.
    """
    text = str(name)
    if len(text) <= limit:
        return ascii(text)
    return f"{text[:limit]!a}… ({len(text)} characters)"


def whole_name(name: str) -> str:
    """A name where an action is chosen by it: whole, and told from every lookalike.

    Letters of other scripts can look like Latin ones, so such a name is escaped as well.
    One that is too long to be compared is told by its hash.
    """
    if len(name) > WHOLE_AT_MOST:
        from hashlib import sha256  # Only for a name that nobody can compare by eye.

        digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{quoted_name(name)[:-1]}, SHA-256 {digest[:16]}…)"
    said = shown_name(name, WHOLE_AT_MOST)
    return said if said.isascii() else f"{said} ({quoted_name(name, WHOLE_AT_MOST)})"


def typed_word(word: str) -> str | None:
    """A word as a shell takes it, or None if nobody can type it for sure.

    Only printable ASCII is typed as it is shown, on every terminal and in every shell.
    A backslash within quotes means itself to some shells, and not to others.
    """
    if not word or len(word) > _WORD_AT_MOST or "\\" in word:
        return None
    if not (word.isascii() and word.isprintable()):
        return None
    return shell_word(word)


def shell_word(word: str) -> str:
    """A word in quotes if it needs them, whatever is in it; to be copied, not to be read."""
    if all(each.isalnum() or each in _PLAIN for each in word) and word:
        return word
    quoted = shlex.quote(word)
    # zsh and fish give a meaning to some words that need no quotes elsewhere.
    return f"'{word}'" if quoted == word else quoted


def command_line(
    *words: str, names: Iterable[str] = (), options: Iterable[tuple[str, str]] = ()
) -> str | None:
    """The one way to compose a command line that is shown to be pasted.

    Args:
        words: The program, its command and flags, written in muster's own source.
        names: Arguments that stand for themselves, such as ids; a ``--`` comes before
            them where one looks like an option.
        options: Options with their values, for example ``("-S", socket)``.

    Returns:
        The line; None if a value or a name cannot be typed for sure: say in words how to act.
    """
    given, values = list(names), list(options)
    if any(value.startswith("-") for _, value in values):
        return None
    with_options = [each for pair in values for each in pair]
    if any(each.startswith("-") for each in given):
        line = [*words, *with_options, "--", *given]
    else:
        line = [*words, *given, *with_options]
    as_typed = [typed_word(each) for each in line]
    said = " ".join(each for each in as_typed if each is not None)
    return None if None in as_typed or len(said) > _LINE_AT_MOST else said


def choices(names: Iterable[str]) -> str:
    """Names to choose from by typing one; those that cannot be typed are only counted."""
    given = list(dict.fromkeys(names))
    can = [each for each in map(typed_word, given[:_CHOICES]) if each is not None]
    left = len(given) - len(can)
    if left:
        can.append(f"{left} more" if can else f"{left} whose names cannot be typed")
    return ", ".join(can)


_CHOICES = 50
