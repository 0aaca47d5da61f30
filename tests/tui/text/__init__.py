"""The promises that `tui.text` keeps."""
