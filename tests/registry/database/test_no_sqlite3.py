"""Without Python's module sqlite3, JSON registries work, and a database is unreadable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.databases import Database
from tests.support.one_agent import built as built
from tests.support.workspaces import Files, entry

_MUSTER = """
import sys
sys.modules["sqlite3"] = sys.modules["_sqlite3"] = None
from tui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def _muster(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _MUSTER, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_json_registries_work_without_sqlite3(tmp_path: Path) -> None:
    files = Files(tmp_path, {"TASK-1": [entry("a")]})
    done = _muster("list", "-S", tmp_path / "none", files.path)
    assert done.returncode == 0 and "TASK-1" in done.stdout
    done = _muster("report", "a", "--status", "working", "-w", files.path)
    assert (done.returncode, files.agent("a")["status"]) == (0, "working")


def test_a_database_without_sqlite3_is_unreadable_with_the_remedy(
    built: Database, tmp_path: Path
) -> None:
    listed = _muster("list", "-S", tmp_path / "none", built.workspace)
    examined = _muster("doctor", "-S", tmp_path / "none", built.workspace)
    reported = _muster("report", "one", "--status", "working", "-w", built.workspace)
    for done in (listed, examined, reported):
        printed = done.stdout + done.stderr
        assert "without its module sqlite3" in printed and "Traceback" not in printed
    assert "libsqlite3-dev" in examined.stdout
