"""The tests of `registry` and `tui`."""
