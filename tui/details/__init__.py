"""The details of one agent, for the monitor's details panel and for `muster show`."""
