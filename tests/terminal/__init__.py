"""Tests of muster in a real terminal."""
