"""The CPU and memory of the last ten minutes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.rolls import NOW, agent, answered, called, roll_call, session, task_state
from tui.details.load_history import SPAN, LoadHistory, graph
from tui.details.overview import overview
from tui.details.sources import Fields
from tui.host.process.usage import Load
from tui.view.outline import Line


def test_the_history_has_ten_minutes() -> None:
    history: LoadHistory[str] = LoadHistory()
    for second in range(0, 1200, 60):
        history.add({"a": Load(1.0, second, 1)}, float(second))
    assert [at for at, _ in history.of("a")] == [float(at) for at in range(540, 1200, 60)]
    assert history.of("b") == ()
    history.add({"b": Load(None, 5, 1)}, 1140 + SPAN + 1)
    assert history.of("a") == () and len(history.of("b")) == 1


def test_the_graph_rises_and_leaves_gaps() -> None:
    points = [(0.0, 0.0), (60.0, 50.0), (180.0, 100.0)]
    assert graph(points, 200.0, 10, 100.0, ascii_only=False) == "▁▅ █"
    assert graph(points, 200.0, 10, 100.0, ascii_only=True) == "_+ #"
    assert graph([], 200.0, 10, 100.0, ascii_only=False) == ""
    assert graph(points, 5000.0, 10, 100.0, ascii_only=False) == ""


def test_equal_values_change_nothing_until_a_part_of_the_time_ends() -> None:
    points = [(float(at), 3.0) for at in range(0, 630, 3)]
    graphs = {
        graph([p for p in points if p[0] <= now], float(now), 20, 10.0, ascii_only=False)
        for now in range(600, 630, 3)
    }
    assert len(graphs) == 1


@given(
    st.lists(st.tuples(st.floats(0, 2000), st.floats(0, 1e12)), max_size=30),
    st.floats(0, 2000),
    st.integers(1, 60),
)
def test_a_graph_is_never_too_wide(
    points: list[tuple[float, float]], now: float, cells: int
) -> None:
    most = max((value for _, value in points), default=0.0) or 1.0
    assert len(graph(points, now, cells, most, ascii_only=False)) <= cells


def test_the_overview_shows_cpu_and_memory() -> None:
    answer = answered(session("agent_a"))
    roll = roll_call(*called(task_state(agent("a")), answer=answer), answer=answer)
    (row,) = roll.agents()
    loads = tuple((NOW - 60 * n, Load(n * 10.0, n << 20, 1)) for n in (5, 2, 1))
    line = Line(row.key, row, 0, None)
    fields = replace(Fields(None), loads=loads)
    texts = [" ".join(each.text.split()) for each in overview(line, roll, fields, NOW)]
    assert any(t.startswith("cpu █") and t.endswith("10%, at most 50%") for t in texts)
    assert any(t.startswith("memory █") and t.endswith("1.0M, at most 5.0M") for t in texts)
    texts = [each.text for each in overview(line, roll, Fields(None), NOW)]
    assert not any(text.startswith(("cpu", "memory")) for text in texts)
