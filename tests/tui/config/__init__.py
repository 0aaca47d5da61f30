"""The promises that `tui.config` keeps."""
