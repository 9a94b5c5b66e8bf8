"""Tests of what is known of lm-evaluation-harness by its files."""
