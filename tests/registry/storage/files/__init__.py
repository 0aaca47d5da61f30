"""Tests of `registry.storage.files`, with several users and file systems."""
