"""The promises that `tui.live` keeps."""
