"""What operators did, on record before it is done, and how it is taken back."""
