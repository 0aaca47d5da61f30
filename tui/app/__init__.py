"""The monitor's screen. Only this package imports Textual."""
