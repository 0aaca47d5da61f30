"""Formats names and command lines for messages. Pure.

A user chooses an agent by its id, its session's name or a path. So different names must never look
the same. Invisible characters are escaped, and a cut name is marked. Users paste the command lines
of messages into a shell. So a command line contains each argument exactly. If that is not
possible, the message contains no command line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

NAME_AT_MOST = 256
"""The number of characters to show of a name; a longer name is cut, and its length is added."""

WHOLE_AT_MOST = 1024
"""The number of characters to show of a name by which the user decides about an action."""

_WORD_AT_MOST = 1024
_LINE_AT_MOST = 2048

# Characters without a special meaning for shells and for muster's options.
_PLAIN = frozenset("_./:@+,-")

# Shown text uses "…" for a cut, and a quote or a backslash for an escape.
_OWN_SIGNS = frozenset("\\…")
_QUOTES = ("'", '"')

_IGNORABLE = (
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160)),
    *((0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E)),
    *((0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)),
    (0xE0000, 0xE0FFF),
)
"""The ranges of characters that fonts may draw as nothing: the first and last code points.

They are Default_Ignorable_Code_Point in DerivedCoreProperties.txt of the Unicode Character
Database, unchanged since version 14."""

# Blank braille, null notehead, Khitan filler, blank hieroglyphs, object replacement character.
_BLANK = frozenset("\u2800\U0001d159\U00016fe4\U00013441\U00013442\ufffc")


def is_invisible(character: str) -> bool:
    """Returns whether fonts may draw a character as nothing, even if Python calls it printable."""
    code = ord(character)
    return character in _BLANK or any(first <= code <= last for first, last in _IGNORABLE)


def may_join(character: str) -> bool:
    """Returns whether some terminals join a character with the character before it.

    These are the skin tones, and the letters of which two are a flag (regional indicators).
    Terminals and versions of tmux measure the joined sign differently.
    """
    return "\U0001f3fb" <= character <= "\U0001f3ff" or is_flag_letter(character)


def is_flag_letter(character: str) -> bool:
    """Returns whether a character is a regional indicator: a letter of which two are a flag."""
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def is_plain(name: str, limit: int = NAME_AT_MOST) -> bool:
    """Returns whether a name can be shown unchanged, because no other name looks the same."""
    if not name or len(name) > limit or not name.isprintable():
        return False
    if name != name.strip() or name.startswith(_QUOTES) or not _OWN_SIGNS.isdisjoint(name):
        return False
    if name.isascii():
        return True
    # Two spellings of one text, such as U+00C5 and U+212B, look the same in every font.
    return unicodedata.is_normalized("NFC", name) and not any(
        unicodedata.category(character) in ("Mn", "Me")
        or is_invisible(character)
        or may_join(character)
        for character in name
    )


def shown_name(name: object, limit: int = NAME_AT_MOST) -> str:
    """Returns a name unchanged if it is plain (`is_plain`), or else as `quoted_name` does.

    Args:
        name: An id, a session's name or a path; any other object is converted by `str`.
        limit: The number of characters to show.
    """
    text = str(name)
    return text if is_plain(text, limit) else quoted_name(text, limit)


def quoted_name(name: object, limit: int = NAME_AT_MOST) -> str:
    """Returns a name in quotes; non-ASCII characters and control characters are escaped.

    Args:
        name: Any object; converted by `str`.
        limit: The number of characters to show. A longer name is cut, and its length is added.
    """
    text = str(name)
    if len(text) <= limit:
        return ascii(text)
    return f"{text[:limit]!a}… ({len(text)} characters)"


def whole_name(name: str) -> str:
    """Returns a text for a name in a question about an action.

    Different names have different texts. Letters of other scripts can look like Latin letters. So
    the escaped form is added to a name with such letters. A name of more than `WHOLE_AT_MOST`
    characters is cut, and its hash is added.
    """
    if len(name) > WHOLE_AT_MOST:
        from hashlib import sha256  # Imported here because such names are rare.

        digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{quoted_name(name)[:-1]}, SHA-256 {digest[:16]}…)"
    shown = shown_name(name, WHOLE_AT_MOST)
    return shown if shown.isascii() else f"{shown} ({quoted_name(name, WHOLE_AT_MOST)})"


def typed_word(word: str) -> str | None:
    """Returns a word quoted for a shell; None if a user could type or paste the word wrongly.

    Only printable ASCII is the same on every terminal and in every shell. A word with a backslash
    is refused too, because shells interpret a backslash inside quotes differently.
    """
    if not word or len(word) > _WORD_AT_MOST or "\\" in word:
        return None
    if not (word.isascii() and word.isprintable()):
        return None
    return shell_word(word)


def shell_word(word: str) -> str:
    """Returns a word for a shell, in quotes if necessary. It can have invisible characters."""
    if all(character.isalnum() or character in _PLAIN for character in word) and word:
        return word
    # Imported here because few words need quotes.
    import shlex

    quoted = shlex.quote(word)
    # In zsh and fish some words are special that need no quotes in other shells.
    return f"'{word}'" if quoted == word else quoted


def command_line(
    *words: str, names: Iterable[str] = (), options: Iterable[tuple[str, str]] = ()
) -> str | None:
    """Composes a command line that the user can paste. All messages use this function.

    Args:
        words: The program, its command and flags, which are constants of muster.
        names: Positional arguments, such as ids. If any of these begins with a hyphen, ``--`` is
            put before the first one.
        options: Options with their values, for example ``("-S", socket)``.

    Returns:
        The command line. None if a user could type or paste a word wrongly; then the caller
        describes the action in words.
    """
    positional, values = list(names), list(options)
    if any(value.startswith("-") for _, value in values):
        return None
    option_words = [word for pair in values for word in pair]
    if any(name.startswith("-") for name in positional):
        line = [*words, *option_words, "--", *positional]
    else:
        line = [*words, *positional, *option_words]
    typed = [typed_word(word) for word in line]
    command = " ".join(word for word in typed if word is not None)
    return None if None in typed or len(command) > _LINE_AT_MOST else command


def choices(names: Iterable[str]) -> str:
    """Returns names for the user to type; names that cannot be typed are only counted."""
    distinct = list(dict.fromkeys(names))
    shown = [word for word in map(typed_word, distinct[:_CHOICES]) if word is not None]
    left = len(distinct) - len(shown)
    if left:
        names = "name" if left == 1 else "names"
        shown.append(f"{left} more" if shown else f"{left} {names} that cannot be typed")
    return ", ".join(shown)


_CHOICES = 50
