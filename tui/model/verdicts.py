"""The table of verdicts: the meaning of each verdict, and how it is shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from registry.dataclass import dataclass
from tui.model.roll import AgentRow, Verdict
from tui.text.ascii import ascii_only


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """The appearance and the explanation of one verdict.

    Attributes:
        key: The key that shows only the agents with this verdict.
        urgency: The rank of the verdict among all verdicts; 0 is the most urgent.
        glyph: The symbol, one cell wide; `tui.text.ascii` has the ASCII symbol.
        style: A colour of the theme, then text styles.
        meaning: The state of an agent with this verdict.
        advice: What the user can do.
    """

    key: str
    urgency: int
    glyph: str
    style: str
    meaning: str
    advice: str

    @property
    def ascii_glyph(self) -> str:
        """The symbol for terminals that show only ASCII."""
        return ascii_only(self.glyph)


TERMINATED = "†"
"""The symbol of a finished agent that was killed, or whose status is terminated."""

VERDICTS: Mapping[Verdict, VerdictEntry] = MappingProxyType(
    {
        Verdict.LIVE: VerdictEntry(
            "1",
            7,
            "●",
            "$success",
            "active in the registry, and its session exists",
            "nothing",
        ),
        Verdict.BLOCKED: VerdictEntry(
            "9",
            2,
            "○",
            "$primary bold",
            "live, but with the status blocked: it waits for somebody",
            "read its last report, and give it what it waits for",
        ),
        Verdict.STALLED: VerdictEntry(
            "2",
            1,
            "◐",
            "$warning bold",
            "live or blocked, but without a report or output for a long time",
            "look into its session, or kill it",
        ),
        Verdict.ZOMBIE: VerdictEntry(
            "3",
            0,
            "✗",
            "$error bold",
            "active in the registry, but its session is gone; proven twice",
            "complete it, or kill it if some of its processes still run",
        ),
        Verdict.FAILED: VerdictEntry(
            "8",
            3,
            "■",
            "$failed",
            "ended with the status failed or error; no known session",
            "read its last output",
        ),
        Verdict.LEAKED: VerdictEntry(
            "4",
            4,
            "▲",
            "$accent bold",
            "terminal status in the registry, but its session still exists",
            "kill it to end the session",
        ),
        Verdict.ORPHAN: VerdictEntry(
            "5",
            5,
            "◆",
            "$secondary bold",
            "a session that no registry lists, but that is named like an agent's session",
            "kill it if it does not belong to another workspace",
        ),
        Verdict.UNKNOWN: VerdictEntry(
            "6",
            6,
            "?",
            "$warning italic",
            "not certain yet, no answer of tmux, or a reused session name",
            "read the note: it gives the reason and the remedy",
        ),
        Verdict.FINISHED: VerdictEntry(
            "7",
            8,
            "✓",
            "dim",
            f"completed, or terminated ({TERMINATED}); no known session",
            "nothing",
        ),
    }
)
"""Maps all verdicts to their entries, in the order of the counters, lists and help."""


def glyph_of(row: AgentRow) -> str:
    """Returns the symbol of an agent, which tells terminated agents from completed ones."""
    if row.verdict is Verdict.FINISHED and row.ended_as == "terminated":
        return TERMINATED
    return VERDICTS[row.verdict].glyph


def verdict_lines() -> list[str]:
    """Returns one line for each verdict, with its name and meaning."""
    return [f"{verdict.value:<10}{entry.meaning}" for verdict, entry in VERDICTS.items()]
