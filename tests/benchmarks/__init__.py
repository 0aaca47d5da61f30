"""Benchmarks of muster and the library, which pytest does not collect."""
