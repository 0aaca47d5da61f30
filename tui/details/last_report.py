"""The last report of an agent, as one line of safe text and as JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tui.text.sanitize import fit, harmless

if TYPE_CHECKING:
    from registry.agent_output import ProgressReport
    from registry.schema import AgentRecord

_READ_AT_MOST = 2000
"""How many characters of a message are looked at."""

# An orchestrator may write the first report of an agent before the agent's start.
_CLOCKS_DIFFER = 5.0


def since_start(report: ProgressReport | None, record: AgentRecord) -> ProgressReport | None:
    """Returns a report; None if it is from before the start of an agent that was started anew.

    Args:
        report: The last report with the agent's id, or None.
        record: The agent's entry in the registry.
    """
    if report is None or report.at is None or record.started is None:
        return report
    return report if report.at > record.started - _CLOCKS_DIFFER else None


def report_text(report: ProgressReport | None, cells: int | None = None) -> str:
    """Returns the message of a report as safe text on one line; ``-`` without a message.

    Args:
        report: The report, or None.
        cells: The exact width, to which the text is cut or padded; None for the whole text.
    """
    words = " ".join(report.message[:_READ_AT_MOST].split()) if report is not None else ""
    text = harmless(words, _READ_AT_MOST) or "-"
    if report is not None and len(report.message) > _READ_AT_MOST and not text.endswith("…"):
        text += "…"
    return text if cells is None else fit(text, cells)


def report_json(report: ProgressReport | None) -> dict[str, Any] | None:
    """Returns a report as JSON; None (null) without a report."""
    if report is None:
        return None
    # `dataclasses.asdict` would import more than the rest of `muster list`.
    return {
        "timestamp": report.timestamp,
        "at": report.at,
        "status": report.status,
        "progress": report.progress,
        "message": report.message,
    }
