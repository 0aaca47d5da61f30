"""The details of one agent, for the panel and `muster show`."""
