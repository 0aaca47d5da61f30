"""The monitor's user interface. No other package imports Textual."""
