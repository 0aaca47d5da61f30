"""Tests of `registry.operations`."""
