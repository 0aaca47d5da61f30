"""Parses style sheets only once for all apps of a process."""

from __future__ import annotations

from typing import Any

from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

_parse = Stylesheet._parse_rules
_parsed: dict[object, list[RuleSet]] = {}


def parse_style_sheets_once() -> None:
    """Makes each app of this process use the rules that an earlier app parsed.

    Textual parses about 80 sources for every app, and does not change the rules later.
    """

    def rules(sheet: Stylesheet, *place: Any, **named: Any) -> list[RuleSet]:
        key = (place, *named.items(), *sheet._variables.items())
        if key not in _parsed:
            _parsed[key] = _parse(sheet, *place, **named)
        return _parsed[key]

    Stylesheet._parse_rules = rules  # type: ignore[method-assign,assignment]
