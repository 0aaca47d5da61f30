"""The colour themes. Each verdict has its own colour, also on a terminal with 16 colours."""

from __future__ import annotations

from textual.theme import Theme

FAILED = "#e08000"
"""The colour `$failed` of themes that do not define it."""

# Each of these colours maps to a different ANSI colour (bright green, yellow, red, magenta,
# cyan, blue, and dark yellow for `FAILED`), so that a terminal with 16 colours shows the verdicts
# differently.
MUSTER = Theme(
    name="muster",
    primary="#5f87ff",
    secondary="#5fd7ff",
    accent="#ff87ff",
    warning="#ffd75f",
    error="#ff6b6b",
    success="#5fd787",
    foreground="#e0e0e0",
    background="#121212",
    surface="#1c1c1c",
    panel="#303030",
    dark=True,
    variables={
        "footer-background": "#1c1c1c",
        "footer-key-foreground": "#ffd75f",
        "border": "#5f87ff",
        "block-cursor-background": "#264f78",
        "failed": FAILED,
    },
)

MUSTER_LIGHT = Theme(
    name="muster-light",
    primary="#0040b0",
    secondary="#00707a",
    accent="#a000a0",
    warning="#8a5a00",
    error="#c00020",
    success="#007030",
    foreground="#202020",
    background="#fafafa",
    surface="#f0f0f0",
    panel="#dcdcdc",
    dark=False,
    variables={
        "footer-background": "#f0f0f0",
        "footer-key-foreground": "#8a5a00",
        "border": "#0040b0",
        "block-cursor-background": "#bcd4f0",
        "failed": "#984000",
    },
)

OURS = (MUSTER, MUSTER_LIGHT)
