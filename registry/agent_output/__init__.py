"""What an agent writes of itself: progress reports, findings and its stream log."""
