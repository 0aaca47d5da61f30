"""What was found after a kill, and what was found wrong with it."""

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
    """How many were killed, what they left, and what was wrong.

    Attributes:
        kills: By what was being done: "commit", "write cut short", "refusal" (the
            disk was full, and the change is being taken back), "recovery", "crowd".
        states: What commits left, by kind; one entry a kill of a commit.
        recoveries: How often what was left was opened again, and judged.
        peer_changes: What a peer changed between a kill and the recovery.
        recovered: Commits that the members of a crowd finished or dropped.
        acknowledged: Updates of a crowd that were acknowledged.
        torn: Registries that did not parse, after recovery.
        mixed: Registries that parsed and were neither as before nor as after; also
            before recovery, as any peer could have read them.
        lost: Acknowledged changes that were gone, and refused ones that were there.
        halved: Changes of two files that were in one of them only.
        doubled: Changes that were there twice.
        left_behind: Files that lay beside a registry, after recovery.
        stuck: Recoveries that did not end.
        seconds: How long it took.
        complaints: The first few faults, in words.
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
        """Counts a fault, and keeps the first ones in words."""
        setattr(self, fault, getattr(self, fault) + 1)
        if len(self.complaints) < 20:
            self.complaints.append(f"{fault}: {what}")

    def faults(self) -> int:
        """All that was wrong."""
        return sum(getattr(self, fault) for fault in FAULTS)

    def as_json(self) -> dict[str, Any]:
        """For a machine to read."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def as_text(self) -> str:
        """For somebody to read."""
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
    """Whether a peer could read it."""
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def looks(data: bytes | None, before: bytes, after: bytes) -> str:
    """What a text is, between before and after."""
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
    """What a killed commit left, in words."""
    parts = []
    for path, before, after in zip(case.paths, case.before, case.after, strict=True):
        text = files.get(journal_path(path.resolve()))
        journal = ""
        if text is not None and not is_over(text):
            journal = " with journal" if decode(text) else " with unfinished journal"
        parts.append(looks(files.get(path), before, after) + journal)
    return " | ".join(parts)


def look_for_mixes(counts: Counts, case: Case, files: Files, when: str) -> None:
    """What a peer would read that does not wait for recovery: one state or none."""
    for path, before, after in zip(case.paths, case.before, case.after, strict=True):
        if looks(files.get(path), before, after) == "mixed":
            counts.complain("mixed", f"{case.name}, {when}: {path.name}, before recovery")


def judge(counts: Counts, case: Case, acknowledged: bool, when: str) -> None:
    """What everybody may demand of the files once they were recovered."""
    files = case.files()
    found = [
        looks(files.get(path), before, after)
        for path, before, after in zip(case.paths, case.before, case.after, strict=True)
    ]
    said = f"{case.name}, {when}: {' | '.join(found)}"
    if not set(found) <= {"before", "after"}:
        # Room that is still reserved parses, but is neither.
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
