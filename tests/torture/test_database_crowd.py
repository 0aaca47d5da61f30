"""Ten writers of a database every 20 to 60 ms, and muster beside them for a minute."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.database_crowd import LOG_AT_MOST, Crowd
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


def monitors_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("muster-")]


@pytest.mark.parametrize(("readers", "seconds"), [(("monitor", "roll"), 60.0), (("read",), 20.0)])
def test_muster_beside_ten_writers_disturbs_none_and_sees_no_half(
    tmp_path: Path, readers: tuple[str, ...], seconds: float
) -> None:
    crowd = Crowd(tmp_path / ".agent-workspace", writers=10, seconds=seconds)
    seen = crowd.run(*(getattr(crowd, name) for name in readers))
    print(seen)
    assert seen.errors == seen.failed == seen.half == []
    assert seen.lost == 0
    # The log is emptied as often as without muster, though one process keeps it open.
    assert seen.log <= LOG_AT_MOST
    # The last look of a monitor may begin after its stop, and end after it.
    until(lambda: not monitors_threads(), "the monitor's last look")
    assert not crowd.held()
    if readers == ("read",):
        assert seen.held == 0
    assert all(count >= seconds / 10 for count in seen.reads.values())
    # Enough for a log that is never emptied to be larger.
    assert seen.acts > 50 * seconds
    # If muster was reading when the last writer closed the database, the next one removes the log.
    registry = tmp_path / ".agent-workspace" / "registry"
    with closing(sqlite3.connect(registry / "state.sqlite3")) as next_one:
        assert next_one.execute("SELECT count(*) FROM agents").fetchone()
    assert [path.name for path in registry.iterdir()] == ["state.sqlite3"]
