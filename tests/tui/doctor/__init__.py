"""The promises that `tui.doctor` keeps."""
