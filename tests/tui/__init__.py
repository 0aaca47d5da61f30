"""The promises that `tui` keeps."""
