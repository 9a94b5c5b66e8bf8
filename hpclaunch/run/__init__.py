"""The run folder: paths, record, events, state."""
