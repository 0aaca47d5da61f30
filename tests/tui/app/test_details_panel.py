"""The panel and the keys that lead from the roll, driven on files that change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.support.panel_app import LIVE, PaneTmux, calm, opened
from tests.support.panel_app import prompt as prompt
from tests.support.rolls import answered, cannot_tell, no_server
from tests.support.scripted_tmux import ScriptedTmux
from tests.support.workspaces import Files, entry, row_of, take
from tui.actions.execute import carry_out
from tui.actions.plan_complete import plan_complete
from tui.app.app import MusterApp
from tui.app.screens.body import Body
from tui.app.screens.choice import ChoiceScreen
from tui.app.terminal import attach, handover
from tui.app.widgets.details_panel import Panel
from tui.app.widgets.roll_list import RollView
from tui.app.widgets.tab_bar import TABS, Tab, TabBar
from tui.host.tmux_types import TmuxSnapshot
from tui.model.roll import AgentKey


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(
        tmp_path,
        {"TASK-1": [entry("a", prompt="Do it well."), entry("b", parent="a"), entry("c")]},
    )
    for folder in ("progress", "findings", "logs"):
        (made.registry().parent / folder).mkdir()
    return made


def write(files: Files, name: str, *lines: object) -> None:
    folder = {"progress": "progress", "findings": "findings", "stream": "logs"}[name]
    path = files.registry().parent / folder / f"a_{name}.jsonl"
    with path.open("a", encoding="utf-8") as opened:
        opened.writelines(json.dumps(line) + "\n" for line in lines)


def tab_of(app: MusterApp) -> Tab:
    return app.query_one(Panel).tab


def reread(app: MusterApp) -> None:
    """What the follower does by itself when some time has passed."""
    app.query_one(Panel)._follower.wake()


def current(app: MusterApp) -> str:
    line = app.query_one(RollView).current
    assert line is not None and isinstance(line.key, AgentKey)
    return line.key.id


# --- tabs -------------------------------------------------------------------------


async def test_brackets_step_through_the_tabs_and_digits_open_them_from_the_panel(
    files: Files,
) -> None:
    async with opened(files, size=(240, 36)) as (app, paper, pilot):
        assert tab_of(app) is Tab.OVERVIEW
        for tab in (*TABS[1:], TABS[0]):
            await pilot.press("right_square_bracket")
            assert tab_of(app) is tab
        await pilot.press("left_square_bracket")
        assert tab_of(app) is Tab.AUDIT
        bar = app.query_one(TabBar)
        assert "2 Timeline" not in str(bar.render())
        await pilot.press("tab")
        await calm(pilot)
        assert app.focused is paper
        assert "2 Timeline" in str(bar.render()), "the numbers are keys now"
        for number, tab in enumerate(TABS, 1):
            await pilot.press(str(number))
            assert tab_of(app) is tab


async def test_a_click_on_its_name_opens_a_tab(files: Files) -> None:
    async with opened(files) as (app, _, pilot):
        names = str(app.query_one(TabBar).render())
        await pilot.click(TabBar, offset=(names.index("Findings") + 2, 0))
        assert tab_of(app) is Tab.FINDINGS


@pytest.mark.parametrize("width", [10, 30, 46, 80])
async def test_the_open_tab_is_named_whatever_the_width(files: Files, width: int) -> None:
    async with opened(files, size=(width, 24)) as (app, _, pilot):
        await pilot.press("right_square_bracket", "right_square_bracket")
        await calm(pilot)
        assert "Findings" in str(app.query_one(TabBar).render())


async def test_the_overview_leads_to_parent_and_children(files: Files) -> None:
    async with opened(files) as (app, paper, pilot):
        assert current(app) == "a"
        words = " ".join(paper.text.split())
        assert "prompt Do it well." in words and "child b" in words
        await pilot.press("tab", "enter")
        await calm(pilot)
        assert current(app) == "b"
        assert "parent a" in " ".join(paper.text.split())
        await pilot.press("enter")
        await calm(pilot)
        assert current(app) == "a"
        await pilot.press("escape")
        await calm(pilot)
        assert isinstance(app.focused, RollView)


async def test_an_agent_that_is_folded_away_is_not_jumped_to_silently(files: Files) -> None:
    async with opened(files) as (app, _, pilot):
        await pilot.press("left", "tab", "enter")
        await calm(pilot)
        assert current(app) == "a"
        assert any("b is not shown" in each for each in app.said)


async def test_progress_comes_live_and_a_torn_line_is_waited_for(files: Files) -> None:
    write(files, "progress", {"timestamp": "2026-01-01T10:00:00", "progress": 10, "message": "x"})
    async with opened(files) as (app, paper, pilot):
        await pilot.press("right_square_bracket")
        await calm(pilot)
        assert "10 %" in paper.text and "100 %" in paper.text
        path = files.registry().parent / "progress" / "a_progress.jsonl"
        with path.open("a") as torn:
            torn.write('{"timestamp": "2026-01-01T11:00:00", "progress": 55, ')
            torn.flush()
            reread(app)
            await calm(pilot)
            assert "incomplete" in paper.text and "55 %" not in paper.text
            torn.write('"message": "half way"}\n')
        reread(app)
        await calm(pilot)
        assert "half way" in paper.text and "incomplete" not in paper.text


async def test_findings_are_sorted_by_severity(files: Files) -> None:
    write(
        files, "findings",
        {"severity": "low", "message": "small"}, {"severity": "critical", "message": "big"},
    )  # fmt: skip
    async with opened(files) as (_, paper, pilot):
        await pilot.press("right_square_bracket", "right_square_bracket")
        await calm(pilot)
        assert paper.text.index("big") < paper.text.index("small")


def speech(number: int) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": f"s{number}."}]}}


async def test_the_log_follows_until_one_scrolls_up_and_again_from_the_end(files: Files) -> None:
    write(files, "stream", *map(speech, range(100)))
    async with opened(files, size=(240, 36)) as (app, paper, pilot):
        await pilot.press("tab", "5")
        await calm(pilot)
        assert paper.at_end and "following" in str(app.query_one(TabBar).render())
        write(files, "stream", *map(speech, range(100, 110)))
        reread(app)
        await calm(pilot)
        assert paper.at_end and "s109." in paper.text
        await pilot.press("pageup")
        await calm(pilot)
        place = paper.scroll_offset.y
        assert "below" in str(app.query_one(TabBar).render())
        write(files, "stream", speech(200))
        reread(app)
        await calm(pilot)
        assert paper.scroll_offset.y == place, "who reads is not carried away"
        await pilot.press("end")
        write(files, "stream", speech(201))
        reread(app)
        await calm(pilot)
        assert paper.at_end


async def test_the_log_is_searched_with_its_own_slash(files: Files) -> None:
    write(files, "stream", *map(speech, range(100)))
    async with opened(files) as (app, paper, pilot):
        await pilot.press("tab", "5", "slash", *"S4")
        await calm(pilot)
        bar = app.query_one(TabBar)
        assert "/11" in str(bar.render())
        await pilot.press("enter")
        assert app.focused is paper
        await pilot.press("n")
        await calm(pilot)
        first = str(bar.render())
        await pilot.press("N")
        await calm(pilot)
        assert str(bar.render()) != first
        await pilot.press("slash", "x")
        await calm(pilot)
        assert "not found" in str(bar.render())
        await pilot.press("escape")
        await calm(pilot)
        assert "not found" not in str(bar.render())
        assert app.focused is paper
        assert not app.query_one(Panel).query_one(Input).has_class("shown")


async def test_the_pane_is_captured_only_when_its_session_had_output(files: Files) -> None:
    tmux = PaneTmux(answered(LIVE))
    async with opened(files, tmux) as (app, paper, pilot):
        assert tmux.captures == 0, "not before its tab is open"
        await pilot.press(*["right_square_bracket"] * 3)
        await calm(pilot)
        assert tmux.captures == 1 and "red alert" in paper.text
        tmux.shows = ["more"]
        app.call_the_roll()
        await calm(pilot)
        assert tmux.captures == 1, "nothing was written"
        tmux._answers = (answered(replace(LIVE, activity=LIVE.activity + 5)),)
        app.call_the_roll()
        await calm(pilot)
        assert tmux.captures == 2 and paper.text == "more"
        await pilot.press("right_square_bracket")
        tmux._answers = (answered(replace(LIVE, activity=LIVE.activity + 9)),)
        app.call_the_roll()
        await calm(pilot)
        assert tmux.captures == 2, "nor when it is closed"


async def test_a_pane_that_cannot_be_had_says_why(files: Files) -> None:
    tmux = PaneTmux(answered(LIVE))
    tmux.shows = OSError("tmux did not answer within 5 s")
    async with opened(files, tmux) as (_, paper, pilot):
        await pilot.press(*["right_square_bracket"] * 3)
        await calm(pilot)
        assert "cannot show the pane: tmux did not answer within 5 s" in paper.text
        await pilot.press("down")
        await calm(pilot)
        assert "no session to show" in paper.text
        await pilot.press("home")
        await calm(pilot)
        assert "Only agents have this tab" in paper.text


async def test_the_record_is_of_the_agent_under_the_cursor(files: Files) -> None:
    nobody = ScriptedTmux(no_server())
    roll = take(files, nobody)
    carry_out(plan_complete(roll, [row_of(roll, "a")]), nobody, "it was gone")
    async with opened(files) as (_, paper, pilot):
        await pilot.press("left_square_bracket")
        await calm(pilot)
        assert "it was gone" in paper.text
        await pilot.press("down")
        await calm(pilot)
        assert "has no changes of the selected line" in paper.text
        await pilot.press("home")
        await calm(pilot)
        assert "it was gone" in paper.text, "a task's record is that of all its agents"


async def test_nothing_is_drawn_when_nothing_is_new(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files, "stream", *map(speech, range(9)))
    async with opened(files) as (app, paper, pilot):
        await pilot.press("tab", "5")
        await calm(pilot)
        drawn: list[Any] = []
        monkeypatch.setattr(paper, "refresh", lambda *given, **_: drawn.append(given))
        reread(app)
        app.query_one(Body).tick()
        await calm(pilot)
        assert drawn == []
        write(files, "stream", speech(10))
        reread(app)
        await calm(pilot)
        assert drawn


async def test_late_content_is_announced(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(files) as (app, paper, pilot):
        panel = app.query_one(Panel)
        monkeypatch.setattr(panel._follower, "wake", lambda: None)
        await pilot.press("right_square_bracket")
        panel._say_late()
        await calm(pilot)
        assert "Still reading after 5 s" in paper.text


async def test_p_gives_the_panel_more_room_and_back(files: Files) -> None:
    for size in ((80, 24), (160, 50)):
        async with opened(files, size=size) as (app, _, pilot):
            panel = app.query_one(Panel)
            before = panel.size
            await pilot.press("p")
            await calm(pilot)
            assert panel.size.width * panel.size.height > 1.5 * before.width * before.height
            assert app.query_one(RollView).size.height > 0
            await pilot.press("p")
            await calm(pilot)
            assert panel.size == before


# --- going there ------------------------------------------------------------------


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was run on the terminal."""
    given: list[list[str]] = []

    async def lend(
        app: object, words: list[str], *_: object, shows_text: bool = False
    ) -> tuple[int, str]:
        given.append(words)
        return 0, ""

    monkeypatch.setattr(attach, "lend_terminal", lend)
    monkeypatch.setattr(handover, "lend_terminal", lend)
    monkeypatch.delenv("TMUX", raising=False)
    return given


async def settled(app: MusterApp, pilot: Pilot[None]) -> None:
    await app.workers.wait_for_complete()
    await calm(pilot)


@pytest.mark.parametrize(
    ("key", "command"),
    [("a", "attach-session -t"), ("A", "attach-session -r -t")],
)
async def test_a_key_goes_into_the_session_and_comes_back_to_the_same_place(
    files: Files, lent: list[list[str]], key: str, command: str
) -> None:
    async with opened(files) as (app, _, pilot):
        await pilot.press(key)
        await settled(app, pilot)
        (words,) = lent
        assert f"{command} '{LIVE.id}'" in " ".join(words)
        assert "agent_a" not in " ".join(words), "no name is ever a target"
        assert current(app) == "a" and app.said == []


async def test_in_read_only_mode_one_only_looks(files: Files, lent: list[list[str]]) -> None:
    async with opened(files, read_only=True) as (app, _, pilot):
        await pilot.press("a")
        await settled(app, pilot)
        (words,) = lent
        assert "attach-session -r -t" in " ".join(words)


@pytest.mark.parametrize(
    ("answer", "says"),
    [(no_server(), "a has no session on this host"), (cannot_tell(), "tmux cannot be queried")],
)
async def test_a_session_that_cannot_be_attached_is_explained(
    files: Files, lent: list[list[str]], answer: TmuxSnapshot, says: str
) -> None:
    async with opened(files, PaneTmux(answer)) as (app, _, pilot):
        for key in ("a", "A"):
            await pilot.press(key)
            await settled(app, pilot)
        assert not lent
        assert all(says in each for each in app.said) and app.said


async def test_a_session_that_went_meanwhile_is_not_gone_into(
    files: Files, lent: list[list[str]]
) -> None:
    tmux = PaneTmux(answered(LIVE))
    async with opened(files, tmux) as (app, _, pilot):
        tmux._answers = (answered(replace(LIVE, created=LIVE.created + 7)),)
        await pilot.press("a")
        await settled(app, pilot)
        assert not lent and any("agent_a is gone" in each for each in app.said)


async def test_without_a_terminal_a_message_is_shown(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    async with opened(files) as (app, _, pilot):
        await pilot.press("a")
        await settled(app, pilot)
        assert any("does not run on a terminal" in each for each in app.said)
        monkeypatch.setenv("PAGER", "cat")
        await pilot.press("o")
        await settled(app, pilot)
        assert any("cannot show the file" in each for each in app.said)


@pytest.mark.parametrize("back", ["enter", "escape"])
@pytest.mark.parametrize(("answer", "tab"), [(answered(LIVE), Tab.PANE), (no_server(), Tab.LOG)])
async def test_enter_shows_what_an_agent_does_and_types_nothing(
    files: Files, lent: list[list[str]], answer: TmuxSnapshot, tab: Tab, back: str
) -> None:
    async with opened(files, PaneTmux(answer)) as (app, _, pilot):
        body, panel = app.query_one(Body), app.query_one(Panel)
        await pilot.press("right_square_bracket")
        before = panel.tab
        await pilot.press("enter")
        await settled(app, pilot)
        assert panel.tab is tab and body.has_class("large") and panel.has_focus_within
        await pilot.press(back)
        await settled(app, pilot)
        assert panel.tab is before and not body.has_class("large")
        assert app.query_one(RollView).has_focus and current(app) == "a"
        assert not lent


async def test_enter_leaves_a_panel_large_that_was_large(files: Files) -> None:
    async with opened(files) as (app, _, pilot):
        await pilot.press("p", "enter", "enter")
        await settled(app, pilot)
        assert app.query_one(Body).has_class("large") and app.query_one(RollView).has_focus


async def test_enter_on_a_task_folds_and_unfolds(files: Files, lent: list[list[str]]) -> None:
    async with opened(files) as (app, _, pilot):
        view = app.query_one(RollView)
        everybody = len(view.lines)
        await pilot.press("home", "enter")
        assert len(view.lines) < everybody
        await pilot.press("enter")
        assert len(view.lines) == everybody
        await pilot.press("a")
        await settled(app, pilot)
        assert not lent and any("move the cursor to an agent" in each for each in app.said)


async def test_o_opens_the_only_file_or_asks_which(
    files: Files, lent: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", "cat -n")
    async with opened(files) as (app, _, pilot):
        await pilot.press("o")
        await settled(app, pilot)
        assert lent == [["cat", "-n", str(files.registry())]]
        write(files, "stream", speech(1))
        for key, path in (("2", "a_stream.jsonl"), ("enter", "AGENT_REGISTRY.json")):
            await pilot.press("o")
            while not isinstance(app.screen, ChoiceScreen):
                await calm(pilot)
            await pilot.press(key)
            await settled(app, pilot)
            assert lent[-1][-1].endswith(path)
        await pilot.press("o")
        while not isinstance(app.screen, ChoiceScreen):
            await calm(pilot)
        await pilot.press("escape")
        await settled(app, pilot)
        assert len(lent) == 3


async def test_o_says_what_is_wrong(
    files: Files, lent: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", "no-such-pager")
    async with opened(files) as (app, _, pilot):
        await pilot.press("o")
        await settled(app, pilot)
        assert not lent and any("cannot find no-such-pager" in e for e in app.said)
        files.registry().unlink()
        await pilot.press("o")
        await settled(app, pilot)
        assert any("no file to open" in each for each in app.said)


async def test_y_copies_the_id_and_a_capital_one_the_session(files: Files) -> None:
    async with opened(files) as (app, _, pilot):
        await pilot.press("y")
        assert app.clipboard == "a"
        await pilot.press("Y")
        assert app.clipboard == "agent_a"
        assert app.said == ["Copied: a", "Copied: agent_a"]
        await pilot.press("home", "y")
        assert app.clipboard == "TASK-1"
        await pilot.press("Y")
        assert app.clipboard == "TASK-1" and "There is no session to copy." in app.said


async def test_an_id_that_would_act_where_it_is_pasted_is_not_copied(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("x\nrm -rf ~\n")]})
    async with opened(files) as (app, _, pilot):
        await pilot.press("y")
        assert app.clipboard == ""
        assert any("Not copied" in each and "\n" not in each for each in app.said)


def test_no_digit_of_the_roll_opens_a_tab() -> None:
    keys = {getattr(each, "key", "") for each in Body.BINDINGS}
    assert not keys & set("0123456789")
