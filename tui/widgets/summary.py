"""The lines above the roll: where this is, what tmux said, the counts, the columns."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui.host.sessions import TmuxState
from tui.notices import notices
from tui.roll import RollCall, Verdict
from tui.text import harmless, some, width
from tui.widgets.cells import GLYPHS, heading

_ORDER = (
    Verdict.LIVE,
    Verdict.STALLED,
    Verdict.ZOMBIE,
    Verdict.LEAKED,
    Verdict.ORPHAN,
    Verdict.UNKNOWN,
    Verdict.FINISHED,
)
_STYLES = {
    Verdict.LIVE: "$success",
    Verdict.STALLED: "$warning bold",
    Verdict.ZOMBIE: "$error bold",
    Verdict.LEAKED: "$accent bold",
    Verdict.ORPHAN: "$secondary bold",
    Verdict.UNKNOWN: "$warning",
    Verdict.FINISHED: "dim",
}


class Summary(Static):
    """Host, workspaces, tmux and counts by verdict.

    Args:
        note: What is to be said of the monitor itself; may be empty.
    """

    DEFAULT_CSS = """
    Summary { height: 3; background: $background; }
    """

    def __init__(self, note: str = "") -> None:
        super().__init__("", markup=False)
        self._note = note
        self._roll: RollCall | None = None
        self._marks = 0
        self._drawn: Content | None = None

    def show(self, roll: RollCall) -> None:
        """Shows another roll call."""
        self._roll = roll
        self._draw()

    def show_marks(self, count: int) -> None:
        """Shows how many agents are marked."""
        self._marks = count
        self._draw()

    def on_resize(self) -> None:
        """Fits the lines to another width."""
        self._draw()

    def _draw(self) -> None:
        cells = self.size.width
        if self._roll is None or not cells:
            return
        lines = [
            _where(self._roll, self._note),
            _tmux(self._roll),
            _counts(self._roll, self._marks, cells),
        ]
        # With room for one line only, the counts are the one that matters.
        lines = lines[-max(1, self.size.height) :]
        drawn = Content("\n").join(line.truncate(cells, ellipsis=True) for line in lines)
        # A roll call comes every few seconds; most say here what is said already.
        if self._drawn is None or not drawn.is_same(self._drawn):
            self._drawn = drawn
            self.update(drawn, layout=False)


class Notices(Static):
    """What has to be known before anybody acts, in full; not there when there is nothing."""

    DEFAULT_CSS = """
    Notices { height: auto; max-height: 5; background: $error 20%; display: none; }
    Notices.shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._said: tuple[str, ...] = ()

    def show(self, roll: RollCall) -> None:
        """Shows what there is to say of a roll call."""
        said = tuple(harmless(each, 600) for each in notices(roll))
        if said != self._said:
            self._said = said
            self.set_class(bool(said), "shown")
            self.update(Content("\n".join(f"! {each}" for each in said)))


class Heading(Static):
    """The names of the roll's columns."""

    DEFAULT_CSS = """
    Heading { height: 1; background: $background; text-style: bold dim; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def on_resize(self) -> None:
        """Fits the names to another width; one cell is the scrollbar's."""
        self.update(Content(heading(self.size.width - 1)), layout=False)


def _where(roll: RollCall, note: str) -> Content:
    paths = ", ".join(harmless(str(workspace.path), 400) for workspace in roll.workspaces)
    where = Content.assemble(
        ("muster ", "$primary bold"),
        (f"{note} ", "$warning bold") if note else "",
        (f"{harmless(roll.host, 64)} ", "bold"),
        paths,
    )
    if len(roll.workspaces) == 1 and roll.workspaces[0].error:
        error = harmless(roll.workspaces[0].error, 400)
        where = Content.assemble(where, (f"  ! {error}", "$error bold"))
    return where


def _tmux(roll: RollCall) -> Content:
    answer = roll.answer
    socket = harmless(str(answer.socket), 200)
    detail = harmless(answer.detail, 400)
    if answer.state is TmuxState.ANSWERED:
        count = len(answer.sessions)
        sessions = some(count, "session")
        return Content.assemble(("tmux ", "bold"), f"{detail}, {sessions} on {socket}")
    if answer.state is TmuxState.NO_SERVER:
        return Content.assemble(("tmux ", "bold"), (detail, "$warning"))
    return Content.assemble(("tmux unknown: ", "$error bold"), (detail, "$error"), f" [{socket}]")


def _counts(roll: RollCall, marks: int, cells: int) -> Content:
    parts: list[tuple[str, str]] = []
    gap = "  "
    # With little room the words of what there is none of are left out first.
    for verdict in _ORDER:
        count = roll.counts[verdict]
        if verdict is Verdict.ORPHAN and not roll.orphans_known:
            parts.append((f"{GLYPHS[verdict]} ? {verdict.value}{gap}", "dim"))
        elif count or cells >= 100:
            style = _STYLES[verdict] if count else "dim"
            parts.append((f"{GLYPHS[verdict]} {count} {verdict.value}{gap}", style))
    if roll.unreadable:
        parts.insert(0, (f"! {roll.unreadable} unreadable{gap}", "$error bold"))
    if not parts:
        parts.append(("no agents", "dim"))
    line = Content.assemble(*parts)
    if marks:
        note = f"▌{marks} marked"
        room = max(1, cells - line.cell_length - width(note))
        line = Content.assemble(line, " " * room, (note, "$warning bold"))
    return line
