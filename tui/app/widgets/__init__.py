"""What one sees: widgets that know rows, not files."""
