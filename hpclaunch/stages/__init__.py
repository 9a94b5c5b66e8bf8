"""What stands around training: merge, generate, quantize, publish ... One module a stage."""
