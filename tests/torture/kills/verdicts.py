"""Counts what kills left behind, and the faults that were found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from registry.storage.journal import decode, is_over, journal_path
from tests.support.kept_journals import without_kept
from tests.torture.kills.cases import Case, Files

FAULTS = ("torn", "mixed", "lost", "halved", "doubled", "left_behind", "stuck")


@dataclass(slots=True)
class Counts:
    """Counts of kills, of the states after the kills, and of faults.

    Attributes:
        kills: By the interrupted action: "commit", "write cut short", "refusal" (the disk was
            full, and the change is being taken back), "recovery", "crowd".
        states: The states of the files after killed commits, by kind.
        recoveries: The number of recoveries with a check.
        peer_changes: The number of changes that a peer made between a kill and the recovery.
        recovered: The commits that the members of a crowd finished or rolled back.
        acknowledged: The acknowledged updates of a crowd.
        torn: The registries that were invalid JSON after the recovery.
        mixed: The registries that were valid JSON, but had neither the old nor the new text. Texts
            before the recovery count too, because a peer could have read them.
        lost: The acknowledged changes that were missing, and refused changes that were present.
        halved: The changes of two files that were present in only one file.
        doubled: The changes that were present twice.
        left_behind: The files that were left in a registry's directory after the recovery.
        stuck: The recoveries that did not end.
        seconds: The duration.
        complaints: Descriptions of the first faults.
    """

    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    recoveries: int = 0
    peer_changes: int = 0
    recovered: int = 0
    acknowledged: int = 0
    torn: int = 0
    mixed: int = 0
    lost: int = 0
    halved: int = 0
    doubled: int = 0
    left_behind: int = 0
    stuck: int = 0
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)

    def complain(self, fault: str, what: str) -> None:
        """Counts a fault; describes it if it is one of the first."""
        setattr(self, fault, getattr(self, fault) + 1)
        if len(self.complaints) < 20:
            self.complaints.append(f"{fault}: {what}")

    def faults(self) -> int:
        """Returns the number of all faults."""
        return sum(getattr(self, fault) for fault in FAULTS)

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as a JSON object."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def as_text(self) -> str:
        """Returns the counts as text for a reader."""
        lines = [f"kills: {self.kills.total()}"]
        lines += [f"  {number:6} {what}" for what, number in self.kills.items()]
        lines.append("states that killed commits left:")
        lines += [f"  {number:6} {what}" for what, number in self.states.most_common()]
        lines.append(f"opened again and judged: {self.recoveries}")
        lines.append(f"changes of a peer before recovery: {self.peer_changes}")
        lines.append(f"crowd: {self.acknowledged} acknowledged, {self.recovered} recovered")
        lines.append(", ".join(f"{fault}: {getattr(self, fault)}" for fault in FAULTS))
        lines += self.complaints
        lines.append(f"seconds: {self.seconds:.1f}")
        return "\n".join(lines)


def parses(data: bytes) -> bool:
    """Whether a peer could read the text."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def looks(data: bytes | None, before: bytes, after: bytes) -> str:
    """Describes a text in comparison with the texts before and after the commit."""
    if data is None:
        return "gone"
    if data == before:
        return "before"
    if data == after:
        return "after"
    if data.rstrip(b" ") == before:
        return "room reserved"
    if data[:1] == b"\0":
        return "under way"
    return "mixed" if parses(data) else "torn"


def kind(case: Case, files: Files) -> str:
    """Describes the files that a killed commit left."""
    parts = []
    for path, before, after in zip(case.paths, case.before, case.after, strict=True):
        text = files.get(journal_path(path.resolve()))
        journal = ""
        if text is not None and not is_over(text):
            journal = " with journal" if decode(text) else " with unfinished journal"
        parts.append(looks(files.get(path), before, after) + journal)
    return " | ".join(parts)


def look_for_mixes(counts: Counts, case: Case, files: Files, when: str) -> None:
    """Counts registries that a peer would read before the recovery, but never existed."""
    for path, before, after in zip(case.paths, case.before, case.after, strict=True):
        if looks(files.get(path), before, after) == "mixed":
            counts.complain("mixed", f"{case.name}, {when}: {path.name}, before recovery")


def judge(counts: Counts, case: Case, acknowledged: bool, when: str) -> None:
    """Checks the files after a recovery, and counts the faults."""
    files = case.files()
    found = [
        looks(files.get(path), before, after)
        for path, before, after in zip(case.paths, case.before, case.after, strict=True)
    ]
    said = f"{case.name}, {when}: {' | '.join(found)}"
    if not set(found) <= {"before", "after"}:
        # A text with reserved space is valid JSON, but is neither the old nor the new text.
        counts.complain("torn" if {"torn", "under way", "gone"} & set(found) else "mixed", said)
    elif len(set(found)) > 1:
        counts.complain("halved", said)
    elif acknowledged and case.promised not in found:
        counts.complain("lost", said)
    beside = _names(files, case.paths)
    if beside:
        counts.complain("left_behind", f"{said} beside {', '.join(beside)}")


def _names(files: Files, paths: tuple[Path, ...]) -> list[str]:
    return sorted(path.name for path in without_kept(files) if path not in paths)
