"""Tests of `registry.database`."""
