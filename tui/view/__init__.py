"""What the monitor shows of a roll call: filter, sort order, folds and marks. Pure."""
