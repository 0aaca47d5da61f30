"""Tests that the documents name the tests, commands, verdicts, keys and files correctly."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from registry.checks import IssueKind
from tui.app.keymap import documented
from tui.cli.main import COMMANDS
from tui.model.roll import Verdict
from tui.model.verdicts import VERDICTS

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "tui/README.md",
        "registry/README.md",
        "tests/README.md",
        "tests/benchmarks/README.md",
    )
}


def test_every_test_that_a_document_names_is_there() -> None:
    assert len(re.findall(r"`test_\w+`", DOCUMENTS["registry/README.md"])) > 15
    named = {test for text in DOCUMENTS.values() for test in re.findall(r"`(test_\w+)`", text)}
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
    assert named <= there, named - there


@pytest.mark.parametrize("document", ["README.md", "tui/README.md"])
def test_every_command_is_in_it(document: str) -> None:
    for command in COMMANDS:
        assert re.search(rf"muster {command}\b", DOCUMENTS[document]), command


def test_the_readme_is_short() -> None:
    assert len(DOCUMENTS["README.md"].splitlines()) <= 150


def test_the_readme_has_every_verdict_once() -> None:
    told = re.findall(r"^\| \S \*\*(\w+)\*\* \|", DOCUMENTS["README.md"], re.M)
    assert sorted(told) == sorted(verdict.value for verdict in Verdict)


def _key_table(document: str) -> list[str]:
    table = DOCUMENTS[document].split("## Keys\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.M)
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row)]


def test_every_key_that_a_document_names_is_one() -> None:
    written = {
        "left_square_bracket": "[", "right_square_bracket": "]", "slash": "/", "plus": "+",
        "asterisk": "*", "question_mark": "?", "up": "↑", "down": "↓", "left": "←", "right": "→",
        "pageup": "PageUp", "pagedown": "PageDown", "home": "Home", "end": "End",
        "shift+down": "Shift-↓", "shift+up": "Shift-↑", "enter": "Enter", "tab": "Tab",
        "escape": "Escape", "f1": "F1", "ctrl+l": "Ctrl-L", "ctrl+p": "Ctrl-P", "ctrl+z": "Ctrl-Z",
        "ctrl+c": "Ctrl-C", "less_than_sign": "<", "greater_than_sign": ">",
        # In a table, a bar would end the cell.
        "vertical_line": "\\|",
    }  # fmt: skip
    bound = {written.get(key, key) for _, keys, _ in documented() for key in keys.split(",")}
    for document in ("README.md", "tui/README.md"):
        keys = _key_table(document)
        assert len(keys) >= 10
        assert not set(keys) - bound, document


def test_the_guide_has_every_kind_of_the_doctors_findings_and_no_other() -> None:
    chapter = DOCUMENTS["tui/README.md"].split("\n## The doctor\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)[:| ]", chapter, re.M)
    told = {kind for row in rows for kind in re.findall(r"`(\w+)`", row)}
    assert told == {kind.value for kind in IssueKind}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENTS[document]):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / document).parent / file if file else ROOT / document
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
            assert heading in {_anchor(title) for title in titles}, target


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_map_names_every_package_and_no_other() -> None:
    text = DOCUMENTS["tests/README.md"].split("```", 2)[1]
    named = set(re.findall(r"\b(\w+)/", text))
    packages = {
        path.parent.name for top in ("registry", "tui") for path in (ROOT / top).rglob("*.py")
    }
    assert packages <= named, packages - named
    there = packages | {path.name for path in (ROOT / "tests").iterdir()} | {"tests"}
    assert named <= there, named - there


def test_the_map_names_every_module() -> None:
    text = DOCUMENTS["tests/README.md"].split("```", 2)[1]
    words = set(re.findall(r"\w+", text))
    modules = {
        path.stem
        for top in ("registry", "tui")
        for path in (ROOT / top).rglob("*.py")
        if not path.stem.startswith("__")
    }
    # The map has one word for those whose names follow a rule.
    by_rule = {stem for stem in modules if stem.startswith("format_")} | {*COMMANDS, "monitor"}
    assert modules - by_rule <= words, modules - by_rule - words


def test_documents_show_each_verdict_with_its_signs() -> None:
    for verdict, entry in VERDICTS.items():
        assert f"| {entry.glyph} **{verdict}** |" in DOCUMENTS["README.md"]
        row = f"| {entry.glyph} | `{entry.ascii_glyph}` | **{verdict}** |"
        assert row in DOCUMENTS["tui/README.md"]


def test_each_verdict_has_a_sign_of_its_own_in_ascii_too() -> None:
    signs = [entry.ascii_glyph for entry in VERDICTS.values()]
    assert len(set(signs)) == len(VERDICTS)
    assert all(sign.isascii() and len(sign) == 1 for sign in signs)


def test_every_dependency_has_a_tested_version_and_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tested = {each.split("==")[0] for each in project["tool"]["uv"]["constraint-dependencies"]}
    needed = project["project"]["dependencies"]
    assert all(re.search(r",<\d+$", each) for each in needed)
    developers = project["dependency-groups"]["dev"]
    assert {re.split("[<>=]", each)[0] for each in (*needed, *developers)} <= tested
