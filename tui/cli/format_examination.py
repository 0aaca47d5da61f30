"""Formats the doctor's examination as text and as JSON. Pure; does not import Textual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.audit import MISSING
from registry.checks import Issue
from registry.text import WHOLE_AT_MOST, shown_name
from tui.cli.format_plan import refused_and_files
from tui.cli.format_roll import mass_death_json
from tui.cli.output import DONE
from tui.doctor.describe import by_file, description, propose_fix, repair
from tui.doctor.examine import Examination
from tui.model.warnings import notices
from tui.text.sanitize import harmless, some

SCHEMA = 1
"""The version of the JSON; increased when a field changes its meaning or is removed."""

FINDINGS = 1
"""The exit code if everything could be examined, and there are findings."""

COULD_NOT_TELL = 2
"""The exit code if a part could not be examined, so that more findings may exist."""


def exit_code(examination: Examination) -> int:
    """Returns 0 if healthy, 1 if there are findings, 2 if a part could not be examined."""
    if examination.unsure:
        return COULD_NOT_TELL
    return FINDINGS if examination.findings else DONE


def examination_json(examination: Examination) -> dict[str, Any]:
    """Returns the document of `muster doctor --json`."""
    answer = examination.roll.answer
    return {
        "schema": SCHEMA,
        "healthy": exit_code(examination) == DONE,
        "tmux": {
            "state": answer.state.value,
            "detail": answer.detail,
            "socket": str(answer.socket),
        },
        "mass_death": mass_death_json(examination.roll),
        "could_not_tell": list(examination.unsure),
        "findings": [_finding_json(finding) for finding in examination.findings],
    }


def fix_json(examination: Examination) -> dict[str, Any]:
    """Returns the findings and the plan, as `muster doctor --fix --dry-run --json` prints them."""
    whole = examination_json(examination)
    return {"action": "fix", **whole, **refused_and_files(propose_fix(examination))}


def _finding_json(finding: Issue) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "file": str(finding.file) if finding.file is not None else None,
        "agent": finding.agent,
        "field": finding.field,
        "found": None if finding.found is MISSING else finding.found,
        "says": finding.says,
        "fixable": finding.fixable,
        "expected": None if finding.fix is MISSING else finding.fix,
        "fix": repair(finding) if finding.fixable else None,
        "advice": finding.advice or None,
    }


def examination_lines(examination: Examination) -> Iterator[str]:
    """Yields an examination as lines of text, file by file."""
    findings, fixable = examination.findings, len(examination.fixable)
    answer = examination.roll.answer
    title = some(len(findings), "finding") if findings else "healthy"
    if not findings and examination.unsure:
        title = "nothing found, but not everything could be examined"
    yield f"{harmless(examination.roll.host)}: {title}" + (
        f"; muster doctor --fix repairs {fixable} of them" if fixable else ""
    )
    yield f"tmux: {answer.state} ({harmless(answer.detail)})"
    yield from (harmless(f"! {notice}") for notice in notices(examination.roll))
    for place, local_findings in by_file(findings).items():
        yield ""
        yield shown_name(place, WHOLE_AT_MOST)
        for finding in local_findings:
            yield f"  {finding.kind.value}: {harmless(description(finding))}"
            remedy = f"--fix: {repair(finding)}" if finding.fixable else finding.advice
            yield f"      {harmless(remedy)}"
    if examination.unsure:
        yield ""
        yield from (harmless(f"! {reason}") for reason in examination.unsure)
