"""Logs each action of an operator before the action is done, and undoes logged actions."""

from typing import TYPE_CHECKING

from registry.exports import exports

if TYPE_CHECKING:
    from registry.audit.diff import MISSING as MISSING
    from registry.audit.diff import WHOLE_FILE as WHOLE_FILE
    from registry.audit.diff import FieldChange as FieldChange
    from registry.audit.diff import Reverted as Reverted
    from registry.audit.diff import revert as revert
    from registry.audit.entries import EndedSession as EndedSession
    from registry.audit.entries import Entry as Entry
    from registry.audit.entries import Log as Log
    from registry.audit.entries import State as State
    from registry.audit.kept_state import Restored as Restored
    from registry.audit.kept_state import keep as keep
    from registry.audit.kept_state import kept_of as kept_of
    from registry.audit.kept_state import offer as offer
    from registry.audit.kept_state import place_of as place_of
    from registry.audit.kept_state import restore as restore
    from registry.audit.log import Audit as Audit
    from registry.audit.log import denial as denial
    from registry.audit.log import log_in as log_in
    from registry.audit.log import log_of as log_of
    from registry.audit.log import name_in as name_in
    from registry.audit.log import read_log as read_log
    from registry.audit.log import read_logs as read_logs
    from registry.audit.transaction import AuditContext as AuditContext
    from registry.audit.transaction import Made as Made
    from registry.audit.transaction import OnRecord as OnRecord
    from registry.audit.undo import KILLED as KILLED
    from registry.audit.undo import UNDO as UNDO
    from registry.audit.undo import Undoable as Undoable
    from registry.audit.undo import check_writers as check_writers
    from registry.audit.undo import last_actions as last_actions
    from registry.audit.undo import preview as preview
    from registry.audit.undo import take_back as take_back
    from registry.audit.undo import undoables as undoables
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "diff": (
                "FieldChange",
                "MISSING",
                "Reverted",
                "WHOLE_FILE",
                "revert",
            ),
            "kept_state": (
                "Restored",
                "keep",
                "kept_of",
                "offer",
                "place_of",
                "restore",
            ),
            "entries": (
                "EndedSession",
                "Entry",
                "Log",
                "State",
            ),
            "log": (
                "Audit",
                "denial",
                "log_in",
                "log_of",
                "name_in",
                "read_log",
                "read_logs",
            ),
            "transaction": (
                "AuditContext",
                "Made",
                "OnRecord",
            ),
            "undo": (
                "KILLED",
                "UNDO",
                "Undoable",
                "check_writers",
                "last_actions",
                "preview",
                "take_back",
                "undoables",
            ),
        },
    )
