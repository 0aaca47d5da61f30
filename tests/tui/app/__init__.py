"""The promises that `tui.app` keeps."""
