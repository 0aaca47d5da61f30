"""The promises that `tui.cli` keeps."""
