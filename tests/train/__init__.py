"""Tests of what the ranks execute."""
