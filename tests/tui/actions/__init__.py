"""The promises that `tui.actions` keeps."""
