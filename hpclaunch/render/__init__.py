"""A Plan to text: the accelerate config and the batch script. Pure."""
