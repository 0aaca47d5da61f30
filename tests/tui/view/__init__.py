"""The promises that `tui.view` keeps."""
