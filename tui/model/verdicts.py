"""The table of all verdicts: what each looks like and means. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tui.model.roll import Verdict
from tui.text.ascii import ascii_only


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """How one verdict is shown and explained.

    Attributes:
        urgency: Its rank among all verdicts; 0 is the most urgent.
        glyph: Its sign, one cell wide; its ASCII sign is in `tui.text.ascii`.
        style: A colour of the theme, then text styles.
        meaning: What is true of an agent with this verdict.
        advice: What a user can do about it.
    """

    urgency: int
    glyph: str
    style: str
    meaning: str
    advice: str

    @property
    def ascii_glyph(self) -> str:
        """Its sign on terminals that show nothing beyond ASCII."""
        return ascii_only(self.glyph)


VERDICTS: Mapping[Verdict, VerdictEntry] = MappingProxyType(
    {
        Verdict.LIVE: VerdictEntry(
            5,
            "●",
            "$success",
            "active in the registry, and its session is there",
            "nothing",
        ),
        Verdict.STALLED: VerdictEntry(
            1,
            "◐",
            "$warning bold",
            "live, but without a report or output for a long time",
            "look into its session, or kill it",
        ),
        Verdict.ZOMBIE: VerdictEntry(
            0,
            "✗",
            "$error bold",
            "active in the registry, but its session is gone; proven twice",
            "complete it, or kill it if processes of it are left",
        ),
        Verdict.LEAKED: VerdictEntry(
            2,
            "▲",
            "$accent bold",
            "terminal status in the registry, but its session is still there",
            "kill it: that ends the session",
        ),
        Verdict.ORPHAN: VerdictEntry(
            3,
            "◆",
            "$secondary bold",
            "a session named like an agent's that no registry lists",
            "kill it, if it is not the session of another workspace",
        ),
        Verdict.UNKNOWN: VerdictEntry(
            4,
            "?",
            "$warning italic",
            "tmux cannot tell, it is too early, or its session is another's",
            "read the note: it says why, and what to try",
        ),
        Verdict.FINISHED: VerdictEntry(
            6,
            "✓",
            "dim",
            "terminal status in the registry, and its session is gone",
            "nothing",
        ),
    }
)
"""Every verdict, in the order in which the counters, keys, lists and help show them."""


def verdict_lines() -> list[str]:
    """One line for each verdict: its word and what it means."""
    return [f"{verdict.value:<10}{entry.meaning}" for verdict, entry in VERDICTS.items()]
