"""Warnings about a whole roll call, which an operator should read before an action. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.sources import Dialect
from registry.text import shown_name
from tui.host.tmux_types import TmuxState
from tui.model.roll import MassDeath, RollCall, WorkspaceRoll
from tui.model.verdict import ENDING
from tui.text.sanitize import fit_id, some, width

_SHORTEST_PATH = 16
"""The least width to which the path of a workspace is cut, in cells."""

_FORMATS = {Dialect.JSON: "JSON", Dialect.SQLITE: "SQLite"}


def notices(roll: RollCall) -> tuple[str, ...]:
    """Returns the warnings about a roll call; empty if there are none."""
    answer = roll.answer
    warnings: list[str] = []
    # If `asked_at` is 0, tmux has not been queried yet.
    if answer.state is TmuxState.UNKNOWN and answer.asked_at:
        warnings.append(f"cannot query tmux at {shown_name(answer.socket)}: {answer.why}")
    if roll.mass_death is not None:
        warning = mass_death_warning(roll.mass_death, answer.socket)
        warnings.append(f"{warning} Try -L NAME or -S PATH.")
    warnings += map(str, roll.databases)
    warnings += (
        f"orphans are unknown: {database}"
        for database in roll.nearby_databases
        if database not in roll.databases
    )
    warnings += (
        f"{some(count, 'agent')} may be alive: {reason}"
        for reason, count in Counter(doubts_of(roll).values()).items()
    )
    return tuple(warnings)


def storage_note(workspace: WorkspaceRoll) -> str:
    """Returns the storage format of a workspace's tasks; empty if all tasks are in JSON files."""
    if Dialect.SQLITE not in workspace.formats:
        return ""
    return f" ({format_names(workspace.formats)})"


def format_names(formats: Iterable[Dialect]) -> str:
    """Returns the names of storage formats, as words; empty for none."""
    return " and ".join(_FORMATS[dialect] for dialect in formats)


def workspace_place(workspace: WorkspaceRoll, cells: int | None) -> str:
    """Returns the path of a workspace and the storage format of its tasks.

    Args:
        workspace: The workspace.
        cells: The largest width of the text; None for no limit. A longer path is cut in the
            middle, so that the storage format is shown.
    """
    path, note = shown_name(workspace.path), storage_note(workspace)
    if cells is None or width(path + note) <= cells:
        return path + note
    return fit_id(path, max(_SHORTEST_PATH, cells - width(note))).rstrip() + note


def mass_death_warning(death: MassDeath, socket: Path) -> str:
    """Returns a warning about a mass death, with its most likely reason."""
    return (
        f"{death.gone} of {death.of} active agents died at once, or before muster started, "
        f"according to tmux at {shown_name(socket)}. Probably this is the wrong socket."
    )


def doubts_of(roll: RollCall) -> Mapping[str, str]:
    """Maps the name of a missing session to the reason why the session may still exist.

    A session is left out if its agent reported its end a moment ago: it has most likely ended.
    """
    doubts = roll.evidence.doubts
    if not doubts:
        return doubts
    ending = {row.record.tmux_session for row in roll.agents() if row.note == ENDING}
    return {name: reason for name, reason in doubts.items() if name not in ending}
