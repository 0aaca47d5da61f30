"""Tests of the manual pages: complete, free of warnings, and in the wheel."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tui.cli.main import COMMANDS, page_of, parser_of
from tui.cli.manual import pages

ROOT = Path(__file__).parents[3]

NAMES = {"": "muster.1", **{command: f"muster-{command}.1" for command in COMMANDS}}


def rendered(text: str) -> str:
    """Returns a page as a reader sees it, without the breaks of its lines."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-ww", "-Tutf8", "-P-cbou"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(done.stdout.split())


def test_every_command_has_a_page() -> None:
    assert set(pages()) == set(NAMES.values())


@pytest.mark.parametrize("command", NAMES)
def test_a_page_has_the_whole_help_and_no_warning(command: str) -> None:
    text = pages()[NAMES[command]]
    assert text.isascii()
    shown = rendered(text)
    page = page_of(command)
    folded = shown.casefold()
    for line in (*page.text.splitlines(), *page.more.splitlines()):
        # The titles of the last parts are in capital letters.
        assert " ".join(line.split()).removesuffix(":").casefold() in folded, line
    for example, purpose in page.examples:
        assert example in shown and purpose in shown
    for action in parser_of(command)._actions:
        for name in action.option_strings:
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown), name
        assert " ".join((action.help or "").split()) in shown


def test_no_text_is_a_command_of_roff() -> None:
    for text in pages().values():
        for line in text.splitlines():
            assert not line.startswith("'")
            assert not line.startswith(".") or re.match(
                r"\.(TH|SH|TP|PP|B|BR|nf|fi|nh|ad l)\b", line
            )


def test_the_wheel_has_the_pages(tmp_path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("registry", "tui", ".ci"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # The cache of uv is in the user's home directory.
    home = pwd.getpwuid(os.getuid()).pw_dir
    done = subprocess.run(
        [uv, "build", "--wheel", "--offline", "--python", sys.executable, "-o", str(tmp_path)],
        cwd=source,
        env={**os.environ, "HOME": home},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 and "hatchling" in done.stderr and "network" in done.stderr:
        pytest.skip("hatchling is not in the cache of uv")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name.split("/share/man/man1/")[1]: archive.read(name).decode("ascii")
            for name in archive.namelist()
            if "/share/man/man1/" in name
        }
    assert inside == pages()
