"""Texts that would act on a terminal, and a check for their characters."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

HARMFUL_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

WIDENING = frozenset({*map(chr, range(0xFE00, 0xFE10)), "\u20e3"})
"""Characters that change the width of the character before them in some terminals only."""

NASTY = (
    "\u26a0\ufe0f 1\ufe0f\u20e3 x\ufe0e",
    "\x1b[2J",
    "\x1b]52;c;Y3VybA==\x07",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\u200b\u200d\u200f\ufeff",
    "\ud800",
    "\ue000\U000f0000",
    "\U000e0041",
    "\u2028\u2029",
    "a\nb\rc\td\x00\x7f\x08",
    "e" + "\u0301" * 30,
    "[/x][@click=app.quit]x[/]",
    "\u0378",
)
"""One example of each kind of text that must not reach a terminal unchanged."""


def harmful(text: str) -> set[str]:
    """Returns the characters of a text that must not reach a terminal."""
    return {each for each in text if unicodedata.category(each) in HARMFUL_CATEGORIES} | (
        WIDENING & set(text)
    )


_WIDE = "日本語한글ｆｕ👍🏽👨‍👩‍👧🇩🇪é️é"

any_text = st.one_of(
    # With lone surrogates, because escapes in JSON can contain them.
    st.text(st.characters(), max_size=80),
    st.lists(
        st.one_of(st.sampled_from(NASTY), st.sampled_from(sorted(_WIDE)), st.text(max_size=4)),
        max_size=30,
    ).map("".join),
)
"""Any text; characters that terminals act on or draw wide are more frequent than by chance."""
