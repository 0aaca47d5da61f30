"""The lines above the agent list: the host, the state of tmux, the counts and the warnings."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from registry.dataclass import dataclass
from registry.text import shown_name
from tui.host.tmux_types import TmuxState
from tui.model.roll import RollCall, Verdict
from tui.model.verdicts import VERDICTS
from tui.model.warnings import notices, workspace_place
from tui.text.sanitize import fit, harmless, some, width
from tui.view.sort import urgency_of

_BETWEEN = "  "

_URGENT_FIRST = sorted(VERDICTS, key=urgency_of)


class Summary(Static):
    """Shows the host, the workspaces, the state of tmux, and the number of agents per verdict.

    Args:
        note: A remark about the monitor itself, such as "read-only"; may be empty.
    """

    DEFAULT_CSS = """
    Summary { height: 3; background: $background; }
    """

    @dataclass
    class Chosen(Message):
        """The message that the operator clicked the counter of a verdict."""

        verdict: Verdict
        """The verdict of the counter."""

    def __init__(self, note: str = "") -> None:
        super().__init__("", markup=False)
        self._note = note
        self._roll: RollCall | None = None
        self._marks = (0, 0)
        self._only: Verdict | None = None
        self._counters: tuple[tuple[int, int, Verdict], ...] = ()
        self._drawn: Content | None = None

    def show(self, roll: RollCall) -> None:
        """Shows the host, the workspaces, tmux and the counts of a new roll call."""
        self._roll = roll
        self._draw()

    def show_marks(self, count: int, out_of_sight: int) -> None:
        """Shows the number of marked agents, and how many of them a fold or the filter hides."""
        self._marks = count, out_of_sight
        self._draw()

    def show_only(self, only: Verdict | None) -> None:
        """Highlights the counter of a verdict; None removes the highlight."""
        self._only = only
        self._draw()

    def on_click(self, event: events.Click) -> None:
        """Posts `Chosen` with the verdict of the clicked counter."""
        if event.y == self.size.height - 1:
            for start, end, verdict in self._counters:
                if start <= event.x < end:
                    self.post_message(self.Chosen(verdict))

    def on_resize(self) -> None:
        """Draws the lines for the new width."""
        self._draw()

    def _draw(self) -> None:
        cells = self.size.width
        if self._roll is None or not cells:
            return
        note = _marked(*self._marks)
        # The number of marks must be visible, because a key acts on all marked agents.
        room = cells - (1 + width(note) if note else 0)
        counts, self._counters = _counts(self._roll, self._only, room)
        if note:
            gap = max(1, cells - counts.cell_length - width(note))
            counts = Content.assemble(counts, " " * gap, (note, "$warning bold"))
        lines = [_where(self._roll, self._note, cells), _tmux(self._roll), counts]
        # With room for only one line, show the counts.
        lines = lines[-max(1, self.size.height) :]
        drawn = Content("\n").join(line.truncate(cells, ellipsis=True) for line in lines)
        # Most roll calls change none of these lines.
        if self._drawn is None or not drawn.is_same(self._drawn):
            self._drawn = drawn
            self.update(drawn, layout=False)


_NOTICE_LINES = 5
"""The largest number of lines that warnings take above the agent list."""


class Notices(Static):
    """Shows the warnings that the operator needs before an action; hidden without a warning."""

    DEFAULT_CSS = f"""
    Notices {{ height: auto; max-height: {_NOTICE_LINES}; background: $error 20%; display: none; }}
    Notices.shown {{ display: block; }}
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._warnings: tuple[str, ...] = ()
        self._drawn = ""

    def show(self, roll: RollCall) -> None:
        """Shows the warnings of a roll call."""
        warnings = tuple(f"! {harmless(notice, 600)}" for notice in notices(roll))
        if warnings != self._warnings:
            self._warnings = warnings
            self.set_class(bool(warnings), "shown")
            self._draw()

    def on_resize(self) -> None:
        """Shows as many warnings as there is room for."""
        self._draw()

    def _draw(self) -> None:
        # Before the first layout, the widget has no size.
        cells = self.size.width or self.app.size.width
        drawn = "\n".join(fitting(self._warnings, cells, _NOTICE_LINES))
        if drawn != self._drawn:
            self._drawn = drawn
            self.update(Content(drawn))


def fitting(warnings: Sequence[str], cells: int, lines: int) -> tuple[str, ...]:
    """Returns the first warnings for which there is room, and the number of the others.

    Args:
        warnings: The warnings. A single one is never cut.
        cells: The width of a line.
        lines: The number of lines; a long warning needs several.
    """
    heights = [Content(warning).get_height({}, max(1, cells)) for warning in warnings]
    if len(warnings) <= 1 or sum(heights) <= lines:
        return tuple(warnings)
    # The last line has the number of the others.
    count, left = 0, lines - 1
    while heights[count] <= left:
        left -= heights[count]
        count += 1
    shown = list(warnings[:count]) or [fit(warnings[0], cells * left - cells // 2)]
    more = some(len(warnings) - len(shown), "further warning")
    return (*shown, f"! {more}: muster list prints all")


def _where(roll: RollCall, note: str, cells: int) -> Content:
    host = Content.assemble(
        ("muster ", "$primary bold"),
        (f"{note} ", "$warning bold") if note else "",
        (f"{harmless(roll.host, 64)} ", "bold"),
    )
    # Several workspaces have a line each in the list below.
    room = cells - host.cell_length if len(roll.workspaces) == 1 else None
    paths = ", ".join(workspace_place(workspace, room) for workspace in roll.workspaces)
    where = Content.assemble(host, paths)
    if len(roll.workspaces) == 1 and roll.workspaces[0].error:
        error = harmless(roll.workspaces[0].error, 400)
        where = Content.assemble(where, (f"  ! {error}", "$error bold"))
    return where


def _tmux(roll: RollCall) -> Content:
    answer = roll.answer
    socket = shown_name(answer.socket)
    detail = harmless(answer.detail, 400)
    if answer.state is TmuxState.ANSWERED:
        # A renamed session is listed under its old name too.
        count = len({session.id for session in answer.sessions.values()})
        sessions = some(count, "session")
        return Content.assemble(("tmux ", "bold"), f"{detail}, {sessions} on {socket}")
    if answer.state is TmuxState.NO_SERVER:
        return Content.assemble(("tmux ", "bold"), (detail, "$warning"))
    return Content.assemble(("tmux unknown: ", "$error bold"), (detail, "$error"), f" [{socket}]")


def _counts(
    roll: RollCall, only: Verdict | None, cells: int
) -> tuple[Content, tuple[tuple[int, int, Verdict], ...]]:
    """Returns the line of counters, and the start, the end and the verdict of each counter.

    With little room, the counters of 0 are left out; then words, the least urgent ones first.

    Args:
        roll: The roll call.
        only: The verdict whose counter is highlighted, or None.
        cells: The width of the line.
    """
    line, places = _counters(roll, only, _URGENT_FIRST, zeros=True)
    words = len(VERDICTS)
    while line.cell_length > cells and words >= 0:
        line, places = _counters(roll, only, _URGENT_FIRST[:words], zeros=False)
        words -= 1
    return line, places


def _counters(
    roll: RollCall, only: Verdict | None, named: Collection[Verdict], *, zeros: bool
) -> tuple[Content, tuple[tuple[int, int, Verdict], ...]]:
    """Returns the line of counters; see `_counts`.

    Args:
        roll: The roll call.
        only: The verdict whose counter is highlighted, or None.
        named: The verdicts whose names are shown.
        zeros: Whether to show the counters of 0.
    """
    parts: list[tuple[str, str]] = []
    places: list[tuple[int, int, Verdict]] = []
    at = 0
    if roll.unreadable:
        parts.append((f"! {roll.unreadable} unreadable{_BETWEEN}", "$error bold"))
        at = width(parts[0][0])
    if not roll.agents_known and not any(roll.counts[v] for v in VERDICTS if v != Verdict.ORPHAN):
        parts.append((f"agents unknown{_BETWEEN}", "$warning bold"))
        at += width(parts[-1][0])
    for verdict, entry in VERDICTS.items():
        count = roll.counts[verdict]
        unknown = verdict is Verdict.ORPHAN and not roll.orphans_known
        if not (count or unknown or verdict is only or zeros):
            continue
        text = f"{entry.glyph} {'?' if unknown else count}"
        text += f" {verdict.value}" if verdict in named else ""
        style = entry.style if count and not unknown else "dim"
        between = _BETWEEN if places else ""
        parts += [(between, ""), (text, f"{style} reverse" if verdict is only else style)]
        at += width(between)
        places.append((at, at + width(text), verdict))
        at += width(text)
    return Content.assemble(*(parts or [("no agents", "dim")])), tuple(places)


def _marked(marks: int, out_of_sight: int) -> str:
    if not marks:
        return ""
    return f"▌{marks} marked" + (f", {out_of_sight} not shown" if out_of_sight else "")
