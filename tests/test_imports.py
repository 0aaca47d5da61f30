"""Tests of the imports: late imports, and that test modules import only helper modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixture_workspace import SOURCE

A_TASK = SOURCE / "TASK-20251017-215604-df6a3cbd"


def _modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("heavy", ["textual", "rich", "libtmux", "psutil", "watchfiles", "tui"])
def test_the_library_knows_no_screen_no_tmux_and_no_process(heavy: str) -> None:
    assert heavy not in _modules_after("import registry")


def test_the_headless_commands_import_no_textual() -> None:
    code = (
        "import contextlib, io\nfrom tui.cli.main import main\n"
        "with contextlib.redirect_stderr(io.StringIO()):\n"
        "    main(['list', '-S', '/nowhere/socket', '/nowhere'])\n"
        "import tui.live.collector, tui.cli.format_roll, tui.actions.execute\n"
        "import tui.demo.run, tui.cli.commands.show, tui.cli.commands.watch"
    )
    assert "textual" not in _modules_after(code)


def test_the_monitor_imports_textual_only_after_it_began_to_call_the_roll() -> None:
    assert "textual" not in _modules_after("import tui.app.run")


@pytest.mark.parametrize(
    "arguments",
    [
        ["tail", "nobody", "-w", "/nowhere"],
        ["completion", "bash"],
        ["completion", "--words", "show", "-w", "/nowhere", ""],
    ],
    ids=" ".join,
)
def test_what_asks_no_tmux_imports_no_libtmux(arguments: list[str]) -> None:
    code = (
        "import contextlib, io\nfrom tui.cli.main import main\n"
        "with contextlib.redirect_stderr(io.StringIO()):\n"
        f"    main({arguments!r})"
    )
    assert not {"libtmux", "psutil", "watchfiles", "textual"} & _modules_after(code)


def test_a_look_at_the_roll_imports_only_what_it_needs() -> None:
    code = (
        "import contextlib, io\nfrom tui.cli.main import main\n"
        "from tui.host import tmux_servers as elsewhere\n"
        # Sessions of whatever else runs here may be worth a look at their processes.
        "elsewhere.servers_of = lambda _: ()\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main(['list', '-S', '/nowhere/socket', {str(A_TASK)!r}])"
    )
    modules = _modules_after(code)
    heavy = {"libtmux", "psutil", "watchfiles", "portalocker", "msgspec", "rich", "textual"}
    heavy |= {"dataclasses", "inspect", "logging", "shutil", "shlex", "textwrap", "traceback"}
    assert not heavy & modules
    # What packages export is imported when it is used: nothing is changed here.
    changing = tuple(
        f"registry.{each}"
        for each in (
            *("operations.", "checks.", "audit."),
            *("storage.commit", "storage.flock", "storage.locked_file", "storage.recovery"),
        )
    )
    assert not {each for each in modules if each.startswith(changing)}


def test_the_screen_is_up_before_tmux_and_the_watcher_are_imported() -> None:
    modules = _modules_after("import tui.app.run, tui.app.app")
    assert not {"libtmux", "watchfiles", "portalocker"} & modules


def _is_test_module(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last == "conftest" or last.startswith("test_")


def imported_tests(source: str) -> Iterator[str]:
    """Returns the test modules and conftests that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            # From a package, what is imported may be a module itself.
            inner = [f"{module}.{each.name}" for each in node.names]
            own = module.startswith("tests") or node.level > 0
            names = [module, *(inner if own else ())]
        else:
            continue
        yield from filter(_is_test_module, names)


def test_no_test_module_is_imported_by_another() -> None:
    here = Path(__file__).parent
    wrong = [
        f"{path.relative_to(here)} imports {name}"
        for path in sorted(here.rglob("*.py"))
        for name in imported_tests(path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "import tests.tui.test_a",
        "from tests.tui.test_a import helper",
        "from tests.tui import test_a",
        "from . import test_a",
        "from tests.conftest import fixture as fixture",
    ],
)
def test_an_import_of_a_test_module_is_found(line: str) -> None:
    assert list(imported_tests(line))
