"""Makes manual pages (man 1) from the help pages. Pure; imports no other package."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tui.cli.help import Page
from tui.cli.main import COMMANDS, page_of, parser_of


def pages() -> dict[str, str]:
    """Returns the text of each manual page, by the name of its file."""
    names = ["", *COMMANDS]
    return {f"{_title(name)}.1": "\n".join(_lines(name)) + "\n" for name in names}


def _title(command: str) -> str:
    return f"muster-{command}" if command else "muster"


def _lines(command: str) -> Iterator[str]:
    from tui import __version__

    page, parser = page_of(command), parser_of(command)
    line = COMMANDS[command].line if command else "monitor the AI agents on this host"
    words = COMMANDS[command].words if command else "[WORKSPACE...]"
    yield f'.TH "{_text(_title(command).upper())}" 1 "" "muster {_text(__version__)}" "muster"'
    # Words such as ids are neither divided nor spread.
    yield ".nh"
    yield ".ad l"
    yield ".SH NAME"
    yield _text(f"{_title(command)} - {line}")
    yield ".SH SYNOPSIS"
    yield f".B {_text(parser.prog)}"
    yield _text(f"[OPTION...] {words}".strip())
    yield ".SH DESCRIPTION"
    yield from _paragraphs(page.text)
    yield ".SH OPTIONS"
    for action in parser._actions:
        yield ".TP"
        yield f".B {_text(_usage(action))}"
        yield _text(action.help or "")
    yield from _end(page, command)


def _end(page: Page, command: str) -> Iterator[str]:
    from tui.cli.help import codes_of

    if page.examples:
        yield ".SH EXAMPLES"
        for example, purpose in page.examples:
            yield ".TP"
            yield f".B {_text(example)}"
            yield _text(purpose)
    yield ".SH EXIT STATUS"
    yield from (_text(" ".join(line.split())) for line in codes_of(page).split("\n"))
    for part in filter(None, page.more.split("\n\n")):
        title, _, text = part.partition(":\n")
        yield f".SH {_text(title.upper())}"
        yield from _paragraphs(text)
    yield ".SH SEE ALSO"
    others = COMMANDS if not command else ("",)
    yield from (f".BR {_text(_title(name))} (1)" for name in others)


def _usage(action: argparse.Action) -> str:
    """Returns an argument as the help shows it, for example ``-w, --workspace WORKSPACE``."""
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    if not action.option_strings:
        return str(value)
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    return f"{names} [{value}]" if action.nargs == "?" else f"{names} {value}"


def _paragraphs(text: str) -> Iterator[str]:
    """Yields the lines of paragraphs; a paragraph with indented lines keeps its lines."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        yield ".PP"
        if any(line.startswith(" ") for line in lines):
            yield from (".nf", *map(_text, lines), ".fi")
        else:
            yield from map(_text, lines)


def _text(text: str) -> str:
    """Returns a text in which no character is a command of roff."""
    written = "".join(
        {"\\": "\\e", "-": "\\-", "'": "\\(aq", '"': "\\(dq", "`": "\\(ga", "^": "\\(ha"}.get(
            character, character if character.isascii() else f"\\[u{ord(character):04X}]"
        )
        for character in text
    )
    return f"\\&{written}" if written.startswith((".", " ")) else written
