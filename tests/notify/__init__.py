"""Tests of the messages at the end of a run."""
