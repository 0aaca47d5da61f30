"""Tests of `registry.storage`."""
