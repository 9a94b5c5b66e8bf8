"""Memory, step time and traffic of a training step. Pure: numbers in, numbers out."""
