"""The promises that `tui.model` keeps."""
