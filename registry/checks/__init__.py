"""Finds issues in registries, and repairs them."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.checks.consistency import global_findings as global_findings
    from registry.checks.consistency import pair_findings as pair_findings
    from registry.checks.consistency import task_findings as task_findings
    from registry.checks.consistency import task_id_of as task_id_of
    from registry.checks.issue import Issue as Issue
    from registry.checks.issue import IssueKind as IssueKind
    from registry.checks.repair import Fixed as Fixed
    from registry.checks.repair import fix_global as fix_global
    from registry.checks.repair import fix_task as fix_task
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "consistency": (
                "global_findings",
                "pair_findings",
                "task_findings",
                "task_id_of",
            ),
            "issue": (
                "Issue",
                "IssueKind",
            ),
            "repair": (
                "Fixed",
                "fix_global",
                "fix_task",
            ),
        },
    )
