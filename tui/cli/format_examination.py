"""What the doctor found, as text and as JSON, and its exit code. Pure; no screen, no Textual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.audit import MISSING
from registry.checks import Issue
from registry.text import WHOLE_AT_MOST, shown_name
from tui.cli.format_plan import refused_and_files
from tui.cli.format_roll import SCHEMA, mass_death_json
from tui.cli.output import DONE
from tui.doctor.describe import by_file, propose_fix, remedy, said
from tui.doctor.examine import Examination
from tui.model.warnings import notices
from tui.text.sanitize import harmless, some

FINDINGS = 1
"""Exit code: something is wrong."""

COULD_NOT_TELL = 2
"""Exit code: something could not be told; more may be wrong than was found."""


def exit_code(examination: Examination) -> int:
    """0 healthy, 1 findings, 2 something could not be told."""
    if examination.unsure:
        return COULD_NOT_TELL
    return FINDINGS if examination.findings else DONE


def examination_json(examination: Examination) -> dict[str, Any]:
    """An examination in the shape that `muster doctor --json` promises."""
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
        "findings": [_finding_json(each) for each in examination.findings],
    }


def fix_json(examination: Examination) -> dict[str, Any]:
    """What would be set right, with what was found."""
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
        "fix": remedy(finding) if finding.fixable else None,
        "advice": finding.advice or None,
    }


def examination_lines(examination: Examination) -> Iterator[str]:
    """An examination as lines of text, file by file."""
    findings, fixable = examination.findings, len(examination.fixable)
    answer = examination.roll.answer
    title = some(len(findings), "finding") if findings else "healthy"
    if not findings and examination.unsure:
        title = "nothing found, but not all could be told"
    yield f"{harmless(examination.roll.host)}: {title}" + (
        f"; {fixable} of them muster doctor --fix sets right" if fixable else ""
    )
    yield f"tmux: {answer.state} ({harmless(answer.detail)})"
    yield from (harmless(f"! {each}") for each in notices(examination.roll))
    for where, there in by_file(findings).items():
        yield ""
        yield shown_name(where, WHOLE_AT_MOST)
        for each in there:
            yield f"  {each.kind.value}: {harmless(said(each))}"
            what = f"--fix: {remedy(each)}" if each.fixable else each.advice
            yield f"      {harmless(what)}"
    if examination.unsure:
        yield ""
        yield from (harmless(f"! {why}") for why in examination.unsure)
