"""The promises that `tui.demo` keeps."""
