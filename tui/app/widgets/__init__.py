"""The widgets of the screen. They draw records that are given to them, and read no files."""
