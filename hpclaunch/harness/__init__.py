"""Tasks of lm-evaluation-harness, read from their files alone."""
