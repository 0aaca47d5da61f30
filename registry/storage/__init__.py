"""One JSON file: opened safely, locked, read, and committed all or nothing."""
