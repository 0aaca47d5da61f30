"""Tests of the choice of tests for each command, and of the place of their files."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from registry.schema.layout import WORKSPACE_NAME
from tests.support.bytecode import compile_ahead
from tests.support.seclusion import has_room, seclude, secluded
from tests.support.selection import (
    FOLDER_MARKS,
    TESTS,
    case,
    marks_of,
    mixed,
    paired,
    part_in_torture,
    run_quickly,
    torture_is_meant,
)

ROOT = TESTS.parent
TORTURE = TESTS / "torture" / "test_power.py"
SLOW = TESTS / "tui" / "app" / "test_memory.py"


@pytest.mark.parametrize(
    ("path", "expression", "arguments", "meant"),
    [
        (TORTURE, "", ["tests"], False),
        (TORTURE, "not tmux", ["tests"], False),
        (TORTURE, "torture", ["tests"], True),
        (TORTURE, "", ["tests/tui", "tests/torture"], True),
        (TORTURE, "", ["tests/torture/test_power.py"], True),
        (TORTURE, "", ["tests/torture/test_kills.py"], False),
        (SLOW, "", ["tests/torture"], False),
        (SLOW, "", ["tests/tui/app/test_memory.py"], False),
        (SLOW, "", ["tests/tui/app/test_memory.py::test_it"], True),
    ],
)
def test_torture_runs_only_when_the_command_line_names_it(
    path: Path, expression: str, arguments: list[str], meant: bool
) -> None:
    assert torture_is_meant(path, expression, arguments, ROOT) is meant


@pytest.mark.parametrize(
    ("keyword", "arguments", "quick"),
    [
        ("", ["tests"], False),
        ("", ["tests/tui", "tests/test_selection.py"], False),
        ("", ["tests/test_selection.py::test_it"], True),
        ("name", ["tests"], True),
    ],
)
def test_a_few_files_and_names_run_without_workers(
    keyword: str, arguments: list[str], quick: bool
) -> None:
    assert run_quickly(keyword, arguments, ROOT) is quick


def test_changed_tests_are_compiled_before_the_workers_start(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "compiled"))
    paths = [tmp_path / f"test_{name}.py" for name in ("good", "bad", "other")]
    for path in paths:
        path.write_text("assert 1 + 1 == 2\n" if path.stem != "test_bad" else "assert (\n")

    def compiled() -> dict[str, int]:
        files = (tmp_path / "compiled").rglob("*.pyc")
        return {path.name.partition(".")[0]: path.stat().st_ino for path in files}

    compile_ahead(pytestconfig, paths, 3)
    before = compiled()
    assert before.keys() == {"test_good", "test_other"}
    paths[2].write_text("assert 1 + 1 == 2, 'and longer'\n")
    compile_ahead(pytestconfig, paths, 3)
    after = compiled()
    assert after["test_good"] == before["test_good"]
    assert after["test_other"] != before["test_other"]


def test_tests_that_wait_are_spread_among_the_others() -> None:
    assert mixed("aabbbbbbcc", str.isspace) == list("aabbbbbbcc")
    assert "".join(mixed("wwwabcdef", lambda each: each == "w")) == "awbcwdewf"
    assert mixed("", bool) == []


def test_marks_come_from_the_folder_and_the_fixtures() -> None:
    assert set(marks_of(TORTURE, ["server"])) == {"processes", "tmux", "torture"}
    assert set(marks_of(TESTS / "test_readme.py", ["tmp_path"])) == set()
    for folder in FOLDER_MARKS:
        assert (TESTS / folder).is_dir() or (TESTS / folder).with_suffix(".py").is_file(), folder


def test_a_directory_below_a_workspace_is_passed_over(tmp_path: Path) -> None:
    below, free = tmp_path / "a" / "b", tmp_path / "c"
    for each in (below, free, tmp_path / "a" / WORKSPACE_NAME):
        each.mkdir(parents=True)
    assert secluded([below, tmp_path / "missing", free]) == free
    assert secluded([below]) is None


def test_temporary_files_lie_in_memory_only_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_room(str(tmp_path / "missing"))
    monkeypatch.setattr("tests.support.seclusion.ROOM", 0)
    assert has_room(str(tmp_path))
    monkeypatch.setattr("tests.support.seclusion.ROOM", 1 << 62)
    assert not has_room(str(tmp_path))


def test_tests_lie_where_no_workspace_is_above(tmp_path: Path) -> None:
    for each in (tmp_path, Path.cwd(), Path(tempfile.gettempdir())):
        assert secluded([each]) == each
    assert Path.cwd() != ROOT
    assert os.environ["TZ"] == "UTC"


def test_nothing_of_the_user_and_its_terminal_is_inherited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not {"COLUMNS", "LINES", "TMUX"} & os.environ.keys()
    for name in ("COLUMNS", "LC_ALL", "MUSTER_ANY", "TMUX", "TZ"):
        monkeypatch.setenv(name, "of the user")
    monkeypatch.delenv("HOME")
    seclude()
    assert "of the user" not in os.environ.values()
    assert os.environ["HOME"] == os.environ["XDG_CONFIG_HOME"] == "/proc/nonexistent"


def test_tests_of_the_same_values_with_different_places_get_all_of_them() -> None:
    halves = [part_in_torture("abcde", first=first) for first in (0, 1)]
    always = [[each.values[0] for each in half if not each.marks] for half in halves]
    assert always == [["a", "c", "e"], ["b", "d"]]
    assert [[each.values[0] for each in half] for half in halves] == [list("abcde")] * 2


def test_of_pairs_a_test_always_gets_each_row_and_each_column() -> None:
    pairs = paired(dict.fromkeys("abc"), dict.fromkeys("xyz"))
    always = [str(each.id).split("-") for each in pairs if not each.marks]
    assert len(pairs) == 9 and len(always) == 5
    assert [set(names) for names in zip(*always, strict=True)] == [set("abc"), set("xyz")]


def test_a_case_that_fails_is_named() -> None:
    with pytest.raises(ValueError, match="wrong") as caught, case("the third"):
        raise ValueError("wrong")
    assert caught.value.__notes__ == ["The case: the third"]
