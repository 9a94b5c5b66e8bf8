"""A job's way back into the queue: why this attempt ended, and which nodes the next leaves out."""
