"""`muster doctor`: what is wrong, and setting it right."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from registry.audit.diff import MISSING
from registry.checks.issue import Issue
from registry.text import WHOLE_AT_MOST, shown_name
from tui.actions.execute import Outcome
from tui.cli.context import DONE, find, say, tmux_of
from tui.cli.format_plan import refused_and_files
from tui.cli.format_roll import SCHEMA, mass_death_json
from tui.cli.kill import propose
from tui.config.load import policy_of
from tui.doctor.describe import by_file, propose_fix, remedy, said
from tui.doctor.examine import Examination, examine
from tui.doctor.fix import carry_out_fix
from tui.doctor.location import where_of
from tui.errors import UsageError
from tui.live.collector import take_roll
from tui.model.warnings import notices
from tui.text.sanitize import as_json, harmless, some

FINDINGS = 1
"""Exit code: something is wrong."""

COULD_NOT_TELL = 2
"""Exit code: something could not be told; more may be wrong than was found."""


def doctor(options: argparse.Namespace) -> int:
    """`muster doctor`."""
    if not options.fix and (options.dry_run or options.yes or options.reason):
        raise UsageError("--dry-run, --yes and --reason go with --fix")
    tmux = tmux_of(options)
    workspaces = find(options)
    where = where_of(workspaces, tmux.socket)
    examination = examine(workspaces, take_roll(workspaces, tmux, policy_of(options)), where)
    if not options.fix:
        if options.json:
            print(as_json(examination_json(examination)))
        else:
            say(examination_lines(examination))
        return exit_code(examination)
    carried_out: list[Outcome] = []

    def do() -> Outcome:
        carried_out.append(carry_out_fix(examination, tmux, options.reason))
        return carried_out[0]

    propose(propose_fix(examination), fix_json(examination), do, options)
    if carried_out:
        examination = examine(workspaces, take_roll(workspaces, tmux, policy_of(options)), where)
    if not options.json and (carried_out or not examination.findings):
        say(examination_lines(examination))
    return exit_code(examination)


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
