"""The roll call as pure functions over frozen records."""
