"""Draft, check, write, start, follow, stop and resume a run."""
