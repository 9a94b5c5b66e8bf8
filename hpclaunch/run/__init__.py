"""The run folder: paths, record, marks, state."""
