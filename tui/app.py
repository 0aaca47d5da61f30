"""The monitor: wiring between the live roll, the widgets and the actions."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.message import Message
from textual.widgets import Footer

from registry.errors import RegistryError
from registry.workspace import Workspace
from tui.bindings import CHANGING, HELP
from tui.body import Body
from tui.host.sessions import Session
from tui.notifying import Notifier
from tui.outline import meant
from tui.roll import AgentRow, RollCall, TaskState, Verdict
from tui.screens.toasts import ToastHandler
from tui.settings import Settings
from tui.text import harmless
from tui.theme import OURS
from tui.widgets.ascii_filter import ascii_filters
from tui.widgets.roll_pane import RollPane
from tui.widgets.roll_view import RollView
from tui.widgets.summary import Notices, Summary
from tui.widgets.working import Working

if TYPE_CHECKING:
    from textual.filter import LineFilter

    from tui.doctor import Examination
    from tui.live import LiveRoll
    from tui.outcomes import Outcome
    from tui.plan import Plan
    from tui.screens.metrics import Measures
    from tui.undoing import UndoPlan

WIDE = 120
"""Columns from which the panel stands beside the roll."""

LOW = 18
"""Lines below which only the roll, the counts and the keys are shown."""

TALL = 34
"""Lines from which the panel below the roll gets more room."""

_AGES_EVERY = 15.0

# Seconds after which the first agents are on the screen, and what is left is imported.
_SHOWN_BY = 1.0
_LATER = (
    "tui.actions",
    "tui.attaching",
    "tui.fixing",
    "tui.opening",
    "tui.pages",
    "tui.palette",
    "tui.publishing",
    "tui.screens.choice",
    "tui.screens.doctor",
    "tui.screens.help",
    "tui.screens.metrics",
    "tui.screens.report",
    "tui.undoing",
)

# Actions whose keys have no use while another screen lies over the roll.
_OF_THE_ROLL = ("kill", "complete", "undo", "filter", "doctor", "log", "metrics")

# Actions that change something.
_OF_CHANGE = frozenset(id_.partition(".")[0] for id_ in CHANGING) - {"doctor"}


class MusterApp(App[None]):
    """Shows the live roll of some workspaces.

    Args:
        workspaces: What to show.
        live: Who calls the roll of them; whoever made it starts and stops it.
        settings: How it looks, which keys it has, what it tells of and may do.
    """

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "muster"
    # Its key is among ours, so that it can be changed.
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (WIDE, "wide")]  # noqa: RUF012 - as Textual has it
    VERTICAL_BREAKPOINTS = [(0, "tiny"), (LOW, "low"), (TALL, "tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "kill", "Kill", id="kill"),
        Binding(
            "K",
            "kill(True)",
            "Kill tree",
            show=False,
            tooltip="Kill with all agents beneath",
            id="kill.tree",
        ),
        Binding("c", "complete", "Complete", id="complete"),
        Binding("U", "undo", "Undo", tooltip="Take the last change back", id="undo"),
        Binding("slash", "filter", "Filter", id="filter"),
        Binding("escape", "clear_filter", "Clear filter", show=False, id="filter.clear"),
        Binding("tab", "app.focus_next", "Roll or panel", show=False, id="focus.next"),
        Binding(
            "d",
            "doctor",
            "Doctor",
            show=False,
            tooltip="What is wrong, and setting it right",
            id="doctor",
        ),
        Binding("l", "log", "Log", show=False, tooltip="What was done here", id="log"),
        Binding(
            "m",
            "metrics",
            "Metrics",
            show=False,
            tooltip="Lock waits, and what they should be",
            id="metrics",
        ),
        Binding("question_mark", "help", "Help", id="help"),
        Binding("f1", "help", "Help", show=False, priority=True, id="help.anywhere"),
        Binding(
            "ctrl+p",
            "command_palette",
            "Palette",
            show=False,
            priority=True,
            tooltip="Every action, by its name",
            id="palette",
        ),
        Binding("q", "quit", "Quit", id="quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True, id="quit.interrupt"),
    ]

    @dataclass
    class Rolled(Message):
        """The roll was called again."""

        roll: RollCall
        """The newest; older ones that wait are dropped for it."""

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, MusterApp.Rolled)

    @dataclass
    class Progressed(Message):
        """Long work has come further."""

        what: str
        done: int
        of: int

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, MusterApp.Progressed)

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        live: LiveRoll,
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self._settings = settings or Settings()
        self._ascii = ascii_filters(self._settings.ascii)
        for theme in OURS:
            self.register_theme(theme)
        self.theme = self._settings.theme
        self.set_keymap(self._settings.keys)
        self._workspaces = tuple(workspaces)
        self._homes = tuple(workspace.path for workspace in workspaces)
        self._live = live
        self._tmux = live.tmux
        self.roll: RollCall | None = None
        self._zombies_at_first: int | None = None
        self._acting = threading.Lock()
        self._notifier = Notifier(self, self._settings.notify)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, and the one that keeps to ASCII, if that is wanted."""
        return [*super().get_line_filters(), *self._ascii]

    def get_key_display(self, binding: Binding) -> str:
        """How a key is called; in ASCII arrows have names."""
        shown = super().get_key_display(binding)
        return binding.key if self._ascii and not shown.isascii() else shown

    def compose(self) -> ComposeResult:
        """Counts above, the roll, the panel beside or below it, keys."""
        # Textual says how large the screen is only once the first frame is drawn.
        width, height = self.size
        for cells, breakpoints in (
            (width, self.HORIZONTAL_BREAKPOINTS),
            (height, self.VERTICAL_BREAKPOINTS),
        ):
            self.screen.add_class(max(each for each in breakpoints if each[0] <= cells)[1])
        yield Summary("read-only" if self._settings.read_only else "")
        yield Notices()
        yield Body(id="body", read_only=self._settings.read_only)
        yield Working()
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Starts following the workspaces."""
        logging.getLogger().addHandler(ToastHandler(self))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Left to Python, these would end us with the terminal in disorder, or in
            # the middle of ending, with Textual's threads left running.
            loop.add_signal_handler(number, self.exit, None, 128 + number)
        self.query_one(RollView).focus()
        self.query_one(Body).use(self._tmux)
        self.set_interval(_AGES_EVERY, self._tick)
        self._follow()
        self.set_timer(_SHOWN_BY, self._import_the_rest)

    def wait_for_actions(self, seconds: float) -> None:
        """Waits until what is being carried out is done. Blocks.

        Args:
            seconds: How long at most.
        """
        if self._acting.acquire(timeout=seconds):
            self._acting.release()

    def _follow(self) -> None:
        """Shows what is known already, in the first frame, and all that comes."""
        if self._live.latest is not None:
            self._show_roll(self._live.latest)
        self._live.listen(self._rolled, self._progress)

    @work(thread=True)
    def _import_the_rest(self) -> None:
        # Everything that a key may need: an update of muster must not put newer modules
        # beside those that run already, days later.
        for name in _LATER:
            import_module(name)
        if not gc.isenabled():
            # Nor need what is there now be looked through ever again.
            gc.freeze()
            # Next to nothing that is made from now on is in cycles, and a look through all
            # of it stops the screen for tens of milliseconds.
            gc.set_threshold(20_000, 20, 50)
            gc.enable()

    def _rolled(self, roll: RollCall) -> None:
        self.post_message(self.Rolled(roll))

    def _progress(self, what: str, done: int, of: int) -> None:
        """Shows how far long work is; called in its thread."""
        self.post_message(self.Progressed(what, done, of))

    async def on_unmount(self) -> None:
        """Publishes what was measured."""
        from tui.publishing import publish_quietly

        if not self._settings.read_only:
            await asyncio.to_thread(publish_quietly, self._homes)

    @on(Rolled)
    def _show(self, message: Rolled) -> None:
        if message.roll is not self.roll:
            self._show_roll(message.roll)

    def _show_roll(self, roll: RollCall) -> None:
        self.roll = roll
        if self._zombies_at_first is None and roll.whole and not roll.counts[Verdict.UNKNOWN]:
            # Not before each is judged: a death is proven only after a while.
            self._zombies_at_first = roll.counts[Verdict.ZOMBIE]
        screen = self.screen_stack[0]
        # A roll call may come when the widgets are gone already, on the way out.
        for summary in screen.query(Summary):
            summary.show(roll)
        for notice in screen.query(Notices):
            notice.show(roll)
        for body in screen.query(Body):
            body.roll = roll
        for roll_view in screen.query(RollView):
            roll_view.show(roll)
        if roll.whole and not self._acting.locked():
            # Whoever is being ended looks like a zombie until that is written down.
            self._notifier.see(roll)

    @on(Progressed)
    def _show_progress(self, message: Progressed) -> None:
        for working in self.screen_stack[0].query(Working):
            working.tell(message.what, message.done, message.of)

    def _tick(self) -> None:
        for body in self.screen_stack[0].query(Body):
            body.tick()
        self._publish()

    @work(thread=True, exclusive=True, group="publish")
    def _publish(self) -> None:
        from tui.publishing import publish_quietly

        if not self._settings.read_only:
            publish_quietly(self._homes)

    # Marks and the filter

    @on(RollView.Marked)
    def _show_marks(self, message: RollView.Marked) -> None:
        self.query_one(Summary).show_marks(message.count, message.out_of_sight)

    @on(RollView.Viewed)
    def _show_view(self, message: RollView.Viewed) -> None:
        self.query_one(Summary).show_only(message.view.only)
        self.refresh_bindings()

    @on(Summary.Chosen)
    def _choose(self, message: Summary.Chosen) -> None:
        self.query_one(RollView).action_only(message.verdict.value)

    def action_filter(self) -> None:
        """Opens the filter's field."""
        self.query_one(RollPane).open_filter()

    def action_clear_filter(self) -> None:
        """Shows everything again."""
        self.query_one(RollPane).clear()

    # Actions

    def action_kill(self, tree: bool = False) -> None:
        """Plans to kill the marked ones, or whom the line under the cursor stands for.

        Args:
            tree: With all agents beneath them.
        """
        from tui.choosing import subtrees

        if self.roll is None:
            return
        rows, orphans, whole = meant(self.roll, self.query_one(RollView).targets())
        if not (rows or orphans):
            self._nobody("kill")
            return
        if tree:
            rows = subtrees(self.roll, rows)
        self._plan_kill(self.roll, rows, orphans, whole or tree)

    @work(thread=True, exclusive=True, group="plan kill")
    def _plan_kill(
        self, roll: RollCall, rows: Sequence[AgentRow], orphans: Sequence[Session], whole: bool
    ) -> None:
        from tui.weighing import weighed_kill

        plan = weighed_kill(roll, rows, orphans, whole=whole)
        self.call_from_thread(self._ask, plan)

    def action_complete(self) -> None:
        """Plans to complete the marked ones, or the one under the cursor."""
        from tui.planning import plan_complete

        if self.roll is None:
            return
        rows, _, whole = meant(self.roll, self.query_one(RollView).targets())
        if whole or not rows:
            self._nobody("complete")
            return
        self._ask(plan_complete(self.roll, rows))

    def _nobody(self, verb: str) -> None:
        self.notify(f"Nobody to {verb}: mark agents, or put the cursor on one.", markup=False)

    def _ask(self, plan: Plan) -> None:
        from tui.screens.confirm import ConfirmScreen

        if len(self.screen_stack) > 1:
            # Something else was opened while the plan was made.
            return
        if not plan.steps:
            said = "; ".join(
                f"{harmless(who, 80)} {harmless(why)}" for who, why in plan.refused[:3]
            )
            if len(plan.refused) > 3:
                said += f"; and {len(plan.refused) - 3} more"
            self.notify(said, title="Nothing to do", severity="warning", markup=False)
            return

        def answered(reason: str | None) -> None:
            if reason is not None:
                self._carry_out(plan, reason)

        self.push_screen(ConfirmScreen(plan.proposal()), answered)

    @work(thread=True, group="actions")
    def _carry_out(self, plan: Plan, reason: str) -> None:
        from tui.actions import carry_out

        self._act(lambda: carry_out(plan, self._tmux, reason, self._progress))

    def _act(self, do: Callable[[], Outcome]) -> None:
        """Carries something out and shows what became of it; in a worker's thread."""
        with self._acting:
            outcome = do()
        self._progress("", 0, 0)
        self.call_from_thread(self._carried_out, outcome)
        self._live.refresh()

    # What is wrong

    def action_doctor(self) -> None:
        """Shows what is wrong, to set it right from there."""
        from tui.screens.doctor import DoctorScreen

        if self.roll is not None:
            fix = None if self._settings.read_only else self._fix
            self.push_screen(DoctorScreen(self._examine, fix))

    def _examine(self) -> Examination | None:
        from tui.doctor import examine

        return examine(self._workspaces, self.roll) if self.roll is not None else None

    @work(thread=True, group="actions")
    def _fix(self, found: Examination, reason: str) -> None:
        from tui.fixing import carry_out_fix

        self._act(lambda: carry_out_fix(found, self._tmux, reason))

    # The record

    def action_undo(self) -> None:
        """Plans to take the last action back."""
        if self.roll is not None:
            self._plan_undo(self.roll)

    @work(thread=True, exclusive=True, group="plan undo")
    def _plan_undo(self, roll: RollCall) -> None:
        from tui.undoing import NothingToUndoError, plan_undo

        try:
            plan = plan_undo(*_seen(roll), action_id=None, offer_earlier=True)
        except (NothingToUndoError, RegistryError, OSError) as error:
            self.call_from_thread(self._nothing_to_undo, str(error))
            return
        self.call_from_thread(self._ask_undo, plan)

    def _nothing_to_undo(self, why: str) -> None:
        self.notify(harmless(why), title="Nothing to undo", severity="warning", markup=False)

    def _ask_undo(self, plan: UndoPlan) -> None:
        from tui.screens.confirm import ConfirmScreen
        from tui.undoing import undo_refusal

        if not plan.proposal.steps:
            self._nothing_to_undo(undo_refusal(plan))
            return

        def answered(reason: str | None) -> None:
            if reason is not None:
                self._take_back(plan, reason)

        if len(self.screen_stack) == 1:
            self.push_screen(ConfirmScreen(plan.proposal), answered)

    @work(thread=True, group="actions")
    def _take_back(self, plan: UndoPlan, reason: str) -> None:
        from tui.undoing import carry_out_undo

        self._act(lambda: carry_out_undo(plan, reason))

    def action_log(self) -> None:
        """Shows what was done."""
        if self.roll is not None:
            self._read_log(self.roll)

    @work(thread=True, exclusive=True, group="log")
    def _read_log(self, roll: RollCall) -> None:
        from registry.audit import read_logs
        from tui.screens.report import log_report
        from tui.undoing import logs_of

        try:
            log = read_logs(logs_of(*_seen(roll)))
        except (RegistryError, OSError) as error:
            said = harmless(str(error))
            self.call_from_thread(self.notify, said, title="Log", severity="error", markup=False)
            return
        self.call_from_thread(self.push_screen, log_report(log))

    def action_metrics(self) -> None:
        """Shows how the locks do."""
        from tui.screens.metrics import MetricsScreen

        self.push_screen(MetricsScreen(self._measure))

    def _measure(self) -> Measures:
        from registry.metrics_file import read_metrics
        from tui.screens.metrics import Measures

        zombies = self.roll.counts[Verdict.ZOMBIE] if self.roll is not None else 0
        first = self._zombies_at_first
        return Measures(
            read_metrics(self._homes), zombies, zombies - first if first is not None else 0
        )

    def _carried_out(self, outcome: Outcome) -> None:
        from tui.screens.report import outcome_report

        self.screen_stack[0].query_one(RollView).action_unmark()
        self.push_screen(outcome_report(outcome))

    def action_help(self) -> None:
        """Lists the keys of where one is."""
        from tui.screens.help import help_of

        help_ = help_of(self.screen, self._settings.keys, self._settings.read_only)
        self.push_screen(help_)

    def action_command_palette(self) -> None:
        """Offers every action that there is on this screen."""
        from tui.palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides the keys that have no use now."""
        if self._settings.read_only and action in _OF_CHANGE:
            return False
        if action in _OF_THE_ROLL:
            # The palette is about what lies beneath it.
            covering = self.screen_stack[1:]
            return not any(not isinstance(each, CommandPalette) for each in covering)
        if action == "help":
            return self.screen.id != HELP and not isinstance(self.screen, CommandPalette)
        if action == "clear_filter":
            return any(pane.is_narrowed for pane in self.screen.query(RollPane))
        return True


def _seen(roll: RollCall) -> tuple[tuple[TaskState, ...], tuple[Path, ...]]:
    """All tasks of a roll, and their workspaces."""
    states = tuple(task.state for task in roll.tasks())
    return states, tuple(workspace.path for workspace in roll.workspaces)
