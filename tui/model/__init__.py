"""The roll call: pure functions over frozen records."""
