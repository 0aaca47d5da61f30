"""The main screen, which shows the agent list. The actions of the keys are in `roll_actions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingsMap
from textual.message import Message

from registry.dataclass import dataclass
from registry.schema import Workspace
from tui.app.bindings import view_bindings
from tui.app.screens.body import Body
from tui.app.screens.roll_actions import RollActions
from tui.app.screens.split import Split
from tui.app.widgets.footer import Footer
from tui.app.widgets.header import Notices, Summary
from tui.app.widgets.roll_box import RollPane
from tui.app.widgets.roll_list import RollView
from tui.config.settings import Settings
from tui.model.roll import RollCall, Verdict
from tui.view.view import Sort, View

if TYPE_CHECKING:
    from tui.live.collector import LiveRoll

_AGES_EVERY = 15.0


class RollScreen(RollActions):
    """Shows the agents, tasks and orphaned sessions of workspaces, and updates them.

    Args:
        workspaces: The workspaces to show.
        live: The object that delivers the roll calls. The caller starts and stops this object.
        settings: The settings; in read-only mode, actions that change agents or files are
            disabled.
        tell: Called with each complete roll call, except while an action is running.
        view: The filter and the sort order at the start.
        split: The place and size of the panel at the start.

    Attributes:
        roll: The newest roll call; None before the first one.
        named_views: The named views of the settings.
        view_bindings: The key bindings of the named views.
    """

    @dataclass
    class Rolled(Message):
        """The message that a new roll call is available."""

        roll: RollCall
        """The roll call."""

        def can_replace(self, message: Message) -> bool:
            """Returns whether this message replaces an older message that was not handled yet."""
            return isinstance(message, RollScreen.Rolled)

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        live: LiveRoll,
        settings: Settings,
        tell: Callable[[RollCall], None],
        view: View,
        split: Split,
    ) -> None:
        super().__init__(workspaces, live, settings)
        self.named_views = settings.views
        self.view_bindings = view_bindings(settings.views, settings.keys)
        self._bindings = BindingsMap.merge((self._bindings, BindingsMap(self.view_bindings)))
        self._first_view = view
        self._first_split = split
        self._tell = tell

    def compose(self) -> ComposeResult:
        """Yields the counts, the agent list with the details panel, and the footer."""
        # Textual reports the size of the screen only after the first frame.
        height, breakpoints = self.app.size.height, self.app.VERTICAL_BREAKPOINTS
        self.add_class(max(pair for pair in breakpoints or () if pair[0] <= height)[1])
        # Kept as attributes: a query at each roll call would take longer than the drawing.
        self._summary = Summary("read-only" if self._settings.read_only else "")
        self._notices = Notices()
        self._body = Body(id="body", read_only=self._settings.read_only, split=self._first_split)
        yield from (self._summary, self._notices, self._body, self._working)
        yield Footer()

    @property
    def view(self) -> View:
        """The present filter and sort order."""
        return self._roll_view.view if self.is_mounted else self._first_view

    @property
    def split(self) -> Split:
        """The present place and size of the panel."""
        return self._body.split if self.is_mounted else self._first_split

    def on_mount(self) -> None:
        """Starts to receive roll calls."""
        self._roll_view = self.query_one(RollView)
        self._roll_view.focus()
        self.query_one(RollPane).begin(self._first_view)
        self._body.use(self._tmux)
        self.set_interval(_AGES_EVERY, self._tick)
        if self._live.latest is not None:
            # The first frame already shows this roll call.
            self._show_roll(self._live.latest)
        self._live.listen(self._rolled, self._progress)

    def _rolled(self, roll: RollCall) -> None:
        self.post_message(self.Rolled(roll))

    @on(Rolled)
    def _show(self, message: Rolled) -> None:
        # While muster quits, the widgets may be gone.
        if message.roll is not self.roll and self._roll_view.is_attached:
            self._show_roll(message.roll)

    def _show_roll(self, roll: RollCall) -> None:
        self.roll = roll
        if self._zombies_at_first is None and roll.whole and not roll.counts[Verdict.UNKNOWN]:
            # Wait until every agent has a verdict: a zombie is confirmed only after a while.
            self._zombies_at_first = roll.counts[Verdict.ZOMBIE]
        self._summary.show(roll)
        self._notices.show(roll)
        self._body.roll = roll
        self._roll_view.show(roll)
        if roll.whole and not self._acting.locked():
            # An agent that is being killed looks like a zombie until its registry is written.
            self._tell(roll)

    def _tick(self) -> None:
        if self._body.is_attached:
            self._body.tick()

    # Marks and filter

    @on(RollView.Marked)
    def _show_marks(self, message: RollView.Marked) -> None:
        self._summary.show_marks(message.count, message.out_of_sight)

    @on(RollView.Viewed)
    def _show_view(self, message: RollView.Viewed) -> None:
        self._summary.show_only(message.view.only)
        self.refresh_bindings()

    def action_named_view(self, number: int) -> None:
        """Shows a named view of the settings; a second call shows all agents again.

        Args:
            number: The index of the view in the settings.
        """
        pane = self.query_one(RollPane)
        named = self._settings.views[number]
        before = pane.roll.view
        sort = Sort.named(named.sort) if named.sort else before.sort
        reverse = before.reverse and not named.sort
        view = View(named.where, sort, reverse=reverse)
        pane.begin(before.cleared() if view == before and view.narrows else view)

    @on(Summary.Chosen)
    def _choose(self, message: Summary.Chosen) -> None:
        self._roll_view.action_only(message.verdict.value)
