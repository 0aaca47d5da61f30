"""The monitor's screen: the only package that imports Textual."""
