"""The table of verdicts: the meaning of each verdict, and how it is shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from registry.dataclass import dataclass
from tui.model.roll import Verdict
from tui.text.ascii import ascii_only


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """The appearance and the explanation of one verdict.

    Attributes:
        urgency: The rank of the verdict among all verdicts; 0 is the most urgent.
        glyph: The symbol, one cell wide; `tui.text.ascii` has the ASCII symbol.
        style: A colour of the theme, then text styles.
        meaning: The state of an agent with this verdict.
        advice: What the user can do.
    """

    urgency: int
    glyph: str
    style: str
    meaning: str
    advice: str

    @property
    def ascii_glyph(self) -> str:
        """The symbol for terminals that show only ASCII."""
        return ascii_only(self.glyph)


VERDICTS: Mapping[Verdict, VerdictEntry] = MappingProxyType(
    {
        Verdict.LIVE: VerdictEntry(
            5,
            "●",
            "$success",
            "active in the registry, and its session exists",
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
            "complete it, or kill it if some of its processes still run",
        ),
        Verdict.LEAKED: VerdictEntry(
            2,
            "▲",
            "$accent bold",
            "terminal status in the registry, but its session still exists",
            "kill it to end the session",
        ),
        Verdict.ORPHAN: VerdictEntry(
            3,
            "◆",
            "$secondary bold",
            "a session that no registry lists, but that is named like an agent's session",
            "kill it if it does not belong to another workspace",
        ),
        Verdict.UNKNOWN: VerdictEntry(
            4,
            "?",
            "$warning italic",
            "not certain yet, no answer of tmux, or a reused session name",
            "read the note: it gives the reason and the remedy",
        ),
        Verdict.FINISHED: VerdictEntry(
            6,
            "✓",
            "dim",
            "terminal status in the registry, and no known session",
            "nothing",
        ),
    }
)
"""Maps all verdicts to their entries, in the order of the counters, keys, lists and help."""


def verdict_lines() -> list[str]:
    """Returns one line for each verdict, with its name and meaning."""
    return [f"{verdict.value:<10}{entry.meaning}" for verdict, entry in VERDICTS.items()]
