"""The promises that `registry` and `tui` keep."""
