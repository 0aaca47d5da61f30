"""What an operator does: planned, confirmed, checked again, carried out, on record."""
