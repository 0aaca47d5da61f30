"""The records of a roll call, and the functions that compute the verdicts from data. Pure."""
