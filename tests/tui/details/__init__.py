"""The promises that `tui.details` keeps."""
