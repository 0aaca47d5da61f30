"""The widgets of the monitor. They draw the records that they receive, and read no files."""
