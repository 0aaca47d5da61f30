"""The actions of the main screen's keys: kill, complete, undo, doctor, log, metrics, filter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen
from textual.worker import Worker, get_current_worker

from registry.dataclass import dataclass
from registry.errors import RegistryError
from registry.schema import Workspace
from registry.text import shown_name
from tui.app.bindings import CHANGING, declared, keys_of
from tui.app.widgets.progress_line import ProgressLine, opening_workers
from tui.app.widgets.roll_bindings import ACTION_KEYS
from tui.app.widgets.roll_box import RollPane
from tui.app.widgets.roll_list import RollView
from tui.config.settings import Settings
from tui.doctor.location import where_of
from tui.host.tmux_types import Session
from tui.model.roll import AgentRow, RollCall, TaskState, Verdict
from tui.text.sanitize import harmless
from tui.view.outline import meant

if TYPE_CHECKING:
    from tui.actions.outcome import Outcome
    from tui.actions.plan import Plan
    from tui.actions.preview import Preview
    from tui.actions.undo import UndoPlan
    from tui.app.screens.metrics import Measures
    from tui.doctor.examine import Examination
    from tui.live.collector import LiveRoll

# The actions that read-only mode disables.
_OF_CHANGE = frozenset(id_.partition(".")[0] for id_ in CHANGING) - {"doctor"}


class RollActions(Screen[None]):
    """The base class of the main screen, with the actions of the keys.

    An action that changes something is planned first. If the operator confirms the plan, a worker
    executes the plan.

    Args:
        workspaces: The workspaces that the screen shows.
        live: The object that delivers the roll calls.
        settings: The settings; in read-only mode, actions that change agents or files are
            disabled.

    Attributes:
        roll: The newest roll call; None before the first one.
    """

    BINDINGS: ClassVar[list[BindingType]] = ACTION_KEYS

    # Set when the screen is mounted.
    _roll_view: RollView

    @dataclass
    class Progressed(Message):
        """The message that long work has made progress."""

        what: str
        done: int
        of: int

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, RollActions.Progressed)

    @dataclass
    class Restoring(Message):
        """The message that the operator gives agents their former status again."""

        agents: frozenset[str]
        """The ids of the agents."""

    def __init__(
        self, workspaces: Sequence[Workspace], live: LiveRoll, settings: Settings
    ) -> None:
        super().__init__()
        self._settings = settings
        self._workspaces = tuple(workspaces)
        self._live = live
        self._tmux = live.tmux
        self.roll: RollCall | None = None
        self._zombies_at_first: int | None = None
        self._acting = threading.Lock()
        self._working = ProgressLine()

    def wait_for_actions(self, seconds: float) -> None:
        """Waits until no action is running. Blocks for at most `seconds`."""
        if self._acting.acquire(timeout=seconds):
            self._acting.release()

    def _progress(self, what: str, done: int, of: int) -> None:
        """Shows the progress of long work; called in the thread that does the work."""
        self.post_message(self.Progressed(what, done, of))

    @on(Progressed)
    def _show_progress(self, message: Progressed) -> None:
        if self._working.is_attached:
            self._working.tell(message.what, message.done, message.of)

    def on_key(self, event: events.Key) -> None:
        """Shows a message if the key is disabled in read-only mode."""
        if self._settings.read_only and any(
            event.key in keys_of(binding, self._settings.keys)
            for binding in declared(type(self))
            if binding.id in CHANGING
        ):
            self.notify("Read-only mode: this key is disabled.", markup=False)

    # Filter

    def action_filter(self) -> None:
        """Opens the filter field."""
        self.query_one(RollPane).open_filter()

    def action_clear_filter(self) -> None:
        """Clears the filter, and closes the filter field."""
        self.query_one(RollPane).clear()

    # Actions

    def action_kill(self, tree: bool = False) -> None:
        """Plans to kill the marked agents; without marks, the agents of the line under the cursor.

        Args:
            tree: Whether to kill all descendants of these agents too.
        """
        from tui.model.select import subtrees

        if self.roll is None:
            return
        rows, orphans, whole = meant(self.roll, self._roll_view.targets())
        if not (rows or orphans):
            self._nobody("kill")
            return
        if tree:
            rows = subtrees(self.roll, rows)
        self._working.wait_for("Planning the kill")
        self._plan_kill(self.roll, rows, orphans, whole or tree)

    @work(thread=True, exclusive=True, group="plan kill")
    def _plan_kill(
        self, roll: RollCall, rows: Sequence[AgentRow], orphans: Sequence[Session], whole: bool
    ) -> None:
        from tui.actions.footprint import weighed_kill

        plan = weighed_kill(roll, rows, orphans, whole=whole)
        self._open(self._ask, plan)

    def _open(self, show: Callable[..., object], *contents: object) -> None:
        """Calls `show` in the app's thread, unless the calling worker was cancelled."""

        def unless_given_up(worker: Worker[None]) -> None:
            # Also skipped if another screen was opened while the worker ran.
            if self.is_active and not worker.is_cancelled:
                show(*contents)

        self.app.call_from_thread(unless_given_up, get_current_worker())

    def give_up(self) -> None:
        """Cancels the workers that prepare a screen for an earlier key; see `opening_workers`."""
        for worker in opening_workers(self.app):
            worker.cancel()

    def action_complete(self, zombies: bool = False) -> None:
        """Plans to complete the marked agents; without marks, the agent under the cursor.

        Args:
            zombies: Whether to complete all zombies instead, whatever is marked or shown.
        """
        if self.roll is None:
            return
        rows, _, whole = meant(self.roll, self._roll_view.targets())
        if zombies:
            rows = [row for row in self.roll.agents() if row.verdict is Verdict.ZOMBIE]
            if not rows:
                self.notify("There is no zombie to complete.", markup=False)
                return
        elif whole or not rows:
            self._nobody("complete")
            return
        self._working.wait_for("Planning the completion")
        self._plan_complete(self.roll, rows, zombies)

    @work(thread=True, exclusive=True, group="plan complete")
    def _plan_complete(self, roll: RollCall, rows: Sequence[AgentRow], by_verdict: bool) -> None:
        from tui.actions.plan_complete import checked_complete

        plan = checked_complete(roll, rows, by_verdict=by_verdict, as_reported=True)
        self._open(self._ask, plan)

    def _nobody(self, verb: str) -> None:
        remedy = "mark agents, or move the cursor to an agent"
        self.notify(f"No agent to {verb}; {remedy}.", markup=False)

    def _ask(self, plan: Plan) -> None:
        if not plan.steps:
            reasons = "; ".join(
                f"{shown_name(agent)} {harmless(why)}" for agent, why in plan.refused[:3]
            )
            if len(plan.refused) > 3:
                reasons += f"; and {len(plan.refused) - 3} more"
            self.notify(reasons, title="Nothing to do", severity="warning", markup=False)
            return

        self._confirm(plan.preview(), lambda reason: self._carry_out(plan, reason))

    def _confirm(self, preview: Preview, go_ahead: Callable[[str], object]) -> None:
        """Shows a plan; if the operator confirms the plan, calls `go_ahead` with the reason."""
        from tui.app.screens.confirm import ConfirmScreen

        def answered(reason: str | None) -> None:
            if reason is not None:
                go_ahead(reason)

        self.app.push_screen(ConfirmScreen(preview), answered)

    @work(thread=True, group="actions")
    def _carry_out(self, plan: Plan, reason: str) -> None:
        from tui.actions.execute import carry_out

        self._act(lambda: carry_out(plan, self._tmux, reason, self._progress))

    def _act(self, do: Callable[[], Outcome]) -> None:
        """Runs an action and shows its outcome; called in a worker's thread."""
        with self._acting:
            outcome = do()
        self._progress("", 0, 0)
        self.app.call_from_thread(self._carried_out, outcome)
        self._live.refresh()

    # Doctor

    def action_doctor(self) -> None:
        """Opens the doctor's screen."""
        from tui.app.screens.doctor import DoctorScreen

        if self.roll is not None:
            fix = None if self._settings.read_only else self._fix
            self.app.push_screen(DoctorScreen(self._examine, fix))

    def _examine(self) -> Examination | None:
        from tui.doctor.examine import examine

        if self.roll is None:
            return None
        where = where_of(self._workspaces, self.roll.answer.socket)
        return examine(self._workspaces, self.roll, where)

    @work(thread=True, group="actions")
    def _fix(self, examination: Examination, reason: str) -> None:
        from tui.doctor.fix import carry_out_fix

        self._act(lambda: carry_out_fix(examination, self._tmux, reason))

    # Undo and audit log

    def action_undo(self) -> None:
        """Plans to undo the last change of registries."""
        if self.roll is not None:
            self._working.wait_for("Planning the undo")
            self._plan_undo(self.roll)

    @work(thread=True, exclusive=True, group="plan undo")
    def _plan_undo(self, roll: RollCall) -> None:
        from tui.actions.undo import NothingToUndoError, plan_undo

        try:
            plan = plan_undo(*_seen(roll), action_id=None, offer_earlier=True)
        except (NothingToUndoError, RegistryError, OSError) as error:
            self._open(self._nothing_to_undo, str(error))
            return
        self._open(self._ask_undo, plan)

    def _nothing_to_undo(self, why: str) -> None:
        self.notify(harmless(why), title="Nothing to undo", severity="warning", markup=False)

    def _ask_undo(self, plan: UndoPlan) -> None:
        from tui.actions.undo import undo_refusal

        if not plan.preview.steps:
            self._nothing_to_undo(undo_refusal(plan))
            return

        def take_back(reason: str) -> None:
            self.post_message(self.Restoring(plan.agents))
            self._take_back(plan, reason)

        self._confirm(plan.preview, take_back)

    @work(thread=True, group="actions")
    def _take_back(self, plan: UndoPlan, reason: str) -> None:
        from tui.actions.undo import carry_out_undo

        self._act(lambda: carry_out_undo(plan, reason))

    def action_log(self) -> None:
        """Shows the audit log."""
        if self.roll is not None:
            self._working.wait_for("Reading the audit log")
            self._read_log(self.roll)

    @work(thread=True, exclusive=True, group="log")
    def _read_log(self, roll: RollCall) -> None:
        from registry.audit import read_logs
        from tui.actions.undo import logs_of
        from tui.app.screens.report import log_report

        try:
            log = read_logs(logs_of(*_seen(roll)))
        except (RegistryError, OSError) as error:
            self._open(self._no_log, str(error))
            return
        self._open(self.app.push_screen, log_report(log))

    def _no_log(self, why: str) -> None:
        self.notify(harmless(why), title="Log", severity="error", markup=False)

    def action_metrics(self) -> None:
        """Opens the metrics screen."""
        from tui.app.screens.metrics import MetricsScreen

        self.app.push_screen(MetricsScreen(self._measure))

    def _measure(self) -> Measures:
        from registry.metrics_file import read_each
        from tui.app.screens.metrics import Measures

        zombies = self.roll.counts[Verdict.ZOMBIE] if self.roll is not None else 0
        at_first = self._zombies_at_first
        measured, errors = read_each([workspace.path for workspace in self._workspaces])
        more = zombies - at_first if at_first is not None else 0
        return Measures(measured, zombies, more, tuple(map(str, errors)))

    def _carried_out(self, outcome: Outcome) -> None:
        from tui.app.screens.report import outcome_report

        def closed(undo: bool | None) -> None:
            if undo:
                self.action_undo()

        self._roll_view.action_unmark()
        self.app.push_screen(outcome_report(outcome), closed)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Returns whether an action is possible now; False hides the key of the action."""
        if self._settings.read_only and action in _OF_CHANGE:
            return False
        if action == "clear_filter":
            return any(pane.is_narrowed for pane in self.query(RollPane))
        return True


def _seen(roll: RollCall) -> tuple[tuple[TaskState, ...], tuple[Path, ...]]:
    """Returns the states of all tasks and the paths of all workspaces in a roll call."""
    states = tuple(task.state for task in roll.tasks())
    return states, tuple(workspace.path for workspace in roll.workspaces)
